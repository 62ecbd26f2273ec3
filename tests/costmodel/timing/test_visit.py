from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, cycle, repeat
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.protocols import Block
from costmodel.timing import visit as timing
from costmodel.timing import watch
from costmodel.timing.visit import NoTimeError, Summary
from costmodel.timing.watch import Sample, Watch


class Script:
    """A workload that takes the times it is told to, last one for ever."""

    def __init__(self, times_ms: Iterable[float], wall_ms: float = 1.0) -> None:
        self.times: Iterator[float] = iter(times_ms)
        self.wall_ms = wall_ms
        self.blocks = 0

    def block(self, min_ms: float) -> Block:
        self.blocks += 1
        return Block(latency_ms=next(self.times), wall_ms=max(min_ms, self.wall_ms), runs=2)

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Told(Watch):
    """A watch that is told what each block lost."""

    def __init__(self, lost_ms: Iterable[float]) -> None:
        self._lost = iter(lost_ms)

    def reset(self) -> None:
        """Nothing to forget."""

    def begin(self) -> None:
        """Nothing to note."""

    def end(self, block: watch.Block) -> Sample:
        return Sample(block=block, lost_ms=next(self._lost))

    def settle(self) -> None:
        """Nothing to add."""


def quiet() -> Told:
    return Told(repeat(0.0))


def visit(script: Script, told: Watch) -> Summary:
    return timing.visit(script, told, visit_ms=60.0, block_ms=1.0).summary


def test_a_visit_lasts_as_long_as_asked() -> None:
    result = visit(Script(repeat(0.5)), quiet())
    assert (result.blocks, result.discarded, result.runs) == (60, 0, 120)
    assert (result.quiet_ms, result.median_ms) == (0.5, 0.5)


def test_the_first_block_counts_only_where_it_is_long() -> None:
    assert visit(Script(chain([0.1], repeat(1.0))), quiet()).quiet_ms == 1.0
    long = Script(chain([90.0], repeat(91.0)), wall_ms=91.0)
    assert visit(long, quiet()).quiet_ms == 90.0


def test_warm_up_goes_on_until_steady_but_not_for_ever() -> None:
    steady, restless = Script(repeat(1.0)), Script(cycle([1.0, 2.0]))
    assert visit(steady, quiet()).blocks == steady.blocks - 3
    # Its share of the visit, 4.8 ms of 60, is over after the fifth block.
    assert visit(restless, quiet()).blocks == restless.blocks - 5


def test_long_workloads_get_three_blocks() -> None:
    script = Script(repeat(200.0), wall_ms=200.0)
    result = visit(script, quiet())
    assert (result.blocks, script.blocks) == (3, 3)


def test_medium_workloads_get_five_blocks() -> None:
    assert visit(Script(repeat(19.0), wall_ms=19.0), quiet()).blocks == 5


def test_disturbed_blocks_are_discarded_and_replaced() -> None:
    script = Script(chain(repeat(1.0, 3), cycle([1.0, 3.0, 0.7])))
    result = visit(script, Told(cycle([0.0, 0.5, 0.0])))
    assert (result.blocks, result.discarded) == (60, 30)
    assert (result.quiet_ms, result.median_ms) == (0.7, 0.85)


def test_when_all_blocks_are_disturbed_the_least_disturbed_is_kept() -> None:
    script = Script(repeat(200.0), wall_ms=200.0)
    result = visit(script, Told(chain([90.0, 5.0, 60.0], repeat(70.0))))
    assert (result.blocks, result.discarded, result.quiet_ms) == (1, 5, 200.0)


def test_a_small_loss_does_not_spoil_a_long_block() -> None:
    result = visit(Script(repeat(200.0), wall_ms=200.0), Told(repeat(1.5)))
    assert (result.blocks, result.discarded) == (3, 0)


@given(st.floats(0.001, 500.0), st.lists(st.floats(0.0, 20.0), min_size=1, max_size=30))
def test_a_visit_ends_whatever_the_machine_does(wall_ms: float, lost_ms: list[float]) -> None:
    script = Script(repeat(wall_ms), wall_ms=wall_ms)
    result = visit(script, Told(cycle(lost_ms)))
    assert result.blocks >= 1
    assert result.blocks + result.discarded <= 121


def test_times_that_cannot_be_are_discarded() -> None:
    script = Script(chain(repeat(1.0, 3), cycle([1.0, -0.2, float("nan")])))
    result = visit(script, quiet())
    assert (result.quiet_ms, result.blocks, result.discarded) == (1.0, 40, 80)


def test_a_runner_without_a_clock_is_refused() -> None:
    with pytest.raises(NoTimeError, match="None of 120 blocks has a time above 0"):
        visit(Script(repeat(0.0)), quiet())
