"""Profile a board over SSH while its link is cut and its agent killed: is every row there, once?

    python scripts/bench/remote_cut.py [--ops 500] [--rounds 6] [--cuts 5] [--kills 2] [--seed 0]

The board is this machine behind a real sshd on the loopback. The same Ops are profiled locally
before and after: how far those two agree is what the numbers of the board are held against. Every
row gets the same number of visits, so that one lost or doubled shows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ledger
import numpy as np

from costmodel.op import Op
from costmodel.profiler import Job, Plan, ProfileReport, time_jobs
from costmodel.registry import load_runner
from costmodel.sampling.select import sample_ops
from costmodel.scoring import Accuracy
from costmodel.table import LatencyTable

Options = Mapping[str, str | int | float | bool]
#: The board's numbers may be this much worse than a second local profile, in share of rows.
_SLACK = 0.03


@dataclass(slots=True)
class Trouble:
    """Cuts and kills at given visits; a ``Progress``."""

    plans: dict[int, Callable[[], object]]
    made: list[int] = field(default_factory=list)
    reconnected: int = 0

    def start(self, total: int) -> None:
        """Nothing to prepare."""

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:  # noqa: ARG002
        """Make the trouble that is due."""
        self.reconnected += "Connecting again" in note
        due = [visit for visit in self.plans if visit <= done]
        if due and self.plans[due[0]]():
            self.made.append(done)
            del self.plans[due[0]]

    def stop(self) -> None:
        """Nothing to end."""


def moments(visits: int, troubles: Sequence[Callable[[], object]], seed: int) -> Trouble:
    """Each trouble at a random moment of a stretch of its own, in random order."""
    rng = random.Random(seed)
    shuffled = rng.sample(list(troubles), len(troubles))
    width = visits / (len(shuffled) + 1)
    return Trouble(
        {int(width * (i + rng.uniform(0.5, 1.4))): item for i, item in enumerate(shuffled)}
    )


def run(
    ops: Sequence[Op], runner: str, options: Options, out: Path, plan: Plan, trouble: Trouble | None
) -> ProfileReport:
    """One profile of all Ops."""
    jobs = [Job(op=op) for op in ops]
    return time_jobs(jobs, runner=runner, options=options, out=out, plan=plan, progress=trouble)


def count_wrong(table: LatencyTable, ops: Sequence[Op], rounds: int) -> tuple[int, int]:
    """Visits that are missing, and visits too many."""
    lost = doubled = 0
    for op in ops:
        row = table.rows.get(op)
        if row is not None and not row.has_number:
            continue  # a failure that is told
        numbers = [item.number for item in row.rounds] if row else []
        lost += max(0, rounds - len(set(numbers)))
        doubled += max(0, len(numbers) - rounds)
    return lost, doubled


def visits_of_journals(folder: Path) -> int:
    """Visits that the agents wrote down on the board."""
    return sum(
        json.loads(line)["event"] == "visited"
        for path in folder.glob("journal/*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    )


def agreement(one: LatencyTable, other: LatencyTable, ops: Sequence[Op]) -> dict[str, float]:
    """How two tables' latencies of the same Ops agree."""
    pairs = np.array([[one.rows[op].latency_ms, other.rows[op].latency_ms]
                      for op in ops if op in one.rows])  # fmt: skip
    timed = pairs[~np.isnan(pairs).any(axis=1)]
    return asdict(Accuracy.of(timed[:, 1], timed[:, 0]))


def parse() -> argparse.Namespace:
    parser = ledger.parser(__doc__)
    for name, default in (("ops", 500), ("rounds", 6), ("cuts", 5), ("kills", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print, and leave the ledger alone")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))
    server_class = importlib.import_module("ssh_server").SshServer
    local: dict[str, str | int | float | bool] = {"threads": arguments.threads}
    ops = sample_ops(load_runner("ort", local), arguments.ops, arguments.seed).ops
    # A fixed number of visits to each row; a drift watch would add some.
    plan = Plan(
        rounds=arguments.rounds,
        min_rounds=arguments.rounds,
        settled=1e-12,
        anchor_every_ms=math.inf,
        seed=arguments.seed,
    )
    with tempfile.TemporaryDirectory(prefix="cut-") as name, server_class(Path(name)) as server:
        folder = Path(name)
        before = run(ops, "ort", local, folder / "before.jsonl", plan, None)
        troubles = [server.cut] * arguments.cuts + [server.kill_agent] * arguments.kills
        trouble = moments(len(ops) * arguments.rounds, troubles, arguments.seed)
        options = {**server.options, "threads": arguments.threads}
        remote = run(ops, server.address, options, folder / "board.jsonl", plan, trouble)
        visited = visits_of_journals(server.device)
        after = run(ops, "ort", local, folder / "after.jsonl", plan, None)
    lost, doubled = count_wrong(remote.table, ops, arguments.rounds)
    ceiling = agreement(before.table, after.table, ops)
    reached = [agreement(item.table, remote.table, ops) for item in (before, after)]
    report(arguments, remote, trouble, (lost, doubled, visited), ceiling, reached)
    return 0


def report(
    arguments: argparse.Namespace,
    remote: ProfileReport,
    trouble: Trouble,
    counts: tuple[int, int, int],
    ceiling: Mapping[str, float],
    reached: Sequence[Mapping[str, float]],
) -> None:
    lost, doubled, visited = counts
    best = max(item["within_10"] for item in reached)
    wanted = arguments.cuts + arguments.kills
    what = (
        f"{remote.rows} Ops over ssh, link cut {arguments.cuts}x, agent killed {arguments.kills}x"
    )
    figures = [
        ledger.figure(
            "e",
            f"{what}: visits lost or doubled",
            lost + doubled + abs(visited - remote.visits),
            "visits",
            exactly=0,
            sound=len(trouble.made) == wanted and not remote.unmeasured,
            seed=arguments.seed,
        ),
        ledger.figure(
            "e",
            f"{what}: rows within 10 % of a local profile",
            best,
            "share",
            at_least=ceiling["within_10"] - _SLACK,
            target=f">= {ceiling['within_10'] - _SLACK:.3f}, two local profiles less {_SLACK}",
            seed=arguments.seed,
            repeatability=dict(ceiling),
        ),
    ]
    detail: dict[str, Any] = {
        "visits": remote.visits,
        "visits_in_journals": visited,
        "failed": remote.failed,
        "unmeasured": remote.unmeasured,
        "troubles_at_visits": trouble.made,
        "reconnected": trouble.reconnected,
        "against_local_before_and_after": [dict(item) for item in reached],
        "local_before_against_after": dict(ceiling),
        "seconds_remote": remote.seconds,
        "device": dict(remote.table.device.state),
    }
    print(json.dumps({"figures": figures, **detail}, indent=1, default=str))
    if not arguments.dry:
        ledger.write(
            "remote-cut",
            figures=figures,
            detail=detail,
            topic="devices",
            notes=[
                "The board is this machine behind a real sshd on the loopback. A cut kills sshd's "
                "ends of every connection, a kill the agent with signal 9. The local profiles "
                "before and after say how far two profiles agree here at all."
            ],
        )


if __name__ == "__main__":
    sys.exit(main())
