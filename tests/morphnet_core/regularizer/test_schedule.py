"""Strength over steps, and when prices are refreshed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.regularizer.schedule import Schedule


@given(st.floats(0.0, 1e3), st.integers(0, 500), st.integers(0, 1000))
def test_strength_rises_in_a_line_and_stays(strength: float, warmup: int, step: int) -> None:
    schedule = Schedule(strength=strength, warmup_steps=warmup)
    expected = strength * min(1.0, step / warmup) if warmup else strength
    assert schedule.at(step) == pytest.approx(expected)
    assert schedule.at(step) <= schedule.at(step + 1)


@given(st.integers(1, 50), st.integers(1, 200), st.integers(1, 9))
def test_every_period_is_refreshed_once_however_many_steps_a_batch_has(
    every: int, steps: int, stride: int
) -> None:
    schedule = Schedule(strength=1.0, refresh_every=every)
    refreshed, periods = -1, []
    for step in range(0, steps, stride):
        if schedule.due(step, refreshed):
            refreshed = step
            periods.append(step // every)
    assert periods == sorted({step // every for step in range(0, steps, stride)})


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": -1.0},
        {"strength": math.nan},
        {"strength": 1.0, "warmup_steps": -1},
        {"strength": 1.0, "refresh_every": 0},
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="Received"):
        Schedule(**wrong)
