from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from costmodel.errors import CostModelError, DeviceMismatchError, InvalidInputError, LockedError
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.profiler import Job, Plan, ProfileReport, time_jobs
from costmodel.profiler.budget import Budget
from costmodel.profiler.lock import hold, table_lock
from costmodel.runners.fake import law_ms, write_model
from costmodel.table import LatencyTable

QUICK = Plan(rounds=6, min_rounds=4, visit_ms=10.0, restart_every=2)


def convs(count: int) -> list[Op]:
    return [
        conv_op(in_channels=4 * n + 4, out_channels=16, size=(14, 14), kernel=(3, 3))
        for n in range(count)
    ]


def jobs(count: int) -> list[Job]:
    return [Job(op=op) for op in convs(count)]


class Notes:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[int, int, float]] = []
        self.stopped = 0

    def start(self, total: int) -> None:
        self.steps.append((0, total, 0.0))

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        self.steps.append((done, total, seconds_left))
        self.notes.append(note)

    def stop(self) -> None:
        self.stopped += 1


def run(
    wanted: list[Job], out: Path, plan: Plan = QUICK, **options: str | int | float | bool
) -> ProfileReport:
    return time_jobs(wanted, runner="fake", options=options, out=out, plan=plan)


def by_kind(table: LatencyTable) -> dict[str, Measurement]:
    return {op.kind: row for op, row in table.rows.items()}


def test_a_quiet_device_gives_its_law(tmp_path: Path) -> None:
    report = run(jobs(5), tmp_path / "t.jsonl")
    table = LatencyTable.load(tmp_path / "t.jsonl")
    assert [table[op].latency_ms for op in convs(5)] == pytest.approx([*map(law_ms, convs(5))])
    assert {len(row.rounds) for row in table.rows.values()} == {4}
    assert (report.rows, report.ok, report.visits, report.unmeasured) == (5, 5, 20, 0)
    assert (report.repeatability.rows, report.repeatability.within_5) == (5, 1.0)
    assert report.restarts == 1
    assert report.drift.probes >= 2
    assert not report.interrupted
    assert not report.out_of_budget
    assert sum(report.shares.values()) == pytest.approx(1.0)


def test_rounds_interleave_all_jobs_and_progress_tells(tmp_path: Path) -> None:
    notes = Notes()
    time_jobs(
        jobs(7),
        runner="fake",
        options={},
        out=tmp_path / "t.jsonl",
        plan=QUICK,
        progress=notes,
    )
    rounds = [tuple(notes.notes[start : start + 7]) for start in range(0, 28, 7)]
    labels = {op.label for op in convs(7)}
    assert [set(seen) for seen in rounds] == [labels] * 4
    assert len(set(rounds)) == 4
    assert [step[0] for step in notes.steps] == list(range(29))
    assert {step[1] for step in notes.steps} == {28}
    assert notes.stopped == 1


def test_noise_is_taken_by_the_quiet_estimate(tmp_path: Path) -> None:
    table = run(jobs(5), tmp_path / "t.jsonl", noise=0.2).table
    for op in convs(5):
        assert law_ms(op) <= table[op].latency_ms < 1.1 * law_ms(op)
        assert table[op].median_ms > table[op].latency_ms


def test_a_finished_table_takes_no_visits(tmp_path: Path) -> None:
    run(jobs(3), tmp_path / "t.jsonl")
    before = (tmp_path / "t.jsonl").read_bytes()
    report = run(jobs(3), tmp_path / "t.jsonl")
    assert (report.visits, report.ok) == (0, 3)
    assert (tmp_path / "t.jsonl").read_bytes() == before


def test_more_jobs_go_into_the_same_table(tmp_path: Path) -> None:
    run(jobs(2), tmp_path / "t.jsonl")
    report = run(jobs(4), tmp_path / "t.jsonl")
    assert (report.visits, len(report.table)) == (8, 4)


