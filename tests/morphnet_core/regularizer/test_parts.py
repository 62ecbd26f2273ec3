"""The parts of the regularizer that need no training: schedule, warnings, report."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.groups import ChannelGroup
from morphnet_core.regularizer.report import Report
from morphnet_core.regularizer.schedule import Schedule
from morphnet_core.regularizer.watch import PATIENCE, RegularizationWarning, Watch


@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 7))
def test_refreshes_fall_on_multiples_however_many_steps_run_at_once(
    every: int, steps: int, at_once: int
) -> None:
    schedule = Schedule(strength=1.0, refresh_every=every)
    step, refreshed, found = 0, -1, []
    while step < steps:
        if schedule.due(step, refreshed):
            refreshed = step
            found.append(step)
        step += at_once
    begun = list(range(0, steps, at_once))
    expected = [s for i, s in enumerate(begun) if i == 0 or s // every > begun[i - 1] // every]
    assert found == expected


@given(st.floats(0, 100), st.integers(0, 50), st.integers(0, 100))
def test_the_strength_rises_in_a_line(strength: float, warmup: int, step: int) -> None:
    schedule = Schedule(strength=strength, warmup_steps=warmup)
    expected = strength * min(1.0, step / warmup) if warmup else strength
    assert schedule.at(step) == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong", [{"strength": float("nan")}, {"strength": 1.0, "warmup_steps": -1}]
)
def test_schedules_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="must be at least 0"):
        Schedule(**wrong)


def watch() -> Watch:
    groups = (
        ChannelGroup(name="a", start=0, size=2),
        ChannelGroup(name="b", start=2, size=2),
        ChannelGroup(name="c", start=4, size=1, frozen="output"),
    )
    grouping = SimpleNamespace(
        groups=groups,
        counts=lambda alive: np.array([alive[g.units].sum() for g in groups]),
    )
    return Watch(grouping, np.array([True] * 4 + [False]), 0.1)  # type: ignore[arg-type]


def look(at: Watch, scores: list[float], quiet: int = 0) -> list[str]:
    values = np.array([*scores, np.inf])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        at.look(scores=values, above=values > 0.1, quiet=quiet)
    assert all(item.category is RegularizationWarning for item in caught)
    return [str(item.message) for item in caught]


def test_a_dead_group_is_told_once() -> None:
    at = watch()
    assert look(at, [1, 1, 1, 1]) == []
    (text,) = look(at, [0, 0, 1, 1])
    assert "group 'a'" in text
    assert look(at, [0, 0, 1, 1]) == []


def test_everything_dead_is_told_as_that() -> None:
    at = watch()
    (text,) = look(at, [0, 0, 0, 0])
    assert "try a tenth" in text
    assert look(at, [0, 0, 0, 0]) == []


def test_nothing_shrinking_is_told_after_a_while() -> None:
    at = watch()
    assert look(at, [1, 1, 1, 1]) == []
    assert look(at, [1, 0.99, 1, 1], PATIENCE - 1) == []
    (text,) = look(at, [1, 0.99, 1, 1], PATIENCE)
    assert "Raise the strength tenfold" in text
    moving = watch()
    look(moving, [1, 1, 1, 1])
    assert look(moving, [0.9, 0.9, 0.9, 0.9], PATIENCE) == []


def test_a_report_reads_well() -> None:
    report = Report(
        step=7,
        strength=0.5,
        penalty=0.25,
        unit="ms",
        cost=1.5,
        seed_cost=2.0,
        alive={"a": (3, 4), "longer": (1, 16)},
        silent={"c": "no BatchNormalization carries its channels"},
        unfollowed={"lambda": "a Lambda"},
        unpriced={},
    )
    assert report.cost_share == 0.75
    assert report.alive_channels == 4
    assert str(report).splitlines() == [
        "step 7: 1.50 ms of 2.00 ms (75.0 %), penalty 0.250 at strength 0.500",
        "  a           3 / 4",
        "  longer      1 / 16",
        "  no signal: c: no BatchNormalization carries its channels",
        "  not followed: lambda: a Lambda",
    ]
    assert report.record()["alive"] == {"a": 3, "longer": 1}
