"""Visit: the timing loop of one stay at one workload."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Protocol

from costmodel.timing.watch import Block, Sample, Watch

#: A run longer than this share of the visit makes the workload a long one.
LONG_SHARE = 1 / 3
#: Blocks that a visit needs, for short and for long workloads.
MIN_BLOCKS, MIN_LONG_BLOCKS = 5, 3
#: Disturbed blocks are replaced until the visit has taken this many times what it should.
REPLACE = 2.0
#: Warm-up is over when this many blocks in a row agree within the share, or after the most blocks.
STEADY_BLOCKS, STEADY_SHARE, MAX_WARM_BLOCKS = 3, 0.02, 8
#: Longest warm-up as a share of the visit: what warms up by then is caches and clocks, not noise.
WARM_SHARE = 0.08


class NoTimeError(Exception):
    """No block of a visit has a time above 0, which is the runner's fault."""


class Workload(Protocol):
    """What is timed."""

    def block(self, min_ms: float) -> Block:
        """Time one stretch of at least ``min_ms``."""
        ...


class Summary(NamedTuple):
    """Numbers of the blocks of a visit that count; fields as those of a table's ``Round``."""

    quiet_ms: float
    median_ms: float
    blocks: int
    discarded: int
    runs: int


class Visit(NamedTuple):
    """What one stay gave.

    Attributes:
        summary: its numbers.
        warm_ms: wall time of the blocks that do not count.
        timed_ms: wall time of the blocks that were looked at, kept or discarded.
        times_ms: time per execution of each of those blocks.
    """

    summary: Summary
    warm_ms: float
    timed_ms: float
    times_ms: tuple[float, ...] = ()


def visit(workload: Workload, watch: Watch, *, visit_ms: float, block_ms: float) -> Visit:
    """Warm up, then time blocks until enough undisturbed ones are in, or enough is enough.

    Args:
        workload: what to time; loaded.
        watch: tells what each block lost to others.
        visit_ms: how long the undisturbed blocks should last in sum.
        block_ms: how long a block should last.

    Raises:
        NoTimeError: if no block has a time above 0.
    """
    before = time.perf_counter()
    start = _start(workload, watch, visit_ms, block_ms)
    samples = start.samples
    while not _enough(watch, samples, start.needed, visit_ms):
        watch.begin()
        samples.append(watch.end(workload.block(block_ms)))
    done = time.perf_counter()
    return Visit(
        summary=summarise(samples),
        warm_ms=(start.warmed - before) * 1000.0,
        timed_ms=(done - start.warmed) * 1000.0,
        times_ms=tuple(item.block.latency_ms for item in samples if item.has_time),
    )


class _Start(NamedTuple):
    """How a visit begins.

    Attributes:
        samples: blocks that count already.
        needed: blocks that it takes in all.
        warmed: when the warm-up was over, by the clock in s.
    """

    samples: list[Sample]
    needed: int
    warmed: float


def _start(workload: Workload, watch: Watch, visit_ms: float, block_ms: float) -> _Start:
    """Run a first block: a long workload's counts, a short one's begins its warm-up.

    What takes long is not run for nothing: it fills the caches in a small part of its first run.
    """
    begun = time.perf_counter()
    watch.reset()
    watch.begin()
    first = workload.block(block_ms)
    if first.wall_ms > visit_ms * LONG_SHARE:
        return _Start([watch.end(first)], MIN_LONG_BLOCKS, begun)
    _warm_up(workload, first, visit_ms, block_ms)
    warmed = time.perf_counter()
    watch.reset()
    return _Start([], MIN_BLOCKS, warmed)


def _warm_up(workload: Workload, block: Block, visit_ms: float, block_ms: float) -> None:
    """Run on from a first block until steady."""
    spent_ms = block.wall_ms
    recent = [block.latency_ms]
    while spent_ms < visit_ms * WARM_SHARE and len(recent) < MAX_WARM_BLOCKS:
        block = workload.block(block_ms)
        spent_ms += block.wall_ms
        recent.append(block.latency_ms)
        last = recent[-STEADY_BLOCKS:]
        if len(last) == STEADY_BLOCKS and max(last) - min(last) <= STEADY_SHARE * abs(min(last)):
            break


def _enough(watch: Watch, samples: Sequence[Sample], needed: int, visit_ms: float) -> bool:
    """Whether enough undisturbed blocks are in, or so many that waiting for quiet ends."""
    spent_ms = sum(item.block.wall_ms for item in samples)
    if len(samples) < needed or spent_ms < visit_ms:
        return False  # not enough even if nothing disturbed them
    watch.settle()
    kept = [item.block.wall_ms for item in samples if not item.disturbed]
    if len(kept) >= needed and sum(kept) >= visit_ms:
        return True
    target_ms = max(visit_ms, needed * median(item.block.wall_ms for item in samples))
    return len(samples) >= REPLACE * needed and spent_ms >= REPLACE * target_ms


def summarise(samples: Sequence[Sample]) -> Summary:
    """Numbers of the undisturbed samples; of the least disturbed one if there is no other.

    Raises:
        NoTimeError: if no sample has a time above 0.

    >>> from costmodel.protocols import Block
    >>> def sample(latency_ms, lost_ms):
    ...     block = Block(latency_ms=latency_ms, wall_ms=1.0, runs=1)
    ...     return Sample(block=block, lost_ms=lost_ms)
    >>> summarise([sample(1.0, 0.0), sample(1.2, 0.0), sample(0.5, 0.9)])
    Summary(quiet_ms=1.0, median_ms=1.1, blocks=2, discarded=1, runs=2)
    """
    kept = [item for item in samples if not item.disturbed]
    if not kept:
        timed = [item for item in samples if item.has_time]
        if not timed:
            seen = [item.block.latency_ms for item in samples[:3]]
            message = (
                f"None of {len(samples)} blocks has a time above 0: {seen} ms. "
                "The runner's clock or its overhead correction is wrong."
            )
            raise NoTimeError(message)
        kept = [min(timed, key=lambda item: item.lost_ms)]
    times = [item.block.latency_ms for item in kept]
    return Summary(
        quiet_ms=min(times),
        median_ms=median(times),
        blocks=len(kept),
        discarded=len(samples) - len(kept),
        runs=sum(item.block.runs for item in kept),
    )
