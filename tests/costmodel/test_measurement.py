from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.measurement import Measurement, Round, half_spread, quiet_estimate
from costmodel.op import Op

OP = Op(kind="add", inputs=((1, 8),), outputs=((1, 8),))

rounds = st.builds(
    Round,
    number=st.integers(0, 5),
    quiet_ms=st.floats(0.1, 10),
    median_ms=st.floats(0.1, 10),
    runs=st.integers(1, 100),
)


def visit(number: int, quiet_ms: float) -> Round:
    return Round(number=number, quiet_ms=quiet_ms, median_ms=2 * quiet_ms, runs=10)


@given(st.lists(rounds), st.randoms())
def test_order_and_repetition_of_rounds_do_not_matter(drawn: list[Round], random: Random) -> None:
    expected = Measurement.from_rounds(OP, drawn)
    again = [*drawn, *drawn]
    random.shuffle(again)
    assert expected == Measurement.from_rounds(OP, again)


@given(st.lists(rounds, min_size=1))
def test_the_latency_is_the_least_of_all_rounds(drawn: list[Round]) -> None:
    row = Measurement.from_rounds(OP, drawn)
    assert row.latency_ms == min(item.quiet_ms for item in drawn)
    numbers = [item.number for item in row.rounds]
    assert numbers == sorted({item.number for item in drawn})


def test_agreeing_halves_make_an_ok_row() -> None:
    row = Measurement.from_rounds(OP, [visit(0, 1.0), visit(1, 1.04), visit(2, 3.0)])
    assert (row.status, row.reason, row.latency_ms, row.median_ms) == ("ok", "", 1.0, 2.08)
    assert row.spread == pytest.approx(0.04)
    assert row.num_runs == 30
    assert row.has_number


def test_halves_that_disagree_make_a_noisy_row_which_keeps_its_number() -> None:
    row = Measurement.from_rounds(OP, [visit(0, 1.0), visit(1, 1.2)])
    assert (row.status, row.latency_ms, row.has_number) == ("noisy", 1.0, True)
    assert row.reason == "halves of the rounds differ by 20.0%"


def test_a_failure_keeps_its_rounds_but_has_no_number() -> None:
    row = Measurement.from_rounds(OP, [visit(0, 1.0)], status="crashed", reason="signal 11")
    assert (row.status, row.reason, row.has_number) == ("crashed", "signal 11", False)
    assert math.isnan(row.latency_ms)
    assert row.rounds == (visit(0, 1.0),)


def test_one_round_has_no_spread() -> None:
    row = Measurement.from_rounds(OP, [visit(3, 1.0)])
    assert math.isnan(row.spread)
    assert row == Measurement.from_rounds(OP, [visit(3, 1.0)])


def test_quiet_estimate_is_the_least() -> None:
    assert quiet_estimate([1.5, 1.0, 1.01]) == 1.0


@given(st.lists(st.floats(0.1, 10), min_size=2), st.floats(0.5, 2))
def test_spread_does_not_depend_on_the_unit(times_ms: list[float], scale: float) -> None:
    scaled = half_spread([scale * item for item in times_ms])
    assert scaled == pytest.approx(half_spread(times_ms), abs=1e-9)


def test_spread_of_a_zero_time_is_infinite() -> None:
    assert half_spread([0.0, 1.0]) == math.inf
