"""Processors are divided between a worker and its parent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.timing import cores
from costmodel.timing.cores import affinity_restored, split_cores, stay_on, usable_cores


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Processors that are said to be busy."""
    said: set[int] = set()
    monkeypatch.setattr(cores, "_busy", lambda _: said)
    return said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 7), min_size=1), st.integers(1, 10), st.integers(0, 20))
def test_every_processor_is_given_once(
    loads: set[int], usable: set[int], threads: int, turn: int
) -> None:
    worker, parent = split_cores(sorted(usable), threads, turn)
    assert sorted(worker + parent) == sorted(usable)
    assert len(worker) == min(threads, len(usable))


def test_workers_take_turns(loads: set[int]) -> None:
    taken = [split_cores((0, 1, 2, 3), 1, turn)[0] for turn in range(5)]
    assert taken == [[0], [1], [2], [3], [0]]


def test_a_busy_processor_comes_last(loads: set[int]) -> None:
    loads.add(1)
    assert split_cores((0, 1, 2), 1, 1) == ([2], [0, 1])
    assert split_cores((0, 1, 2), 2, 1) == ([0, 2], [1])
    loads.update(range(8))
    assert split_cores((0, 1, 2), 1, 1) == ([1], [0, 2])


def test_busy_is_who_has_worked_between_two_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stat = tmp_path / "proc" / "stat"
    stat.parent.mkdir()
    stat.write_text("cpu 9 9 9\ncpu0 1 1 1 100\ncpu1 1 1 1 100\nintr 5\n")
    later = "cpu 9 9 9\ncpu0 1 1 2 900\ncpu1 90 1 1 100\nintr 5\n"
    monkeypatch.setattr("time.sleep", lambda _: stat.write_text(later))
    assert split_cores((0, 1), 1, 1, tmp_path) == ([0], [1])
    assert split_cores((0, 1), 1, 1, tmp_path / "none") == ([1], [0])


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
