"""kill -9 at random moments of a profile: what was acknowledged must be there, once, and resume.

    python scripts/bench/kill.py [--trials 20] [--seed 0] [--runner ort --model M.onnx]

Each trial profiles into a table of its own in a process that tells, over a pipe, every round that
``append_round`` has returned for. The process is killed at a random moment of its life, its table
is compared with what it had told, and a second process resumes it to the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest.mock import patch

import ledger
import psutil

from costmodel.measurement import Round
from costmodel.op import SESSION, Op, conv_op, decode_op
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

PLAN = Plan(visit_ms=20.0, anchor_every_ms=500.0)
#: Longest a complete profile of the trial may take, in seconds.
PATIENCE_S = 120.0
#: Longest wait for an orphaned worker to end, in seconds.
ORPHAN_S = 5.0

#: Digest of the Op and number of the round.
Key = tuple[str, int]


class Acknowledging(LatencyTable):
    """A table that says what it has taken, after it has."""

    def append_round(self, op: Op, item: Round) -> None:
        """Take a round, then tell of it."""
        super().append_round(op, item)
        os.write(1, json.dumps([op.digest, item.number, item.quiet_ms]).encode() + b"\n")


@dataclass(slots=True)
class Trial:
    """What one kill did."""

    moment_s: float
    killed: bool = True
    acknowledged: int = 0
    lost: int = 0
    duplicates: int = 0
    unacknowledged: int = 0
    torn: bool = False
    orphans: int = 0
    resumed: bool = False
    problems: list[str] = field(default_factory=list)


def jobs(runner: str, model: Path | None) -> list[Job]:
    """What to profile: 15 convolutions of the fake device, or the kernels of a model."""
    if model is None:
        return [
            Job(op=conv_op(in_channels=4 * n, out_channels=32, size=(28, 28), kernel=(3, 3)))
            for n in range(1, 16)
        ]
    ops = dict.fromkeys(load_runner(runner, {"threads": 1}).lower(model, {}).ops)
    return [Job(op=op) for op in ops if op.kind != SESSION]


def child(runner: str, model: Path | None, out: Path) -> int:
    """Profile, acknowledging each round on standard output."""
    options = {"realtime": True, "noise": 0.02} if runner == "fake" else {"threads": 1}
    with patch("costmodel.profiler.LatencyTable", Acknowledging):
        report = time_jobs(jobs(runner, model), runner=runner, options=options, out=out, plan=PLAN)
    return 0 if report.unmeasured == 0 and not report.interrupted else 1


def start(arguments: argparse.Namespace, out: Path) -> subprocess.Popen[str]:
    """The child, on ``out``."""
    command = [sys.executable, __file__, "--child", str(out), "--runner", arguments.runner]
    if arguments.model:
        command += ["--model", str(arguments.model)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_acknowledged(text: str) -> dict[Key, float]:
    """Rounds that a child told of; a last line cut by the kill was never told."""
    told = {}
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            digest, number, quiet_ms = json.loads(line)
            told[digest, number] = quiet_ms
    return told


def read_written(out: Path) -> tuple[Counter[Key], dict[Key, float], bool]:
    """Rounds in the file by raw line: how often each, their times, and whether the end is torn."""
    counts: Counter[Key] = Counter()
    times = {}
    lines = out.read_bytes().splitlines(keepends=True)[1:] if out.exists() else []
    torn = bool(lines) and not lines[-1].endswith(b"\n")
    for line in lines[:-1] if torn else lines:
        row = json.loads(line)
        digest = decode_op(json.dumps(row["op"])).digest
        for item in [row["round"]] if "round" in row else row.get("rounds", ()):
            counts[digest, item["number"]] += 1
            times[digest, item["number"]] = item["quiet_ms"]
    return counts, times, torn


def missing(told: dict[Key, float], written: dict[Key, float]) -> int:
    """Rounds told of that are not in the file as they were."""
    return sum(written.get(key) != quiet_ms for key, quiet_ms in told.items())


def count_orphans(workers: list[psutil.Process]) -> int:
    """Workers that still run some seconds after their parent was killed."""
    _, alive = psutil.wait_procs(workers, timeout=ORPHAN_S)
    return sum(process.status() != psutil.STATUS_ZOMBIE for process in alive)


def run_trial(arguments: argparse.Namespace, out: Path, moment_s: float) -> Trial:
    """Kill one profile after ``moment_s`` seconds, look at its table, and resume it."""
    trial = Trial(moment_s=round(moment_s, 3))
    process = start(arguments, out)
    try:
        text, _ = process.communicate(timeout=moment_s)
        trial.killed = False
        return trial
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        text, _ = process.communicate()
    trial.orphans = count_orphans(workers)
    told = read_acknowledged(text)
    counts, times, trial.torn = read_written(out)
    trial.acknowledged = len(told)
    trial.lost = missing(told, times)
    trial.unacknowledged = len(times.keys() - told.keys())
    trial.duplicates = sum(counts.values()) - len(counts)
    second = start(arguments, out)
    more, _ = second.communicate(timeout=PATIENCE_S)
    again = read_acknowledged(more)
    trial.duplicates += len(told.keys() & again.keys())
    told |= again
    counts, times, torn = read_written(out)
    trial.lost += missing(told, times)
    trial.duplicates += sum(counts.values()) - len(counts)
    table = LatencyTable.load(out)
    trial.problems += table.warnings
    trial.resumed = second.returncode == 0 and not torn and not table.warnings
    return trial


def figures(trials: list[Trial], seed: int) -> list[ledger.Figure]:
    """What the issue asks for, and that no worker outlives its parent."""
    total = len(trials)
    lost = sum(trial.lost for trial in trials)
    duplicates = sum(trial.duplicates for trial in trials)
    resumed = sum(trial.resumed for trial in trials)
    orphans = sum(trial.orphans for trial in trials)
    after = f"over {total} kills at random moments"
    return [
        ledger.figure(name, f"{what} {after}", reached, unit, exactly=target, seed=seed)
        for name, what, target, reached, unit in (
            ("f1", "finished rounds lost", 0, lost, "rounds"),
            ("f2", "duplicate rounds", 0, duplicates, "rounds"),
            ("f3", "profiles resumed to the end", total, resumed, "profiles"),
            ("f4", "worker processes left behind", 0, orphans, "processes"),
        )
    ]


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runner", default="fake")
    parser.add_argument("--model", type=Path, help="ONNX file whose kernels to profile")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.runner != "fake" and arguments.model is None:
        parser.error("--runner other than fake needs --model")
    if arguments.child is not None:
        return child(arguments.runner, arguments.model, arguments.child)
    rng = random.Random(arguments.seed)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = time.perf_counter()
        start(arguments, Path(folder) / "whole.jsonl").communicate(timeout=PATIENCE_S)
        whole_s = time.perf_counter() - whole
        attempts = 0
        while len(trials) < arguments.trials and attempts < 3 * arguments.trials:
            attempts += 1
            out = Path(folder) / f"{attempts}.jsonl"
            trial = run_trial(arguments, out, rng.uniform(0.0, whole_s))
            if trial.killed:
                trials.append(trial)
                print(f"{len(trials)}/{arguments.trials}: {trial}")
    found = figures(trials, arguments.seed)
    name = "kill" if arguments.runner == "fake" else f"kill-{arguments.runner}"
    note = (
        f"Runner {arguments.runner}, {len(jobs(arguments.runner, arguments.model))} rows; a whole "
        f"profile takes {whole_s:.1f} s, and each was killed at a moment drawn evenly from it "
        "(drawn again when the profile had ended by then). "
        f"{sum(trial.acknowledged for trial in trials)} rounds had been acknowledged in all."
    )
    detail = {"whole_s": round(whole_s, 2), "trials": [asdict(trial) for trial in trials]}
    ledger.write(name, topic="main-job", figures=found, detail=detail, notes=[note])
    return 0 if all(item["passed"] for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
