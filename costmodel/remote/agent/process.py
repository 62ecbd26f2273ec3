"""Process: the front's hold on its child, which may crash, hang or be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from costmodel.remote.agent.child import run_child

Spec = Dict[str, Any]


class Child:
    """One child process; orders go to it one at a time.

    Args:
        folder: of the agent's files.
        root: where ``proc`` and ``sys`` lie.
        detach: closes, in the child, what only the front may hold.
    """

    def __init__(self, folder: Path, root: Path, detach: Callable[[], None]) -> None:
        orders, self._orders = os.pipe()
        self.answers, answers = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.close(self._orders)
                os.close(self.answers)
                detach()
                run_child(folder, root, orders, answers)
                status = 0
            finally:
                os._exit(status)
        os.close(orders)
        os.close(answers)
        self._heard = b""
        self._until: float | None = None
        self._why = ""
        self.busy = False
        self.is_set_up = False

    def send(self, order: Spec, limit_s: float | None = None) -> None:
        """Give it something to do.

        Args:
            order: what.
            limit_s: longest time it may take; None for no limit.
        """
        data = json.dumps(order).encode() + b"\n"
        self.busy = True
        self._until = None if limit_s is None else time.monotonic() + limit_s
        self._why = "" if limit_s is None else "no answer within %g s" % limit_s
        try:
            while data:
                data = data[os.write(self._orders, data) :]
        except OSError:
            pass  # it is dead, which `receive` will tell

    def receive(self) -> Spec | None:
        """Its answer, once there is something to read; None while it is not whole.

        A child that died answers with an ``error`` and ``dead``.
        """
        data = os.read(self.answers, 1 << 16)
        if not data:
            return self._obituary()
        self._heard += data
        if not self._heard.endswith(b"\n"):
            return None
        line, self._heard = self._heard, b""
        self.busy, self._until = False, None
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def overdue(self) -> bool:
        """Kill it if it takes too long; ``receive`` then tells."""
        if self._until is None or time.monotonic() < self._until:
            return False
        self._until = None
        os.kill(self.pid, signal.SIGKILL)
        return True

    def seconds_left(self) -> float | None:
        """Time until it is overdue; None without a limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        os.close(self._orders)
        os.close(self.answers)
        return os.waitpid(self.pid, 0)[1]

    def _obituary(self) -> Spec:
        """Why it is dead; it is gone after this."""
        overdue = bool(self._why) and self._until is None and self.busy
        status = self._reap()
        if overdue:
            return {"error": "timeout", "text": self._why + ", so it was killed", "dead": True}
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGKILL:
                text = "the system killed it (signal 9), most likely out of memory"
                return {"error": "out_of_memory", "text": text, "dead": True}
            text = "the runtime died on the device (%s)" % signal.Signals(number).name
        else:
            text = "the runtime ended on the device (exit status %d)" % os.WEXITSTATUS(status)
        return {"error": "crashed", "text": text, "dead": True}
