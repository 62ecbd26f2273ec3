"""Ends of a whole profiling process: signals, kill -9, a full disk, a second process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from costmodel.op import Op, conv_op
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.profiler.lock import device_lock, table_lock
from costmodel.runners.fake import FakeRunner
from costmodel.table import LatencyTable

if sys.platform == "win32":
    pytest.skip("needs POSIX signals", allow_module_level=True)

SCRIPT = """
import resource
import sys
from pathlib import Path
from costmodel.errors import CostModelError
from costmodel.op import conv_op
from costmodel.profiler import Job, Plan, time_jobs

class Acks:
    def start(self, total):
        pass
    def advance(self, done, total, seconds_left, note):
        print(done, flush=True)
    def stop(self):
        pass

if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
ops = [conv_op(in_channels=4 * n + 4, out_channels=16, size=(14, 14), kernel=(3, 3))
       for n in range(12)]
try:
    report = time_jobs([Job(op=op) for op in ops], runner="fake", options={"realtime": True},
                     out=Path(sys.argv[1]), plan=Plan(visit_ms=30.0), progress=Acks())
except CostModelError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print("interrupted" if report.interrupted else "complete", flush=True)
"""


def jobs() -> list[Job]:
    return [Job(op=op) for op in ops()]


def ops() -> list[Op]:
    return [
        conv_op(in_channels=4 * n + 4, out_channels=16, size=(14, 14), kernel=(3, 3))
        for n in range(12)
    ]


@contextlib.contextmanager
def profiling(out: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(out), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_acks(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline().strip().isdigit()


def resume(out: Path) -> LatencyTable:
    report = time_jobs(
        jobs(), runner="fake", options={}, out=out, plan=Plan(rounds=6, min_rounds=4, visit_ms=5.0)
    )
    assert (report.ok, report.unmeasured) == (12, 0)
    return report.table


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_kill_loses_no_finished_visit_and_leaves_no_worker(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    with profiling(out) as process:
        wait_for_acks(process, 17)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert process.stdout is not None
        acknowledged = 17 + len(process.stdout.read().split())
    deadline = time.perf_counter() + 10.0
    while not all(map(has_ended, workers)) and time.perf_counter() < deadline:
        time.sleep(0.02)
    assert workers
    assert all(map(has_ended, workers))
    before = LatencyTable.load(out)
    written = sum(len(row.rounds) for row in before.rows.values())
    assert acknowledged <= written <= acknowledged + 1
    assert before.warnings == ()
    after = resume(out)
    for op, row in before.rows.items():
        assert after[op].rounds[: len(row.rounds)] == row.rounds
    assert {len(row.rounds) for row in after.rows.values()} == {4}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "t.jsonl"
    with profiling(out) as process:
        wait_for_acks(process, 5)
        process.send_signal(number)
        output, errors = process.communicate(timeout=20.0)
    assert (process.returncode, errors) == (0, "")
    assert output.split()[-1] == "interrupted"
    table = LatencyTable.load(out)
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1 + len(table)  # compacted
    acknowledged = 5 + len(output.split()) - 1
    assert sum(len(row.rounds) for row in table.rows.values()) == acknowledged < 48
    resume(out)


def test_a_second_signal_ends_at_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    with profiling(out) as process:
        wait_for_acks(process, 5)
        (worker,) = psutil.Process(process.pid).children()
        worker.suspend()  # a visit that would not end
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20.0)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert has_ended(worker)
    assert sum(len(row.rounds) for row in LatencyTable.load(out).rows.values()) >= 5
    resume(out)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    with profiling(out, "6000") as process:
        _, errors = process.communicate(timeout=20.0)
    assert process.returncode == 1
    assert errors.startswith("InvalidInputError")
    assert "t.jsonl" in errors
    before = LatencyTable.load(out)
    assert 5 < sum(len(row.rounds) for row in before.rows.values()) < 48
    resume(out)


def test_a_second_profiler_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with profiling(tmp_path / "a.jsonl") as first:
        wait_for_acks(first, 1)
        with profiling(tmp_path / "a.jsonl") as second:
            _, same_table = second.communicate(timeout=20.0)
        with profiling(tmp_path / "b.jsonl") as third:
            _, same_device = third.communicate(timeout=20.0)
        output, _ = first.communicate(timeout=20.0)
    for errors, what in ((same_table, "the table"), (same_device, "the device fake")):
        assert errors.startswith(f"LockedError: Another profiler holds {what}")
        assert f"process {first.pid} (" in errors
    assert output.split()[-1] == "complete"
    assert not (tmp_path / "b.jsonl").exists()
    assert not table_lock(tmp_path / "a.jsonl").with_suffix(".lock.json").exists()
    note = device_lock(FakeRunner().device)
    assert not note.with_name(note.name + ".json").exists()
    assert os.path.lexists(tmp_path / "a.jsonl")
