"""Fresh kernels of every group, held against the table that ``any_network.py`` made.

    python scripts/bench/any_network.py       # first: the table
    python scripts/bench/fresh_kernels.py     # 8 minutes: times about 800 kernels of another seed
    python scripts/bench/fresh_kernels.py --again

Kernels are drawn by the same design with another seed, as score_fresh.py does for convolutions
alone, and those that are rows of the table already are left out; the smaller table is the first
300 rows of the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ledger
import numpy as np
import place

from costmodel.costs.regression import Regression
from costmodel.kinds import ELEMENTWISE, MATMUL_KINDS
from costmodel.measurement import Measurement, Repeatability
from costmodel.op import CONV_KINDS, Op
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.protocols import Runner
from costmodel.registry import load_runner
from costmodel.sampling.choose import split_roles
from costmodel.sampling.design import design
from costmodel.sampling.lowered import lower_probes
from costmodel.table import LatencyTable

SEED, PROBES = 20_26, 6_000
CONVS, EACH, FEWER = 500, 50, 300
PLAN = Plan(budget_ms=480e3)
#: Probes whose target is a kernel of each group, and what its kernels are called.
GROUPS: Mapping[str, frozenset[str]] = {
    "token products": frozenset({"tokens_product", "attention_product"}),
    "reductions": frozenset({"reduce", "global_average_pool", "reduce_mean"}),
    "normalisations": frozenset({"tokens_norm", "layer_norm", "instance_norm", "batch_norm"}),
    "softmax": frozenset({"softmax", "attention_softmax"}),
    "transposes": frozenset({"transpose", "tokens_transpose"}),
    "elementwise": frozenset({"add", "mul", "relu", "sigmoid", "tokens_activation", "erf", "math"}),
}


def belongs(op: Op, group: str) -> bool:
    """Whether a lowered kernel is what its group is about, not what stands around it."""
    return {
        "token products": op.kind in MATMUL_KINDS,
        "reductions": op.kind.startswith(("reduce_", "global_", "arg_")),
        "normalisations": "norm" in op.kind,
        "softmax": op.kind == "softmax",
        "transposes": op.kind == "transpose",
        "elementwise": op.kind in ELEMENTWISE,
    }[group]


def kernels(runner: Runner, known: LatencyTable) -> dict[str, list[Op]]:
    """Kernels by group that are no rows of a table."""
    probes = design(PROBES, SEED)
    convs = [probe for probe in probes if probe.kind == "conv"][: round(1.3 * CONVS)]
    found, _, _ = split_roles(lower_probes(runner, convs, {}))
    groups = {"convolutions": [op for op in found if op not in known][:CONVS]}
    for group, kinds in GROUPS.items():
        mine = [probe for probe in probes if probe.kind in kinds][: 2 * EACH]
        targets = (item.op for item in lower_probes(runner, mine, {}) if item.role == "target")
        fresh = dict.fromkeys(op for op in targets if belongs(op, group) and op not in known)
        groups[group] = list(fresh)[:EACH]
    return groups


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    path = place.folder("any-network") / "fresh.jsonl"
    runner = load_runner("ort", {"threads": 1})
    table = LatencyTable.load(place.folder("any-network") / "any-network-t1.jsonl")
    groups = kernels(runner, table)
    if not (options.again and path.exists()):
        jobs = [Job(op=op) for ops in groups.values() for op in ops]
        time_jobs(jobs, runner="ort", options={"threads": 1}, out=path, plan=PLAN)
    fresh = LatencyTable.load(path)
    rows = table.kernels()
    models = {"1000": Regression(rows), "300": Regression(spread(rows, FEWER))}
    figures: list[ledger.Figure] = []
    lines: list[str] = []
    for group, ops in groups.items():
        timed = [fresh[op] for op in ops if op in fresh and fresh[op].has_number]
        repeat = Repeatability.of(row.rounds for row in timed)
        shares = {name: within(model, timed) for name, model in models.items()}
        lines.append(
            f"{group} | {len(timed)} | {shares['1000']:.1%} | {shares['300']:.1%} | "
            f"{repeat.within_10:.1%}"
        )
        limits = {"1000": 0.93, "300": 0.85} if group == "convolutions" else {"1000": 0.85}
        figures += [
            ledger.figure(
                f"d-{group.replace(' ', '-')}-{size}",
                f"{len(timed)} fresh {group} within 10 %, from {size} rows", shares[size], "share",
                at_least=limit, seed=SEED, repeatability={"within_10": repeat.within_10},
            )
            for size, limit in limits.items()
        ]  # fmt: skip
    columns = "group | kernels | within 10 % of 1,000 rows | of 300 | repeat within 10 %"
    ledger.write(
        "fresh-kernels", topic="any-network", figures=figures,
        notes=[ledger.table(columns, lines)],
    )  # fmt: skip


def spread(rows: Sequence[Measurement], count: int) -> list[Measurement]:
    """A part of the rows with as large a share of convolutions."""
    convs = [row for row in rows if row.op.kind in CONV_KINDS]
    others = [row for row in rows if row.op.kind not in CONV_KINDS]
    most = round(count * len(convs) / len(rows))
    return convs[:most] + others[: count - most]


def within(model: Regression, rows: Sequence[Measurement]) -> float:
    """Share of rows priced within 10 %."""
    prices = model.price([row.op for row in rows]).values
    truth = np.array([row.latency_ms for row in rows])
    return float(np.mean(np.abs(prices / truth - 1.0) <= 0.1))


if __name__ == "__main__":
    main()
