"""Engine: where jobs run. The one for this machine alone; ``on_ray`` has the other."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from costmodel.fleets.seat import Seat, SeatLostError

#: Most jobs at once on this machine: each is two processes of some hundred megabytes.
MOST_AT_ONCE = 16
#: Processors of a job that no other may run beside, because it times this very machine.
ALONE = 1e9
#: Longest that a seat is listened to at a time, in seconds.
LISTEN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What is to be started.

    Attributes:
        module: of the job; see ``Seat``.
        order: the first one.
        files: paths on the driver's machine that the job needs, by key.
        folder: the job's own, where it runs.
        host: the custom resource that its machine must have; empty for any.
        cpus: processors that Ray sets aside for it, where there is no ``host`` that counts.
    """

    module: str
    order: bytes
    files: Mapping[str, Path] = field(default_factory=dict)
    folder: str
    host: str = ""
    cpus: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came from one job.

    Attributes:
        name: of the job.
        lines: events, as lines.
        lost: why nothing more will come; empty while it lives.
    """

    name: str
    lines: tuple[bytes, ...] = ()
    lost: str = ""


class Engine(Protocol):
    """Starts jobs and passes on what they say. Nothing more is heard of a job until ``answer``."""

    def has_room(self, cpus: float) -> bool:
        """Whether another job, on so many processors, may be started now."""
        ...

    def open(self, name: str, post: Post, cpus: float) -> None:
        """Start a job; where it cannot run yet, it waits."""
        ...

    def problem(self, name: str) -> str:
        """Why a job has no place yet that only people can mend; empty if there is no such thing."""
        ...

    def hear(self, within_s: float) -> list[Heard]:
        """What jobs have said; empty if none has said anything for so long."""
        ...

    def answer(self, name: str, order: bytes = b"") -> None:
        """Acknowledge what was heard of a job: it is on disk. ``order`` is a line for it."""
        ...

    def stop(self, name: str) -> None:
        """Ask a job for a clean end."""
        ...

    def close(self, name: str, order: bytes = b"") -> None:
        """End a job, whatever it does; ``order`` is a last line for it."""
        ...

    def end(self) -> None:
        """End all jobs and let go of everything."""
        ...


class _Chair:
    """A seat on this machine, and the thread that listens to it.

    What it hears comes with the chair itself: its name may have another one by then.
    """

    def __init__(
        self, name: str, post: Post, cpus: float, heard: queue.SimpleQueue[tuple[_Chair, Heard]]
    ) -> None:
        files = {key: str(path) for key, path in post.files.items()}
        self.seat = Seat(post.module, post.order, files)
        self.cpus = cpus
        self._name = name
        self._heard = heard
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.answer(b"")

    def answer(self, order: bytes) -> None:
        self._orders.put(order)

    def close(self, order: bytes) -> None:
        self._closed = True
        self._orders.put(None)
        self.seat.close(order)
        self._thread.join(LISTEN_S)

    def _listen(self) -> None:
        while (order := self._orders.get()) is not None:
            lines: list[bytes] = []
            try:
                while not lines and not self._closed:
                    lines = self.seat.turn(order, LISTEN_S)
                    order = b""
            except SeatLostError as error:
                self._heard.put((self, Heard(name=self._name, lost=str(error))))
                return
            self._heard.put((self, Heard(name=self._name, lines=tuple(lines))))


class HereEngine:
    """Jobs as processes of this machine.

    Args:
        cpus: processors that there are.
    """

    def __init__(self, cpus: float | None = None) -> None:
        self._cpus = cpus or float(os.cpu_count() or 1)
        self._chairs: dict[str, _Chair] = {}
        self._heard: queue.SimpleQueue[tuple[_Chair, Heard]] = queue.SimpleQueue()

    def has_room(self, cpus: float) -> bool:
        """Whether processors are left for it; a job that wants more than there are runs alone."""
        taken = sum(chair.cpus for chair in self._chairs.values())
        if not self._chairs:
            return True
        return len(self._chairs) < MOST_AT_ONCE and taken + cpus <= self._cpus

    def open(self, name: str, post: Post, cpus: float) -> None:
        """Start a job."""
        self._chairs[name] = _Chair(name, post, cpus, self._heard)

    def problem(self, name: str) -> str:
        """Nothing: what is opened here runs."""
        del name
        return ""

    def hear(self, within_s: float) -> list[Heard]:
        """What jobs have said; see ``Engine``."""
        found: list[Heard] = []
        until = time.monotonic() + within_s
        try:
            while not found and (left := until - time.monotonic()) > 0:
                found += self._known(*self._heard.get(timeout=left))
            while True:
                found += self._known(*self._heard.get_nowait())
        except queue.Empty:
            return found

    def _known(self, chair: _Chair, heard: Heard) -> list[Heard]:
        """Nothing of a job that was closed meanwhile."""
        return [heard] if self._chairs.get(heard.name) is chair else []

    def answer(self, name: str, order: bytes = b"") -> None:
        """Listen on; see ``Engine``."""
        self._chairs[name].answer(order)

    def stop(self, name: str) -> None:
        """Ask a job for a clean end."""
        self._chairs[name].seat.stop()

    def close(self, name: str, order: bytes = b"") -> None:
        """End a job; see ``Engine``."""
        chair = self._chairs.pop(name, None)
        if chair is not None:
            chair.close(order)

    def end(self) -> None:
        """End all jobs."""
        for name in list(self._chairs):
            self.close(name)
