"""The driver's loop: starts jobs, hears them, tries lost ones again, and gives up late."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal

from costmodel.figures import duration
from costmodel.fleets.engine import Engine, Post
from costmodel.fleets.messages import (
    Broke,
    Bye,
    Event,
    Finished,
    Order,
    Rows,
    decode_event,
    encode,
)

_LOG = logging.getLogger("costmodel")
#: ``away``: it will be tried again; ``gone``: it was away for too long; ``stopped``: by the user.
State = Literal["waiting", "running", "away", "done", "failed", "gone", "stopped"]
#: Longest silence between two looks at what else is to be done, in seconds.
_LOOK_EVERY_S = 0.25
#: Wait before a lost job is tried again, at first and at most, in seconds.
_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
#: The most where only a place is missing: to ask for one costs nothing, and a board whose host is
#: back must not stand idle.
_LONGEST_WAIT_S = 4.0


class Task:
    """One job that is to be done, however often it has to be started.

    Args:
        name: of it, unique.
        cpus: processors of this machine that it works on, where it runs here.

    Attributes:
        state: where it is.
        reason: why it is away, failed or gone; what it says of itself while it runs.
        tries: how often it was lost since it last brought rows.
    """

    def __init__(self, name: str, cpus: float) -> None:
        self.name = name
        self.cpus = cpus
        self.state: State = "waiting"
        self.reason = ""
        self.tries = 0
        self._next_s = 0.0
        self._lost_s: float | None = None
        self._away_s = 0.0
        self._said = ""

    def post(self) -> Post:
        """What is to be started now; asked anew for each try."""
        raise NotImplementedError

    def take(self, event: Event) -> Order | None:
        """Keep what came, whole, before this returns; the answer is for the job."""
        raise NotImplementedError

    @property
    def is_back(self) -> bool:
        """Whether what it says is its first word since it was lost, or found no place."""
        return self._lost_s is not None

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.state in {"waiting", "running", "away"}

    def is_due(self, now_s: float) -> bool:
        """Whether it is to be started now."""
        return self.state == "waiting" or (self.state == "away" and now_s >= self._next_s)

    def heard(self, now_s: float) -> None:
        """Note that it is there: what follows is not time that it is away."""
        if self._lost_s is not None:
            self._away_s += now_s - self._lost_s
            self._lost_s = None

    def brought(self) -> None:
        """Note that it brought rows: how long it was away before no longer counts."""
        self.tries = 0
        self._away_s = 0.0
        self._said = ""

    def away(
        self,
        reason: str,
        now_s: float,
        patience_s: float,
        *,
        longest_s: float = _LONGEST_RETRY_S,
    ) -> None:
        """Note that it was lost, or has no place.

        Args:
            reason: why.
            now_s: the time.
            patience_s: longest time that it may be away, since it brought rows, before it is given
                up. One that comes and is lost at once is away for most of the time.
            longest_s: longest wait until it is tried again.
        """
        if self._lost_s is None:
            self._lost_s = now_s
        self.reason = reason
        if self._away_s + now_s - self._lost_s > patience_s:
            self.state = "gone"
            _LOG.warning("%s is given up after %s: %s.", self.name, duration(patience_s), reason)
            return
        wait_s = min(_RETRY_S * 2**self.tries, longest_s)
        self.tries += 1
        self.state, self._next_s = "away", now_s + wait_s
        said = f"{self.name}: {reason}. It is tried again in {duration(wait_s)}."
        if said != self._said:  # one that stays away is not told of every few seconds
            self._said = said
            _LOG.warning("%s", said)


def run_tasks(
    tasks: Sequence[Task],
    engine: Engine,
    *,
    patience_s: float,
    stopping: Callable[[], bool],
    look: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do all tasks.

    Args:
        tasks: in the order in which they are started; ``look`` may set one that is done to
            ``waiting`` again.
        engine: where jobs run.
        patience_s: how long one may be away, since it brought rows, before it is given up.
        stopping: whether the user wants an end; jobs then end cleanly.
        look: called now and then, and after every end of a job.
        clock: seconds that only go up.

    Raises:
        InvalidInputError: if what came cannot be kept, such as on a full disk.
    """
    loop = _Loop({task.name: task for task in tasks}, engine, patience_s, clock)
    while True:
        if stopping():
            loop.stop()
        else:
            loop.start()
        loop.hear()
        look()
        if not any(task.is_open for task in tasks):
            return


class _Loop:
    def __init__(
        self,
        tasks: dict[str, Task],
        engine: Engine,
        patience_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._tasks = tasks
        self._engine = engine
        self._patience_s = patience_s
        self._clock = clock
        self._stopped = False

    def start(self) -> None:
        """Start what is due and has room; give up what has waited too long for a place."""
        now = self._clock()
        for task in self._tasks.values():
            if task.is_due(now) and self._engine.has_room(task.cpus):
                self._engine.open(task.name, task.post(), task.cpus)
                task.state, task.reason = "running", ""
        for task in self._tasks.values():
            if task.state == "running" and (problem := self._engine.problem(task.name)):
                self._engine.close(task.name)
                task.away(problem, now, self._patience_s, longest_s=_LONGEST_WAIT_S)

    def stop(self) -> None:
        """Ask what runs for an end, once; nothing else is started."""
        for task in self._tasks.values():
            if task.state in {"waiting", "away"}:
                task.state = "stopped"
            elif task.state == "running" and not self._stopped:
                self._engine.stop(task.name)
        self._stopped = True

    def hear(self) -> None:
        """Keep what jobs say."""
        for heard in self._engine.hear(_LOOK_EVERY_S):
            task = self._tasks[heard.name]
            orders: list[bytes] = []
            for line in heard.lines:
                orders += self._take(task, decode_event(line))
            if heard.lost:
                self._engine.close(task.name)
                if self._stopped:
                    task.state = "stopped"
                else:
                    task.away(heard.lost, self._clock(), self._patience_s)
            elif task.state == "running":
                # After all of it is kept: the job forgets what it said.
                self._engine.answer(task.name, b"".join(orders))

    def _take(self, task: Task, event: Event) -> list[bytes]:
        """One event; returns the lines that the job is told, if it goes on."""
        order = task.take(event)
        if not isinstance(event, Broke):
            task.heard(self._clock())
        if isinstance(event, Rows):
            task.brought()
        match event:
            case Finished():
                self._engine.close(task.name, encode(Bye()))
                task.state, task.reason = ("stopped" if event.interrupted else "done"), ""
            case Broke():
                self._engine.close(task.name, encode(Bye()))
                if self._stopped:
                    task.state, task.reason = "stopped", event.text
                elif event.again:
                    task.away(event.text, self._clock(), self._patience_s)
                else:
                    task.state, task.reason = "failed", event.text
                    _LOG.warning("%s: %s", task.name, event.text)
        return [] if order is None else [encode(order)]
