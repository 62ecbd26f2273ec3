"""Supervisor: the parent's hold on a worker process that may crash, hang or exhaust memory."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import msgspec
import psutil

from costmodel.device import Device
from costmodel.errors import CostModelError
from costmodel.measurement import Status
from costmodel.profiler.messages import (
    Event,
    Noted,
    Order,
    Ready,
    Refused,
    Segment,
    Setup,
    decode_event,
    encode,
)
from costmodel.streams import LAST_WORDS_S, end_session, follow

#: How often the worker's memory is looked at, in seconds.
LOOK_EVERY_S = 0.1
#: A gap between two looks that only a process which was itself stopped has, in seconds.
ASLEEP_S = 2.0
#: Share of the available memory that a worker may take when no limit is given.
MEMORY_SHARE = 0.6
#: Lines of the worker's standard error that are kept, and characters of a reason.
_TAIL_LINES, _TAIL_CHARACTERS = 20, 200


class WorkerDiedError(Exception):
    """The worker is gone; tells the status and reason for the job it was at."""

    def __init__(self, status: Status, reason: str) -> None:
        """Remember why.

        Args:
            status: what to write into the row.
            reason: one sentence.
        """
        super().__init__(reason)
        self.status = status
        self.reason = reason


def default_memory_limit() -> int:
    """Most memory a worker may hold when the plan does not say, in bytes."""
    return int(psutil.virtual_memory().available * MEMORY_SHARE)


class Supervisor:
    """One worker process, from start to end."""

    def __init__(self, *, timeout_ms: float, start_timeout_ms: float, memory_limit: int) -> None:
        """Start the process; ``setup`` makes it useful.

        Args:
            timeout_ms: longest silence of a worker that has work.
            start_timeout_ms: longest silence of a worker that is starting.
            memory_limit: most resident memory, in bytes.
        """
        self._timeout_s = timeout_ms / 1000.0
        self._start_timeout_s = start_timeout_ms / 1000.0
        self._memory_limit = memory_limit
        # What a worker that is killed had made for itself goes with this folder.
        self._folder = tempfile.mkdtemp(prefix="costmodel-")
        # -P: a file in the user's folder must not shadow a module of ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "costmodel.profiler.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": self._folder},
            start_new_session=True,  # the terminal's ctrl-C is for the parent alone
        )
        self._events: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_LINES)
        self._readers = [
            follow(self._process.stdout, self._events.put, lambda: self._events.put(None)),
            follow(self._process.stderr, self._tail.append),
        ]
        self._heard = self._looked = time.perf_counter()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def setup(self, setup: Setup) -> Device:
        """Hand over the jobs and wait for the runner to come up.

        Raises:
            CostModelError: the one that the runner raised, if it refuses to start.
            WorkerDiedError: if the process dies or stays silent.
        """
        self.send(setup)
        deadline = time.perf_counter() + self._start_timeout_s
        while True:
            event = self.hear(self._start_timeout_s, within_s=LOOK_EVERY_S)
            match event:
                case Ready(device=device):
                    return device
                case Noted():  # a device far away may need long, but says so
                    deadline = time.perf_counter() + self._start_timeout_s
            if time.perf_counter() > deadline:
                death = self._killed("timeout", "the worker did not come up")
                raise death

    def send(self, order: Order) -> None:
        """Tell the worker something; a dead worker is noticed by ``hear``."""
        if isinstance(order, Segment):
            self._heard = self._looked = time.perf_counter()
        with contextlib.suppress(OSError):
            self._stdin.write(encode(order))
            self._stdin.flush()

    def hear(self, timeout_s: float | None = None, *, within_s: float) -> Event | None:
        """Next event, or None if there is none within ``within_s`` seconds.

        Args:
            timeout_s: longest silence before the worker counts as hanging; None for the plan's.
            within_s: longest wait of this call.

        Raises:
            WorkerDiedError: if the process has died, or had to be killed for its silence or memory.
            CostModelError: the one that the runner raised, if it can do nothing more.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        until = time.perf_counter() + within_s
        while True:
            try:
                line = self._events.get(timeout=min(LOOK_EVERY_S, within_s))
            except queue.Empty:
                self._look(timeout_s)
                if time.perf_counter() >= until:
                    return None
                continue
            if line is None:
                raise self._obituary()
            self._heard = self._looked = time.perf_counter()
            try:
                event = decode_event(line)
            except msgspec.MsgspecError as error:
                reason = f"the worker's words made no sense: {error}"
                death = self._killed("crashed", reason)
                raise death from error
            if isinstance(event, Refused):
                raise _refusal(event.error, event.message)
            return event

    def close(self) -> None:
        """End the process and whatever it started; never fails."""
        end_session(self._process, self._readers)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _look(self, timeout_s: float) -> None:
        """Kill a worker that is silent or greedy."""
        if self._process.poll() is not None and self._events.empty():
            raise self._obituary()
        now = time.perf_counter()
        if now - self._looked > ASLEEP_S:
            # Stopped, or on a laptop that slept, and the worker with it: what it has said meanwhile
            # is still to be read.
            self._heard += now - self._looked
        self._looked = now
        silent_s = now - self._heard
        if silent_s > timeout_s:
            reason = f"no answer within {timeout_s:g} s, so the worker was killed"
            death = self._killed("timeout", reason)
            raise death
        try:
            held = psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return
        if held > self._memory_limit:
            reason = (
                f"held {held / 2**20:.0f} MiB, above the limit of "
                f"{self._memory_limit / 2**20:.0f} MiB, so the worker was killed"
            )
            death = self._killed("out_of_memory", reason)
            raise death

    def _killed(self, status: Status, reason: str) -> WorkerDiedError:
        self.close()
        return WorkerDiedError(status, reason)

    def _obituary(self) -> WorkerDiedError:
        status = self._process.wait()
        self._readers[1].join(LAST_WORDS_S)
        lines = [line.decode("utf-8", "replace").strip() for line in self._tail]
        words = next((line for line in reversed(lines) if line), "")
        said = f"; it last said: {words[:_TAIL_CHARACTERS]}" if words else ""
        self.close()
        if status == -signal.SIGKILL:
            reason = "the system killed the worker (signal 9), most likely out of memory"
            return WorkerDiedError("out_of_memory", reason + said)
        return WorkerDiedError("crashed", f"the worker died ({_ending(status)}){said}")


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _refusal(name: str, message: str) -> CostModelError:
    """The error that the runner raised in the worker, rebuilt here from its class's name."""
    kind = next((kind for kind in _kinds(CostModelError) if kind.__name__ == name), CostModelError)
    error = kind.__new__(kind)  # some classes build their text from parts
    error.args = (message,)
    return error


def _kinds(base: type[CostModelError]) -> Iterator[type[CostModelError]]:
    """All classes below ``base``."""
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