def test_a_repeated_op_is_timed_once(tmp_path: Path) -> None:
    assert run(jobs(2) * 3, tmp_path / "t.jsonl").visits == 8


def test_models_are_timed_whole(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json", convs(3))
    row = model_op("m", "0", tuple(convs(3)))
    report = run([Job(op=row, model=model)], tmp_path / "t.jsonl")
    assert report.table[row].latency_ms == pytest.approx(sum(map(law_ms, convs(3))) + 0.05)


def test_a_model_row_without_a_file_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="needs the model's file"):
        Job(op=model_op("m", "0", ()))


def test_every_failure_becomes_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    bad = ["softmax", "lrn", "relu", "pad", "concat"]
    kinds = [Op(kind=kind, inputs=((1, 8),), outputs=((1, 8),)) for kind in bad]
    report = run(
        [Job(op=op) for op in kinds] + jobs(3),
        tmp_path / "t.jsonl",
        Plan(visit_ms=10.0, timeout_ms=1_500.0, memory_limit_bytes=256 << 20),
        misbehave="segfault:softmax,exit:lrn,hang:relu,exhaust:pad,unsupported:concat",
    )
    rows = by_kind(report.table)
    assert {kind: rows[kind].status for kind in bad} == {
        "softmax": "crashed",
        "lrn": "crashed",
        "relu": "timeout",
        "pad": "out_of_memory",
        "concat": "rejected",
    }
    assert "SIGSEGV" in rows["softmax"].reason
    assert "exit status 70" in rows["lrn"].reason
    assert "no answer" in rows["relu"].reason
    assert "256 MiB" in rows["pad"].reason
    assert "told not to support" in rows["concat"].reason
    assert all(report.table[op].status == "ok" for op in convs(3))
    assert (report.ok, report.failed) == (3, 5)
    again = run([Job(op=op) for op in kinds] + jobs(3), tmp_path / "t.jsonl")
    assert (again.visits, again.failed) == (0, 5)


def test_an_anchor_that_kills_is_done_without(tmp_path: Path) -> None:
    report = run(jobs(3), tmp_path / "t.jsonl", misbehave=f"exit:{convs(3)[1].digest}")
    assert [report.table[op].status for op in convs(3)] == ["ok", "crashed", "ok"]
    assert report.drift.probes == 0


def test_tensors_beyond_the_memory_limit_are_not_even_tried(tmp_path: Path) -> None:
    giant = Op(kind="add", inputs=((1, 1 << 34),), outputs=((1, 1 << 34),))
    report = run([Job(op=giant), *jobs(1)], tmp_path / "t.jsonl")
    assert report.table[giant].status == "out_of_memory"
    assert "its tensors alone need 131072 MiB" in report.table[giant].reason


class Simulated(Budget):
    """A budget whose clock goes on by what each visit was asked to take, and by 1 ms beside it."""

    def __init__(self, plan: Plan) -> None:
        self.now_s = 0.0
        super().__init__(plan, clock=lambda: self.now_s)

    def note(self, visit_ms: float, wall_ms: float, timed_ms: float) -> None:
        self.now_s += (visit_ms + 1.0) / 1000.0
        super().note(visit_ms, visit_ms + 1.0, visit_ms)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costmodel.profiler.session.Budget", Simulated)


@pytest.mark.usefixtures("simulated")
def test_a_budget_shortens_visits_and_keeps_the_rounds(tmp_path: Path) -> None:
    plan = Plan(budget_ms=6_000.0, visit_ms=60.0)
    report = run(jobs(20), tmp_path / "t.jsonl", plan)
    rounds = [entry for row in report.table.rows.values() for entry in row.rounds]
    assert report.unmeasured == 0
    assert {len(row.rounds) for row in report.table.rows.values()} == {8}
    # 160 visits of 60 ms would take nearly twice the budget.
    assert median(entry.blocks for entry in rounds) * plan.block_ms < 0.75 * plan.visit_ms
    assert report.seconds <= 6.0
    assert max(row.num_runs for row in report.table.rows.values()) > 0


