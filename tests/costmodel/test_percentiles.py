"""Percentiles of single times."""

from __future__ import annotations

import random
import statistics

import pytest

from costmodel.percentiles import Percentiles


def test_too_few_times_have_none() -> None:
    assert Percentiles.of([]) is None
    assert Percentiles.of([1.0]) is None


@pytest.mark.parametrize(
    ("count", "known"),
    [(2, {"p50"}), (10, {"p50", "p90"}), (20, {"p50", "p90", "p95"}), (99, {"p50", "p90", "p95"})],
)
def test_a_percentile_needs_a_time_beyond_it(count: int, known: set[str]) -> None:
    found = Percentiles.of([1.0 + number for number in range(count)])
    assert found is not None
    told = found.to_json()
    assert {name for name in told if name[0] == "p" and told[name] is not None} == known


def test_the_figures_are_those_of_the_times() -> None:
    draw = random.Random(0)
    times = [draw.lognormvariate(0.0, 0.3) for _ in range(2000)]
    found = Percentiles.of(times)
    assert found is not None
    assert (found.min, found.max) == (min(times), max(times))
    assert found.mean == pytest.approx(statistics.fmean(times))
    assert found.std == pytest.approx(statistics.stdev(times))
    assert found.p50 == pytest.approx(statistics.median(times))
    assert sum(time <= (found.p99 or 0.0) for time in times) == pytest.approx(1980, abs=1)
    assert found.samples == 2000
