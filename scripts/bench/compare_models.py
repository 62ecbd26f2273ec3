"""Figure a: `compare` on the real networks, 1 and 2 threads, from tables with and without them.

Whole networks' times are kept in a table beside the others; `--again` predicts anew against them,
for a change that touches predictions only.
"""

from __future__ import annotations

from collections.abc import Sequence

import comparisons
import ledger
import place

from costmodel.calibration import fit_calibration
from costmodel.clocking import measure
from costmodel.comparison import Comparison
from costmodel.costs.regression import fit_regression
from costmodel.prediction import price_network
from costmodel.profiler import Plan
from costmodel.protocols import Runner
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

PLAN = Plan(rounds=12, min_rounds=8, visit_ms=60.0, restart_every=1, budget_ms=200e3)


def figures_of(name: str, threads: int, found: Sequence[Comparison]) -> list[ledger.Figure]:
    """The lines of the ledger for one table and thread count."""
    errors = sorted(abs(item.error) for item in found if item.error is not None)
    middle = errors[len(errors) // 2]
    shares = [item.prediction.priced_share or 0.0 for item in found]
    limit, allowed, target = (0.10, 0, 0.03) if name == "models" else (0.15, 1, 0.06)
    outside = sum(error > limit for error in errors)
    label = f"{threads} thread(s), table {'with' if name == 'models' else 'without'} the networks"
    repeat = [round(item.repeatability or 0.0, 4) for item in found]
    return [
        ledger.figure(
            f"a-{name}-t{threads}-priced",
            f"least priced share of time, {label}",
            min(shares),
            "share",
            at_least=0.99,
        ),
        ledger.figure(
            f"a-{name}-t{threads}-median",
            f"median |error|, {label}",
            middle,
            "share",
            at_most=target,
            seed=0,
            repeatability=repeat,
        ),
        ledger.figure(
            f"a-{name}-t{threads}-outside",
            f"networks beyond ±{limit:.0%} of {len(errors)}, {label}",
            outside,
            "networks",
            at_most=allowed,
            sound=len(errors) == len(found),
            seed=0,
            repeatability=repeat,
        ),
    ]


def timed(runner: Runner, threads: int, *, again: bool) -> LatencyTable:
    """The networks' own times: those of an earlier run where they are there and asked for."""
    path = place.table_path("networks", threads)
    if again and path.exists():
        return LatencyTable.load(path)
    rows = measure(place.real_models(), runner="ort", options={"threads": threads}, plan=PLAN)
    table = LatencyTable(runner.device, rows)
    table.save(path)
    return table


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    for threads in options.threads:
        examine(threads, again=options.again)


def examine(threads: int, *, again: bool) -> None:
    """Both tables of one thread count against one measurement of the networks."""
    figures: list[ledger.Figure] = []
    detail: dict[str, object] = {}
    lines: list[str] = []
    runner = load_runner("ort", {"threads": threads})
    # One measurement serves both tables: the clock does not depend on who predicted.
    measured = timed(runner, threads, again=again)
    networks = [
        (row, runner.lower(place.MODELS / f"{row.op.attribute('name')}.onnx", {}))
        for row in measured.values()
    ]
    for name in ("models", "plain"):
        table = LatencyTable.load(place.table_path(name, threads))
        cost = fit_regression(table)
        calibration = fit_calibration(table, cost)
        found = [
            Comparison(
                prediction=price_network(network, cost, calibration, device=measured.device),
                measurement=row,
                device=measured.device,
            )
            for row, network in networks
        ]
        figures += figures_of(name, threads, found)
        detail[f"{name}-t{threads}"] = {
            "calibration": calibration.describe() if calibration else None,
            "networks": [item.to_json() for item in found],
        }
        lines += [f"{name} | {threads} | {row}" for row in comparisons.rows(found)]
        print("\n".join(lines[-len(found) :]), flush=True)
    ledger.write(
        f"compare-t{threads}",
        topic="main-job",
        figures=figures,
        detail=detail,
        notes=[ledger.table(f"table | threads | {comparisons.COLUMNS}", lines)],
    )


if __name__ == "__main__":
    main()
