"""Stretches last long enough, with as few runs as that takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.timing.stretch import Stretches


@given(st.floats(1e-4, 50.0), st.floats(1e-3, 200.0), st.floats(1.0, 20.0))
def test_a_stretch_lasts_and_little_longer(run_ms: float, min_ms: float, cold: float) -> None:
    asked: list[int] = []

    def time(count: int) -> float:
        asked.append(count)
        return run_ms * count * (cold if len(asked) == 1 else 1.0)

    count, wall_ms = Stretches(time).run(min_ms)
    assert wall_ms >= min_ms
    assert count == asked[-1]
    assert count * run_ms == pytest.approx(wall_ms)
    assert wall_ms <= 1.3 * min_ms + 2 * run_ms


def test_a_clock_too_coarse_for_one_run_ends_nevertheless() -> None:
    count, wall_ms = Stretches(lambda count: float(count // 1000)).run(5.0)
    assert count >= 5000
    assert wall_ms >= 5.0


@given(st.integers(1, 9), st.floats(1e-3, 5.0), st.floats(1e-3, 50.0))
def test_every_turn_comes_as_often_as_any_other(turns: int, run_ms: float, min_ms: float) -> None:
    count, wall_ms = Stretches(lambda count: run_ms * count, turns).run(min_ms)
    assert count % turns == 0
    assert wall_ms >= min_ms
