"""Conductor: has a profile's visits made by the agent, in batches, and passes on what it tells."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec

from costmodel.errors import CostModelError
from costmodel.measurement import Round, Status
from costmodel.op import SESSION, Op
from costmodel.profiler.messages import (
    Done,
    Event,
    Failed,
    JobSpec,
    Noted,
    Probed,
    Segment,
    Setup,
    Started,
    Visited,
)
from costmodel.remote.board import Board, StoppedError
from costmodel.remote.link import Json
from costmodel.remote.specs import Spec, model_spec, op_spec
from costmodel.runners.ort.runner import num_replicas
from costmodel.runners.workload import require_outputs

#: How often a file that is gone on the device is sent again.
_TRIES = 3
#: Failures that are not remembered: when the job comes up again, so does the question.
_WORTH_ANOTHER_TRY = frozenset({"crashed", "timeout"})
_STATUSES = frozenset(get_args(Status))


@dataclass(slots=True)
class _Found:
    """What is known about the jobs, from this worker's earlier segments.

    Attributes:
        specs: how a job is timed.
        failures: jobs that cannot be timed, and why.
    """

    specs: dict[int, Spec] = field(default_factory=dict)
    failures: dict[int, Failed] = field(default_factory=dict)


class Conductor:
    """The jobs of one profile and the device that visits them; a ``Visitor``.

    Args:
        board: the device.
        setup: the jobs.
        say: tells the parent.
        overheads: graphs that the agent needs before it can time any Op.
    """

    def __init__(
        self,
        board: Board,
        setup: Setup,
        say: Callable[[Event], None],
        overheads: Sequence[Spec],
    ) -> None:
        self._board = board
        self._jobs = setup.jobs
        self._anchor_op = setup.anchor
        self._anchor: Spec | None = None
        self._say = say
        self._overheads = overheads
        self._found = _Found()
        self._segments = 0
        board.patience.note = lambda text: say(Noted(text=text))

    def run(self, segment: Segment, stopping: threading.Event) -> None:
        """Visit the jobs of a segment, say so, and then that it is done.

        Raises:
            RemoteError: if the device cannot be used any more.
        """
        self._segments += 1
        with self._stopped_by(stopping), suppress(StoppedError):
            self._prepare(dict.fromkeys(segment.order))
            _Visits(self._board, self._found, self._say, self._segments).make(
                segment, self._anchor, self._overheads
            )
        self._say(Noted(state={f"{key}_after": value for key, value in self._board.state.items()}))
        self._say(Done())

    @contextmanager
    def _stopped_by(self, stopping: threading.Event) -> Iterator[None]:
        former, self._board.patience.stopping = self._board.patience.stopping, stopping
        try:
            yield
        finally:
            self._board.patience.stopping = former

    def _prepare(self, numbers: dict[int, None]) -> None:
        """Find out, for jobs that are new, how often each is repeated in one run."""
        known = self._found.specs.keys() | self._found.failures.keys()
        new = [number for number in numbers if number not in known]
        if self._anchor_op is not None:
            self._anchor = self._anchor_spec(self._anchor_op)
            self._anchor_op = None
        scouts = {number: spec for number in new if (spec := self._first_spec(number)) is not None}
        for _ in range(_TRIES):
            if not scouts:
                return
            lost = self._scout(scouts)
            scouts = {number: scouts[number] for number in lost}

    def _scout(self, scouts: dict[int, Spec]) -> list[int]:
        """Time jobs alone; returns those whose file was gone or damaged on the device."""
        self._board.ship([*scouts.values(), *self._overheads])
        steps = {f"{self._segments}s{number}": number for number in scouts}
        orders: list[Json] = [
            {"step": step, "do": "scout", "spec": scouts[number].fields}
            for step, number in steps.items()
        ]
        lost: list[int] = []
        for event in self._board.carry_out(orders, {}):
            number = steps.get(event.get("step", ""), -1)
            if event["event"] == "scouted" and number >= 0:
                self._scouted(number, event)
            elif event["event"] == "failed" and number >= 0:
                if event["error"] == "no-file":
                    lost.append(number)
                self._found.failures[number] = failed(number, event)
            self._say(Noted(text=_words(event)))
        return lost

    def _first_spec(self, number: int) -> Spec | None:
        """What is scouted for a job; None if nothing must be, or it cannot be timed."""
        job: JobSpec = self._jobs[number]
        try:
            if job.model is not None:
                self._found.specs[number] = model_spec(Path(job.model), job.sizes)
                return None
            spec = op_spec(job.op, 1)
        except CostModelError as error:
            self._found.failures[number] = refused(number, str(error))
            return None
        if job.op.kind == SESSION:
            self._found.specs[number] = spec
            return None
        return spec

    def _scouted(self, number: int, event: Json) -> None:
        op = self._jobs[number].op
        try:
            require_outputs(op, event["shapes"])
            self._found.specs[number] = op_spec(op, num_replicas(op, event["latency_ms"]))
            self._found.failures.pop(number, None)
        except CostModelError as error:
            self._found.failures[number] = refused(number, str(error))

    def _anchor_spec(self, op: Op) -> Spec | None:
        """The anchor as the agent probes it; None if it cannot be timed."""
        try:
            spec = op_spec(op, 1)
            self._board.ship([spec, *self._overheads])
            step = {"step": "anchor", "do": "scout", "spec": spec.fields}
            found: Spec | None = None
            for event in self._board.carry_out([step], {}):
                if event["event"] == "scouted":
                    require_outputs(op, event["shapes"])
                    found = op_spec(op, num_replicas(op, event["latency_ms"]))
        except CostModelError as error:
            self._say(Noted(text=f"No drift watch: {error}"))
            return None
        return found


class _Visits:
    """One segment under way: turns the agent's events into the worker's, in the order asked for."""

    def __init__(
        self, board: Board, found: _Found, say: Callable[[Event], None], segment: int
    ) -> None:
        self._board = board
        self._found = found
        self._say = say
        self._segment = segment
        self._waiting: deque[tuple[str, int]] = deque()
        self._jobs: dict[str, int] = {}

    def make(self, segment: Segment, anchor: Spec | None, needed: Sequence[Spec]) -> None:
        """Order the visits and tell of each."""
        found = self._found
        self._waiting = deque(
            (f"{self._segment}v{place}", number) for place, number in enumerate(segment.order)
        )
        self._jobs = dict(self._waiting)
        todo = {step: n for step, n in self._waiting if n in found.specs}
        shared = _shared(segment, anchor)
        extra = [*needed, *([anchor] if anchor else [])]
        for attempt in range(_TRIES):
            specs = [found.specs[number] for number in dict.fromkeys(todo.values())]
            self._board.ship([*specs, *extra])
            steps: list[Json] = [
                {"step": step, "do": "visit", "spec": found.specs[number].fields}
                for step, number in todo.items()
            ]
            steps.append({"step": f"{self._segment}p{attempt}", "do": "probe"})
            lost = self._carry_out(steps, shared, last=attempt == _TRIES - 1)
            todo = {step: todo[step] for step in lost}
            if not todo or self._board.patience.stopping.is_set():
                break
        if not self._board.patience.stopping.is_set():
            self._tell_refused(None)

    def _carry_out(self, steps: list[Json], shared: Json, *, last: bool) -> list[str]:
        """Have steps done; returns those whose file is gone or damaged there, unless ``last``."""
        lost: list[str] = []
        for event in self._board.carry_out(steps, shared):
            if event["event"] == "failed" and event["error"] == "no-file" and not last:
                lost.append(event["step"])
                continue
            self._tell(event)
        return lost

    def _tell(self, event: Json) -> None:
        kind, step = event["event"], event.get("step", "")
        if kind in {"started", "visited", "failed"}:
            if step not in self._jobs:
                return  # of an earlier segment, whose end was cut off
            self._announce(step)
        if kind == "visited":
            self._say(visited(self._jobs[step], event))
        elif kind == "failed":
            self._say(failed(self._jobs[step], event))
        elif kind == "probed":
            self._say(probed(event))
        elif kind != "started":
            self._say(Noted(text=_words(event)))

    def _announce(self, step: str) -> None:
        """Say once that a job begins, after those before it that cannot be timed."""
        self._tell_refused(step)
        if self._waiting and self._waiting[0][0] == step:
            self._say(Started(job=self._waiting.popleft()[1]))

    def _tell_refused(self, step: str | None) -> None:
        """Tell of the jobs before a step that are known to fail."""
        while self._waiting and self._waiting[0][0] != step:
            number = self._waiting[0][1]
            if number not in self._found.failures:
                return
            self._waiting.popleft()
            failure = self._found.failures[number]
            if failure.status in _WORTH_ANOTHER_TRY:
                del self._found.failures[number]
            self._say(Started(job=number))
            self._say(failure)


def _shared(segment: Segment, anchor: Spec | None) -> Json:
    """What holds for all visits of a segment."""
    return {
        "care": msgspec.to_builtins(segment.care),
        "anchor": anchor.fields if anchor else None,
        "best_ms": segment.anchor_best_ms,
        "patience_ms": segment.patience_ms,
    }


def visited(number: int, event: Json) -> Visited:
    """A visit as the parent knows it."""
    names = ("quiet_ms", "median_ms", "blocks", "discarded", "runs")
    return Visited(
        job=number,
        round=Round(number=0, **{name: event[name] for name in names}),
        timed_ms=event["timed_ms"],
        warm_ms=event["warm_ms"],
        load_ms=event["load_ms"],
    )


def probed(event: Json) -> Probed:
    """A probe as the parent knows it."""
    names = ("latency_ms", "slow", "timed_ms", "waited_ms")
    return Probed(**{name: event[name] for name in names})


def failed(number: int, event: Json) -> Failed:
    """A failure as the parent knows it."""
    status: Status = event["error"] if event["error"] in _STATUSES else "rejected"
    return Failed(job=number, status=status, reason=event["text"])


def refused(number: int, text: str) -> Failed:
    """A job that never reached the device."""
    return Failed(job=number, status="rejected", reason=" ".join(text.split())[:400])


def _words(event: Json) -> str:
    """What people are told about an event; empty for nothing."""
    state = event.get("state", {})
    shown = ", ".join(f"{key} {value}" for key, value in state.items())
    if event["event"] == "cooling":
        return f"The device is throttling or too hot ({shown}): it cools down."
    if event["event"] == "cooled":
        return f"The device goes on after {event['waited_s']:.0f} s ({shown})."
    return ""
