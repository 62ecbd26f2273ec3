"""The worker process: loads Ops, times them, and may die of it without harm to the profile.

Started by the supervisor as ``python -m costmodel.profiler.worker``; talks JSON lines over what
were its standard input and output. It ends when the parent does.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from costmodel.errors import CostModelError
from costmodel.measurement import Round, Status
from costmodel.profiler.kept import KeptWorkloads
from costmodel.profiler.messages import (
    Done,
    Event,
    Failed,
    JobSpec,
    Probed,
    Ready,
    Refused,
    Segment,
    Setup,
    Started,
    Stop,
    Visited,
    decode_order,
    encode,
)
from costmodel.protocols import Runner, Workload
from costmodel.registry import load_runner
from costmodel.streams import take_streams
from costmodel.timing.anchor import Anchor
from costmodel.timing.cores import stay_on, usable_cores
from costmodel.timing.mishaps import die_with_parent, is_out_of_memory, one_line
from costmodel.timing.visit import NoTimeError, visit
from costmodel.timing.watch import Watch

#: A workload whose loading took this share of what a visit times is kept for the next visit.
_WORTH_SHARE = 0.25


class Visitor(Protocol):
    """Visits the jobs of segments and tells what happened."""

    def run(self, segment: Segment, stopping: threading.Event) -> None:
        """Visit the jobs of a segment, say so, and then that it is done."""
        ...


@runtime_checkable
class Delegate(Protocol):
    """A runner that has visits made elsewhere, such as on a device far away."""

    def delegate(self, setup: Setup, say: Callable[[Event], None]) -> Visitor:
        """Who visits the jobs of ``setup`` and tells by ``say``; called before anything else."""
        ...


class Worker:
    """One runner, its jobs, and the conversation about them."""

    def __init__(self, setup: Setup, runner: Runner, events: BinaryIO) -> None:
        """Take over.

        Args:
            setup: the jobs.
            runner: who runs them.
            events: where to write what happened.
        """
        self._setup = setup
        self._runner = runner
        self._events = events
        self._watch = Watch(setup.cores)
        self._kept = KeptWorkloads()
        self._anchor: Anchor | None = None
        if setup.anchor is not None:
            # A runtime that refuses the anchor will refuse the job too, and that is recorded.
            with contextlib.suppress(Exception):
                self._anchor = Anchor(runner.load_op(setup.anchor))

    def say(self, event: Event) -> None:
        """Tell the parent."""
        _say(self._events, event)

    def run(self, segment: Segment, stopping: threading.Event) -> None:
        """Visit the jobs of a segment.

        Args:
            segment: which, and how.
            stopping: set when the parent wants no further visit.
        """
        patience_ms = segment.patience_ms
        for number in segment.order:
            if stopping.is_set():
                break
            patience_ms -= self._probe(segment, patience_ms)
            self.say(Started(job=number))
            self.say(self._visit(number, segment))
        self._probe(segment, patience_ms)
        self.say(Done())

    def _probe(self, segment: Segment, patience_ms: float) -> float:
        """Probe the anchor if it is due; returns the time waited, in ms."""
        care = segment.care
        if self._anchor is None or not self._anchor.is_due(care.anchor_every_ms):
            return 0.0
        try:
            probe = self._anchor.probe(care.block_ms, patience_ms, segment.anchor_best_ms)
        except Exception:  # whatever ails the anchor, the jobs can go on without it
            self._anchor = None
            return 0.0
        self.say(Probed(**probe._asdict()))
        return probe.waited_ms

    def _visit(self, number: int, segment: Segment) -> Event:
        care, job = segment.care, self._setup.jobs[number]
        # A whole model takes too much memory to lie beside others that are timed.
        worth_ms = _WORTH_SHARE * care.visit_ms if job.model is None else math.inf
        try:
            with self._kept.loaded(number, lambda: self._load(job), worth_ms=worth_ms) as (
                workload,
                load_ms,
            ):
                stay = visit(workload, self._watch, visit_ms=care.visit_ms, block_ms=care.block_ms)
        except Exception as error:  # a runtime's errors have no common base
            return _failure(number, error)
        return Visited(
            job=number,
            round=Round(number=0, **stay.summary._asdict()),
            timed_ms=stay.timed_ms,
            warm_ms=stay.warm_ms,
            load_ms=load_ms,
            times_ms=() if job.model is None else stay.times_ms,
        )

    def _load(self, job: JobSpec) -> Workload:
        if job.model is not None:
            return self._runner.load_model(Path(job.model), job.sizes)
        return self._runner.load_op(job.op)


def _failure(number: int, error: Exception) -> Failed:
    reason = one_line(error, named=not isinstance(error, CostModelError | NoTimeError))
    status: Status = "out_of_memory" if is_out_of_memory(error) else "rejected"
    return Failed(job=number, status=status, reason=reason)


def _listen(orders: BinaryIO, segments: queue.SimpleQueue[Segment], stop: threading.Event) -> None:
    """Hear the parent while the main thread is busy; end when there is no parent."""
    for line in orders:
        match decode_order(line):
            case Segment() as segment:
                stop.clear()
                segments.put(segment)
            case Stop():
                stop.set()
            case Setup():
                pass  # only the first line may be one
    os._exit(0)


def main() -> int:
    """Serve one parent; returns the exit status."""
    die_with_parent()
    orders, events = take_streams()
    line = orders.readline()
    if not line:
        return 0
    setup = decode_order(line)
    if not isinstance(setup, Setup):
        return 1
    others = usable_cores()
    stay_on(setup.cores)
    try:
        _serve(setup, orders, events, others)
    except CostModelError as error:
        events.write(encode(Refused(error=type(error).__name__, message=str(error))))
    return 0


def _serve(setup: Setup, orders: BinaryIO, events: BinaryIO, others: list[int]) -> None:
    """Visit what the parent wants, for as long as it is there.

    Args:
        setup: the jobs.
        orders: from the parent.
        events: to the parent.
        others: processors that the worker left for those of ``setup``.

    Raises:
        CostModelError: if the runner refuses to start, or can do nothing more.
    """
    runner = load_runner(setup.runner, setup.options)
    visitor: Visitor
    if isinstance(runner, Delegate):
        stay_on({*setup.cores, *others})  # somebody else does the timing, perhaps on this machine
        visitor = runner.delegate(setup, lambda event: _say(events, event))
        device = runner.device
    else:
        device = runner.device
        visitor = Worker(setup, runner, events)
    segments: queue.SimpleQueue[Segment] = queue.SimpleQueue()
    stopping = threading.Event()
    threading.Thread(target=_listen, args=(orders, segments, stopping), daemon=True).start()
    _say(events, Ready(device=device))
    while True:
        visitor.run(segments.get(), stopping)


def _say(events: BinaryIO, event: Event) -> None:
    events.write(encode(event))


if __name__ == "__main__":
    sys.exit(main())
