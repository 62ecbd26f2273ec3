"""Profiles over a link that breaks, with agents that are killed and kernels that crash."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ssh_server import SshServer

from costmodel.errors import LinkLostError, RemoteError
from costmodel.op import Op
from costmodel.profiler import Job, Plan, ProfileReport, time_jobs
from costmodel.remote.runner import RemoteRunner
from costmodel.remote.ssh import SshTransport
from costmodel.table import LatencyTable

SHAPE = (1, 8, 6, 6)
KINDS = ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Sqrt", "Floor")
OPS = tuple(
    Op(kind=kind.lower(), implementation=kind, inputs=(SHAPE,), outputs=(SHAPE,)) for kind in KINDS
)
# No drift watch: it would add visits when the machine is busy.
PLAN = Plan(
    rounds=3,
    min_rounds=3,
    settled=1e-9,
    visit_ms=4.0,
    block_ms=0.5,
    restart_every=100,
    anchor_every_ms=math.inf,
)


class Trouble:
    """Does something to the board at given visits; a ``Progress``."""

    def __init__(self, *plans: tuple[int, Callable[[], object]]) -> None:
        self._plans = dict(plans)
        self.notes: list[str] = []

    def start(self, total: int) -> None:
        pass

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        self.notes.append(note)
        if action := self._plans.pop(done, None):
            action()

    def stop(self) -> None:
        assert not self._plans, "the profile ended before all trouble was made"


def run(
    board: SshServer,
    out: Path,
    trouble: Trouble,
    ops: tuple[Op, ...] = OPS,
    plan: Plan = PLAN,
    **options: str | int | float | bool,
) -> ProfileReport:
    return time_jobs(
        [Job(op=op) for op in ops],
        runner=board.address,
        options={**board.options, **options},
        out=out,
        plan=plan,
        progress=trouble,
    )


def require_every_round_once(table: LatencyTable, ops: tuple[Op, ...]) -> None:
    for op in ops:
        assert [item.number for item in table[op].rounds] == [0, 1, 2], op.label


def test_no_row_is_lost_or_doubled_when_links_are_cut_and_agents_killed(
    board: SshServer, tmp_path: Path
) -> None:
    trouble = Trouble(
        (3, board.cut), (7, board.kill_agent), (11, board.cut), (12, board.cut), (18, board.cut)
    )
    report = run(board, tmp_path / "t.jsonl", trouble)
    assert report.visits == 3 * len(OPS)
    assert report.restarts == 0
    assert report.failed == report.unmeasured == 0
    require_every_round_once(LatencyTable.load(tmp_path / "t.jsonl"), OPS)
    assert sum("Connecting again" in note for note in trouble.notes) >= 4


def test_a_board_that_is_off_for_a_while_is_waited_for(board: SshServer, tmp_path: Path) -> None:
    def off() -> None:
        board.stop()
        board.kill_agent()
        shutil.rmtree(board.device)  # its files lay in memory

    def on() -> None:
        board.start()

    class Impatient(Trouble):
        def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
            super().advance(done, total, seconds_left, note)
            if sum("refused" in text for text in self.notes) == 2 and not started:
                started.append(True)
                on()

    started: list[bool] = []
    report = run(board, tmp_path / "t.jsonl", Impatient((5, off)))
    assert started
    assert report.visits == 3 * len(OPS)
    require_every_round_once(report.table, OPS)


def test_a_board_that_stays_away_ends_the_profile_and_keeps_its_rows(
    board: SshServer, tmp_path: Path
) -> None:
    out = tmp_path / "t.jsonl"

    def off() -> None:
        board.stop()
        board.kill_agent()

    message = r"Connection refused.* did not bring the link back.*run the same command"
    try:
        with pytest.raises(RemoteError, match=message):
            run(board, out, Trouble((10, off)), reconnect_s=0.5)
    finally:
        board.start()
    found = LatencyTable.load(out)
    assert sum(len(row.rounds) for row in found.rows.values()) >= 10
    report = run(board, out, Trouble())
    require_every_round_once(report.table, OPS)


def crashing(folder: Path, marker: str, action: str) -> str:
    """A Python whose runtime does ``action`` when it is given a graph with ``marker`` in it."""
    (folder / "onnxruntime.py").write_text(
        "import os, signal, sys, time\n"
        f"sys.path.remove({str(folder)!r})\n"
        "del sys.modules['onnxruntime']\n"
        "import onnxruntime\n"
        "real = onnxruntime.InferenceSession\n"
        "def made(source, *rest, **more):\n"
        f"    if isinstance(source, bytes) and {marker.encode()!r} in source:\n"
        f"        {action}\n"
        "    return real(source, *rest, **more)\n"
        "onnxruntime.InferenceSession = made\n"
    )
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_kernels_that_crash_or_are_rejected_are_rows_and_the_others_go_on(
    board: SshServer, tmp_path: Path
) -> None:
    python = crashing(tmp_path, "Tanh", "os.kill(os.getpid(), signal.SIGSEGV)")
    wrong = replace(OPS[0], implementation="NoSuchKernel")
    ops = (*OPS[:4], wrong)
    report = run(board, tmp_path / "t.jsonl", Trouble(), ops=ops, python=python)
    rows = report.table.rows
    assert rows[OPS[2]].status == "crashed"
    assert rows[OPS[2]].reason == "the runtime died on the device (SIGSEGV)"
    assert rows[wrong].status == "rejected"
    assert "NoSuchKernel" in rows[wrong].reason
    for op in (OPS[0], OPS[1], OPS[3]):
        assert len(rows[op].rounds) == 3
    assert report.restarts == 0


def test_a_row_at_which_the_agent_dies_again_and_again_has_crashed(
    board: SshServer, tmp_path: Path
) -> None:
    python = crashing(tmp_path, "Tanh", "os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)")
    report = run(board, tmp_path / "t.jsonl", Trouble(), ops=OPS[1:3], python=python)
    assert report.table[OPS[2]].status == "crashed"
    assert "died 2 times at this row" in report.table[OPS[2]].reason
    assert len(report.table[OPS[1]].rounds) == 3
    assert report.restarts == 0


def test_an_interrupted_profile_ends_soon_and_the_next_one_goes_on(
    board: SshServer, tmp_path: Path
) -> None:
    out = tmp_path / "t.jsonl"
    interrupt = Trouble((5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    plan = replace(PLAN, visit_ms=300.0)
    report = run(board, out, interrupt, plan=plan)
    assert report.interrupted
    assert 5 <= report.visits < 3 * len(OPS)
    more = run(board, out, Trouble(), plan=PLAN)
    assert more.visits == 3 * len(OPS) - report.visits
    require_every_round_once(more.table, OPS)


def test_a_kernel_that_hangs_is_given_up_on_the_board(board: SshServer, tmp_path: Path) -> None:
    python = crashing(tmp_path, "Tanh", "time.sleep(600)")
    plan = replace(PLAN, timeout_ms=1500.0)
    report = run(board, tmp_path / "t.jsonl", Trouble(), ops=OPS[1:3], plan=plan, python=python)
    assert report.table[OPS[2]].status == "timeout"
    assert report.table[OPS[2]].reason == "no answer within 1.2 s, so it was killed"
    assert len(report.table[OPS[1]].rounds) == 3


def test_a_worker_that_is_killed_here_leaves_the_board_to_the_next_one(
    board: SshServer, tmp_path: Path
) -> None:
    def kill() -> None:
        (worker,) = [
            child
            for child in psutil.Process().children(recursive=True)
            if "costmodel.profiler.worker" in child.cmdline()
        ]
        worker.terminate()  # signal 9 would be taken for the end of memory

    trouble = Trouble((9, kill))
    report = run(board, tmp_path / "t.jsonl", trouble)
    assert report.restarts == 1
    require_every_round_once(report.table, OPS)


def test_a_board_that_was_never_reached_is_not_waited_for(board: SshServer, tmp_path: Path) -> None:
    with pytest.raises(LinkLostError, match=r"ssh://127.*Connection refused"):
        time_jobs(
            [Job(op=OPS[0])],
            runner="ssh://127.0.0.1:1",
            options=board.options,
            out=tmp_path / "t.jsonl",
        )


def test_a_shell_that_greets_does_not_disturb(board: SshServer, tmp_path: Path) -> None:
    class Greeting(SshTransport):
        def arguments(self, command: Sequence[str]) -> list[str]:
            *most, words = super().arguments(command)
            return [*most, f"echo Welcome; echo {{}}; {words}"]

    runner = RemoteRunner(
        Greeting(board.address, **board.reach), python=sys.executable, folder=str(board.device)
    )
    assert runner.device.threads == 1
    runner.close()


def test_a_transport_tells_a_cut_link_from_a_command_that_ended(board: SshServer) -> None:
    transport = SshTransport(board.address, **board.reach)
    try:
        assert transport.run(["sh", "-c", "exit 7"]).status == 7
        process = transport.start(["sh", "-c", "echo here; exec sleep 60"])
        assert process.stdout
        assert process.stdout.readline() == b"here\n"
        board.cut()
        assert process.stderr
        err = process.stderr.read().decode()
        trouble = transport.explain(process.wait(), err)
        assert isinstance(trouble, LinkLostError)
        assert transport.run(["echo", "again"]).out == b"again\n"
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream
            stream.close()
    finally:
        transport.close()
