"""Front: the agent's conversation with the host; stays alive when the link or the child does not.

One JSON object a line each way. A request ``{"id", "do", ...}`` gets one reply: the same ``id``,
and what was asked for or ``error`` and ``text``. What an order gives comes as numbered events, each
in the journal before it is sent: a host that was cut off asks for those that it has not seen.
Without a host the present order is carried through, then the agent ends.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Callable, Dict

from costmodel.remote.agent.facts import hardware
from costmodel.remote.agent.health import Health
from costmodel.remote.agent.journal import Journal
from costmodel.remote.agent.lock import DeviceLock, HeldError
from costmodel.remote.agent.order import COOL_LOOK_S, Order
from costmodel.remote.agent.process import Child
from costmodel.remote.agent.store import Store, StoreError, digest_of, storage_error
from costmodel.timing.lock import lock_path

Spec = Dict[str, Any]
#: A sign of life while there is nothing to say, and the longest silence of an idle host, in s.
TICK_S, IDLE_S = 5.0, 600.0
_CHUNK = 1 << 20
#: Requests that the child answers.
_FOR_CHILD = frozenset({"versions", "scout", "load", "block", "close", "optimise", "profile"})


class Front:
    """The agent's main process.

    Args:
        agent: the file that is running, whose folder gets all others.
        root: where ``proc`` and ``sys`` lie.
    """

    def __init__(self, agent: Path, root: Path) -> None:
        self._agent = agent
        self._folder = agent.resolve().parent
        self._root = root
        self._store: Store | None = None
        self._journal: Journal | None = None
        self._lock: DeviceLock | None = None
        self._child: Child | None = None
        self._setup: Spec | None = None
        self._order: Order | None = None
        self._asked: int | None = None
        self._in, self._out = b"", b""
        self._alone = self._leaving = False
        self._said = self._heard = time.monotonic()
        self._requests: dict[str, Callable[[Spec], Spec]] = {
            "hello": self._hello,
            "enter": self._enter,
            "have": self._have,
            "put": self._put,
            "get": self._get,
            "drop": self._drop,
            "order": self._take_order,
            "stop": self._stop,
            "ping": lambda _: {},
        }

    def run(self) -> None:
        """Talk until the host is gone and nothing is under way, or a signal asks to leave."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(1, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            while self._goes_on():
                self._turn(wake)
        finally:
            self._end()

    def _goes_on(self) -> bool:
        if self._order is not None and (self._order.current is not None or not self._leaving):
            return True
        idle_s = time.monotonic() - self._heard
        return not (self._leaving or self._alone or idle_s > IDLE_S)

    def _turn(self, wake: int) -> None:
        """Wait for whatever comes first, and deal with it."""
        readers = [wake] + ([] if self._alone else [0])
        if self._child is not None:
            readers.append(self._child.answers)
        writers = [1] if self._out and not self._alone else []
        ready, able, _ = select.select(readers, writers, [], self._patience_s())
        if wake in ready:
            os.read(wake, 64)
        if able:
            self._flush()
        if self._child is not None and self._child.answers in ready:
            answer = self._child.receive()
            if answer is not None:
                self._answered(answer)
        elif self._child is not None:
            self._child.overdue()
        if 0 in ready:
            self._listen()
        self._advance()
        if time.monotonic() - self._said > TICK_S:
            self._say({"event": "tick"})
            if self._lock is not None:
                self._lock.beat()

    def _patience_s(self) -> float:
        patience_s = TICK_S / 2
        if self._order is not None and self._order.cooling:
            patience_s = min(patience_s, COOL_LOOK_S)
        if self._child is not None and self._child.seconds_left() is not None:
            patience_s = min(patience_s, self._child.seconds_left() or 0.01)
        return patience_s

    # What goes out.

    def _say(self, message: Spec) -> None:
        self._said = time.monotonic()
        if not self._alone:
            self._out += json.dumps(message).encode() + b"\n"
            self._flush()

    def _flush(self) -> None:
        try:
            self._out = self._out[os.write(1, self._out) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self._alone = True

    def _tell(self, event: Spec) -> None:
        """Write an event down, then send it."""
        assert self._journal is not None
        try:
            self._say(self._journal.add(event))
        except OSError as error:
            found = storage_error(error, self._folder)
            self._say({"event": "trouble", "error": found.kind, "text": str(found)})
            if self._order is not None:
                self._order.stop()

    # What comes in.

    def _listen(self) -> None:
        data = os.read(0, _CHUNK)
        if not data:
            self._alone = True
            return
        self._heard = time.monotonic()
        *lines, self._in = (self._in + data).split(b"\n")
        for line in lines:
            self._request(json.loads(line))

    def _request(self, request: Spec) -> None:
        try:
            if request["do"] in _FOR_CHILD:
                self._ask_child(request)
                return
            reply = self._requests[request["do"]](request)
        except StoreError as error:
            reply = {"error": error.kind, "text": str(error)}
        except HeldError as error:
            reply = {"error": "held", "text": str(error)}
        except OSError as error:
            found = storage_error(error, self._folder)
            reply = {"error": found.kind, "text": str(found)}
        self._say(dict(reply, id=request["id"]))

    def _hello(self, _: Spec) -> Spec:
        facts = hardware(self._root)
        return dict(facts, digest=digest_of(self._agent), folder=str(self._folder))

    def _enter(self, request: Spec) -> Spec:
        """Take the device for a session; tells what of its journal the host has not seen."""
        lock = DeviceLock(lock_path(request["name"]), request["owner"], request["who"])
        lock.acquire()
        self._lock = lock
        self._store = Store(self._folder / "files")
        self._store.prune()
        self._setup = request["setup"]
        self._journal = Journal(self._folder / "journal", request["session"])
        interrupted = self._journal.interrupted()
        if interrupted is not None:
            self._journal.add({"event": "left", "step": interrupted})
        return {
            "events": list(self._journal.since(request["since"])),
            "seq": len(self._journal.entries),
            "interrupted": interrupted,
            "displaced": lock.displaced,
            "state": self._health().state(),
        }

    def _have(self, request: Spec) -> Spec:
        assert self._store is not None
        return {"missing": self._store.missing(request["files"])}

    def _put(self, request: Spec) -> Spec:
        assert self._store is not None
        for piece in request["pieces"]:
            data = base64.b64decode(piece["data"])
            self._store.put(piece["file"], piece["offset"], data, last=piece["last"])
        return {}

    def _get(self, request: Spec) -> Spec:
        with (self._work(request["work"]) / Path(request["name"]).name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(request["offset"])
            data = file.read(_CHUNK)
        return {"data": base64.b64encode(data).decode(), "size": size}

    def _drop(self, request: Spec) -> Spec:
        shutil.rmtree(str(self._work(request["work"])), ignore_errors=True)
        return {}

    def _work(self, name: str) -> Path:
        return self._folder / "work" / "".join(c for c in name if c.isalnum())

    def _health(self) -> Health:
        assert self._setup is not None
        return Health(self._root, self._setup["cores"], self._setup["max_temperature"])

    def _take_order(self, request: Spec) -> Spec:
        assert self._setup is not None
        if self._order is not None and self._order.current is not None:
            return {"error": "busy", "text": "the last order is under way"}
        limits = {"limit_s": self._setup["limit_s"], "cool_s": self._setup["cool_s"]}
        self._order = Order(request, self._health(), self._tell, **limits)
        return {}

    def _stop(self, _: Spec) -> Spec:
        if self._order is not None:
            self._order.stop()
        return {}

    # The child.

    def _ask_child(self, request: Spec) -> None:
        self._asked = request["id"]
        self._ready_child().send(request, request.get("limit_s"))

    def _ready_child(self) -> Child:
        """The child, made and set up if there is none."""
        if self._child is None:
            self._child = Child(self._folder, self._root, self._detach)
        if self._setup is not None and not self._child.is_set_up:
            self._child.send({"do": "setup", "setup": self._setup})
            answer = None
            while answer is None:
                answer = self._child.receive()
            if "error" in answer:
                self._child_ended(answer)
                raise StoreError(answer["error"], answer["text"])
            self._child.is_set_up = True
        return self._child

    def _detach(self) -> None:
        """In the child: let go of the conversation and of the lock."""
        signal.set_wakeup_fd(-1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.dup2(2, 1)  # what a runtime prints is no part of the conversation
        if self._lock is not None:
            self._lock.close_copy()

    def _child_ended(self, answer: Spec) -> None:
        if answer.get("dead"):
            self._child = None

    def _answered(self, answer: Spec) -> None:
        self._child_ended(answer)
        if self._asked is not None:
            self._say(dict(answer, id=self._asked))
            self._asked = None
        elif self._order is not None and self._order.current is not None:
            self._order.ended(answer)

    def _advance(self) -> None:
        """Give the child its next step, or end the order."""
        order = self._order
        if order is None or order.current is not None or self._asked is not None:
            return
        if self._leaving:
            order.stop()
        step = order.next()
        if step is not None:
            try:
                self._ready_child().send(step, order.limit_s)
            except StoreError as error:
                order.ended({"error": error.kind, "text": str(error)})
        elif order.finished:
            self._order = None
            self._heard = time.monotonic()  # the host had no reason to speak
            self._tell({"event": "done", "order": order.name, "state": self._health().state()})

    # The end.

    def _leave(self, *_: object) -> None:
        self._leaving = True

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
        if self._journal is not None:
            self._journal.close()
        if self._lock is not None:
            self._lock.release()
