"""Profiling until left-out networks are right."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from costmodel.costs.regression import fit_regression
from costmodel.errors import InvalidInputError
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.profiler import Job, Plan, ProfileReport, time_jobs
from costmodel.runners.fake import write_model
from costmodel.table import LatencyTable
from costmodel.uses import until
from costmodel.uses.until import most_telling, profile_until

QUICK = Plan(rounds=2, min_rounds=2, visit_ms=2.0, restart_every=100)


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device locks of these tests lie in their own folder: every fake device has one name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def convs(count: int, seed: int, kernel: int = 3) -> list[Op]:
    draw = random.Random(seed)
    found: dict[Op, None] = {}
    while len(found) < count:
        side = draw.choice((7, 14, 28))
        op = conv_op(
            in_channels=draw.randint(8, 96), out_channels=draw.randint(8, 96),
            size=(side, side), kernel=(kernel, kernel),
        )  # fmt: skip
        found[op] = None
    return list(found)


def network(folder: Path, number: int) -> Job:
    ops = convs(3, seed=100 + number)
    path = write_model(folder / f"net{number}.json", ops)
    return Job(op=model_op(f"net{number}", "0" * 16, tuple(ops)), model=path)


class Stages:
    """Measures on the fake device, and remembers what it was asked for."""

    def __init__(self, out: Path, rows: int) -> None:
        self.out = out
        self.rows = rows
        self.asked: list[list[Op]] = []

    def __call__(self, jobs: Sequence[Job], for_ms: float) -> ProfileReport:
        assert for_ms > 0
        self.asked.append([job.op for job in jobs])
        some = jobs[: self.rows * len(self.asked)]
        report = time_jobs(some, runner="fake", options={}, out=self.out, plan=QUICK)
        return replace(report, out_of_budget=len(some) < len(jobs))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    networks = [network(tmp_path, number) for number in range(8)]
    kernels = [Job(op=op) for number in range(8) for op in convs(3, seed=100 + number)]
    return [*networks, *kernels, *(Job(op=op) for op in convs(120, seed=0))]


def test_it_stops_when_left_out_networks_are_right(tmp_path: Path, jobs: list[Job]) -> None:
    stages = Stages(tmp_path / "t.jsonl", rows=60)
    report = profile_until(0.75, jobs, None, stages)
    assert not report.out_of_budget
    assert 1 <= len(stages.asked) <= 3
    assert report.visits == sum(len(row.rounds) for row in report.table.values())


def test_a_budget_ends_it_before_the_goal(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until, "left_out_networks", lambda _: None)
    report = profile_until(1.0, jobs, 1.0, Stages(tmp_path / "t.jsonl", rows=40))
    assert report.out_of_budget


def test_nothing_left_to_measure_ends_it(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until, "left_out_networks", lambda _: None)
    stages = Stages(tmp_path / "t.jsonl", rows=60)
    report = profile_until(1.0, jobs, None, stages)
    assert not report.out_of_budget
    assert len(stages.asked) == -(-len(jobs) // 60)


def test_what_is_doubtful_and_much_used_comes_first(tmp_path: Path, jobs: list[Job]) -> None:
    stages = Stages(tmp_path / "t.jsonl", rows=40)
    report = stages(jobs, 1e3)
    never_used = [Job(op=op) for op in convs(5, seed=7, kernel=5)]
    table = LatencyTable.load(tmp_path / "t.jsonl")
    ordered = most_telling([*never_used, *jobs], table, fit_regression(table))
    assert {job.op for job in ordered} == {job.op for job in [*never_used, *jobs]}
    visited = sum(bool(row.rounds) for row in report.table.values())
    assert all(job.op in table for job in ordered[:visited])
    places = {job.op: place for place, job in enumerate(ordered)}
    used = [places[job.op] for job in jobs if job.op not in table]
    assert min(used) < min(places[job.op] for job in never_used)


@pytest.mark.parametrize("goal", [0.0, -1.0, 1.5])
def test_a_goal_that_is_no_share_is_refused(goal: float, tmp_path: Path, jobs: list[Job]) -> None:
    with pytest.raises(InvalidInputError, match=r"share of networks above 0"):
        profile_until(goal, jobs, None, Stages(tmp_path / "t.jsonl", rows=10))


def test_too_few_networks_are_refused_with_what_to_do(tmp_path: Path, jobs: list[Job]) -> None:
    with pytest.raises(InvalidInputError, match=r"at least 8; here are 3\. Ask for 480"):
        profile_until(0.9, jobs[5:], None, Stages(tmp_path / "t.jsonl", rows=10))