@pytest.mark.usefixtures("simulated")
def test_what_a_timed_network_is_made_of_stays_known(tmp_path: Path) -> None:
    ops = convs(300)
    model = write_model(tmp_path / "net.json", ops[:200])
    whole = Job(op=model_op("net", "0" * 16, tuple(ops[:200])), model=model)
    plan = Plan(budget_ms=800.0, visit_ms=60.0)
    report = run([whole, *jobs(300)], tmp_path / "t.jsonl", plan)
    left = {op for op, row in report.table.rows.items() if row.status == "unmeasured"}
    measured = {row.op for row in report.table.kernels()}
    assert left == set(ops[:200]) - measured
    assert report.unmeasured == 300 - len(measured)
    assert report.failed == 0
    resumed = run([whole, *jobs(300)], tmp_path / "t.jsonl")
    assert (resumed.ok, resumed.unmeasured) == (301, 0)
    assert all(row.has_number for row in LatencyTable.load(tmp_path / "t.jsonl").values())


@pytest.mark.usefixtures("simulated")
def test_a_budget_too_small_for_all_ends_in_time_and_says_so(tmp_path: Path) -> None:
    plan = Plan(budget_ms=800.0, visit_ms=60.0)
    report = run(jobs(300), tmp_path / "t.jsonl", plan)
    assert report.out_of_budget
    assert report.unmeasured == 300 - len(report.table) > 0
    # It measures the first rows well, and none of them badly.
    assert min(len(row.rounds) for row in report.table.rows.values()) >= 3
    assert set(report.table.rows) == {job.op for job in jobs(300)[: len(report.table)]}
    assert report.seconds <= 1.0
    resumed = run(jobs(300), tmp_path / "t.jsonl")
    assert (resumed.ok, resumed.unmeasured) == (300, 0)


def test_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="the list of jobs is empty"):
        run([], tmp_path / "t.jsonl")
    assert list(tmp_path.glob("t.jsonl*")) == []


def test_another_device_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run(jobs(1), tmp_path / "t.jsonl")
    before = (tmp_path / "t.jsonl").read_bytes()
    with pytest.raises(DeviceMismatchError, match="threads"):
        run(jobs(2), tmp_path / "t.jsonl", threads=2)
    assert (tmp_path / "t.jsonl").read_bytes() == before


def test_options_that_the_runner_does_not_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not take these options"):
        run(jobs(1), tmp_path / "t.jsonl", colour="red")


def test_a_locked_table_is_refused_at_once(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    with hold(table_lock(out), f"the table {out}"):
        with pytest.raises(LockedError, match="Another profiler holds the table"):
            run(jobs(1), out)
        with pytest.raises(LockedError, match="Another profiler holds the table"):
            run(jobs(1), out)
    assert run(jobs(1), out).ok == 1


def test_a_folder_in_place_of_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").mkdir()
    with pytest.raises(CostModelError, match=r"t\.jsonl"):
        run(jobs(1), tmp_path / "t.jsonl")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="Cannot make the folder"):
        run(jobs(1), tmp_path / "file" / "t.jsonl")


def test_no_locks_or_notes_are_left_behind_but_the_table_reads(tmp_path: Path) -> None:
    run(jobs(1), tmp_path / "t.jsonl")
    assert list(tmp_path.rglob("*.lock.json")) == []
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["format"] == 1
    assert len(lines) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"rounds": 0},
        {"min_rounds": 25},
        {"restart_every": 0},
        {"visit_ms": float("nan")},
        {"visit_ms": float("inf")},
        {"block_ms": 0.0},
        {"budget_ms": -1.0},
        {"memory_limit_bytes": 0},
    ],
)
def test_absurd_plans_are_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(fault))):
        Plan(**fault)
