"""Visit: the timing loop of one stay at one workload."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from costmodel.errors import UnsupportedOpError
from costmodel.measurement import Round
from costmodel.profiler.interference import Sample, Watch
from costmodel.profiler.messages import Care
from costmodel.protocols import Workload

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one stay gave.

    Attributes:
        round: its summary, number 0.
        warm_ms: wall time of the blocks that do not count.
        timed_ms: wall time of the blocks that were looked at, kept or discarded.
    """

    round: Round
    warm_ms: float
    timed_ms: float


def visit(workload: Workload, care: Care, watch: Watch) -> Visit:
    """Warm up, then time blocks until enough undisturbed ones are in, or enough is enough.

    Args:
        workload: what to time; loaded.
        care: how long.
        watch: tells what each block lost to others.

    Raises:
        UnsupportedOpError: if no block has a time above 0, which is the runner's fault.
    """
    before = time.perf_counter()
    warm_block_ms = _warm_up(workload, care)
    warmed = time.perf_counter()
    watch.reset()
    samples = _collect(workload, care, watch, is_long=warm_block_ms > care.visit_ms * LONG_SHARE)
    done = time.perf_counter()
    return Visit(
        round=summarise(samples),
        warm_ms=(warmed - before) * 1000.0,
        timed_ms=(done - warmed) * 1000.0,
    )


def _warm_up(workload: Workload, care: Care) -> float:
    """Run until steady; returns the wall time of one block in ms."""
    block = workload.block(care.block_ms)
    spent_ms = block.wall_ms
    recent = [block.latency_ms]
    while spent_ms < care.visit_ms * WARM_SHARE and len(recent) < MAX_WARM_BLOCKS:
        block = workload.block(care.block_ms)
        spent_ms += block.wall_ms
        recent.append(block.latency_ms)
        last = recent[-STEADY_BLOCKS:]
        if len(last) == STEADY_BLOCKS and max(last) - min(last) <= STEADY_SHARE * abs(min(last)):
            break
    return block.wall_ms


def _collect(workload: Workload, care: Care, watch: Watch, *, is_long: bool) -> list[Sample]:
    needed = MIN_LONG_BLOCKS if is_long else MIN_BLOCKS
    samples: list[Sample] = []
    spent_ms = 0.0
    while True:
        watch.begin()
        samples.append(watch.end(workload.block(care.block_ms)))
        spent_ms += samples[-1].block.wall_ms
        if len(samples) < needed or spent_ms < care.visit_ms:
            continue  # not enough even if nothing disturbed them
        watch.settle()
        kept = [item.block.wall_ms for item in samples if not item.disturbed]
        if len(kept) >= needed and sum(kept) >= care.visit_ms:
            return samples
        target_ms = max(care.visit_ms, needed * median(item.block.wall_ms for item in samples))
        if len(samples) >= REPLACE * needed and spent_ms >= REPLACE * target_ms:
            return samples


def summarise(samples: Sequence[Sample]) -> Round:
    """Round of the undisturbed samples; of the least disturbed one if there is no other.

    Raises:
        UnsupportedOpError: if no sample has a time above 0.

    >>> from costmodel.protocols import Block
    >>> def sample(latency_ms, lost_ms):
    ...     block = Block(latency_ms=latency_ms, wall_ms=1.0, runs=1)
    ...     return Sample(block=block, lost_ms=lost_ms)
    >>> summary = summarise([sample(1.0, 0.0), sample(1.2, 0.0), sample(0.5, 0.9)])
    >>> summary.quiet_ms, summary.median_ms, summary.blocks, summary.discarded
    (1.0, 1.1, 2, 1)
    """
    kept = [item for item in samples if not item.disturbed]
    if not kept:
        timed = [item for item in samples if item.has_time]
        if not timed:
            message = (
                f"None of {len(samples)} blocks has a time above 0: "
                f"{[item.block.latency_ms for item in samples[:3]]} ms. "
                "The runner's clock or its overhead correction is wrong."
            )
            raise UnsupportedOpError(message)
        kept = [min(timed, key=lambda item: item.lost_ms)]
    times = [item.block.latency_ms for item in kept]
    return Round(
        number=0,
        quiet_ms=min(times),
        median_ms=median(times),
        blocks=len(kept),
        discarded=len(samples) - len(kept),
        runs=sum(item.block.runs for item in kept),
    )
