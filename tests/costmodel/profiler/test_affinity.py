"""Processors are divided between a worker and its parent."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.profiler.affinity import affinity_restored, split_cores, stay_on, usable_cores


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How busy each processor is said to be, in percent."""
    said = [0.0] * 8
    monkeypatch.setattr("psutil.cpu_percent", lambda **_: said)
    return said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 7), min_size=1), st.integers(1, 10), st.integers(0, 20))
def test_every_processor_is_given_once(
    loads: list[float], usable: set[int], threads: int, turn: int
) -> None:
    worker, parent = split_cores(sorted(usable), threads, turn)
    assert sorted(worker + parent) == sorted(usable)
    assert len(worker) == min(threads, len(usable))


def test_workers_take_turns(loads: list[float]) -> None:
    taken = [split_cores((0, 1, 2, 3), 1, turn)[0] for turn in range(5)]
    assert taken == [(1,), (2,), (3,), (0,), (1,)]


def test_a_busy_processor_comes_last(loads: list[float]) -> None:
    loads[1] = 90.0
    assert split_cores((0, 1, 2), 1) == ((2,), (0, 1))
    assert split_cores((0, 1, 2), 2) == ((0, 2), (1,))
    loads[:] = [90.0] * 8
    assert split_cores((0, 1, 2), 1) == ((1,), (0, 2))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_processors_are_given_back() -> None:
    before = usable_cores()
    assert before
    with affinity_restored():
        stay_on(before[:1])
        assert usable_cores() == before[:1]
        stay_on(())
        assert usable_cores() == before[:1]
    assert usable_cores() == before
