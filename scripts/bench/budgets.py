"""What a short budget buys: the nine networks that come with the onnx package, at 1 to 10 minutes.

    python scripts/bench/budgets.py            # 18 minutes of profiles, then the networks
    python scripts/bench/budgets.py --again    # predict anew, time nothing

Each budget makes a table of its own with the networks' kernels and 200 others, as the demo does;
the networks are timed once, afterwards.
"""

from __future__ import annotations

from statistics import median

import comparisons
import ledger
import place

import costmodel as cm
from costmodel.clocking import measure
from costmodel.comparison import Comparison
from costmodel.profiler import Plan
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

MINUTES, GOAL_MINUTES = (1, 2, 5, 10), 2
SAMPLES, SEED = 200, 0
PLAN = Plan(rounds=12, min_rounds=8, visit_ms=60.0, restart_every=1, budget_ms=180e3)


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--minutes", type=int, nargs="+", default=MINUTES)
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    folder = place.folder("budgets")
    networks = sorted(place.MODELS.glob("light_*.onnx"))
    tables = {}
    told = {}
    for minutes in options.minutes:
        path = folder / f"{minutes}m.jsonl"
        if not path.exists():
            report = cm.profile(
                path, models=networks, samples=SAMPLES, thinned=0, budget=f"{minutes}m", seed=SEED
            )
            path.with_suffix(".txt").write_text(comparisons.told(report))
        tables[minutes] = LatencyTable.load(path)
        told[minutes] = path.with_suffix(".txt").read_text()
    kept = folder / "networks.jsonl"
    runner = load_runner("ort", {"threads": 1})
    if not (options.again and kept.exists()):
        rows = measure(networks, runner="ort", options={"threads": 1}, plan=PLAN)
        LatencyTable(runner.device, rows).save(kept)
    measured = {row.op.attribute("name", ""): row for row in LatencyTable.load(kept).models()}
    figures: list[ledger.Figure] = []
    lines: list[str] = []
    for minutes, table in tables.items():
        cost = cm.fit(table)
        found = [
            Comparison(
                prediction=cm.predict(path, table, cost=cost),
                measurement=measured[path.stem],
                device=runner.device,
            )
            for path in networks
        ]
        errors = [item.error for item in found if item.error is not None]
        repeat = {"median_half_spread": median(item.repeatability or 0.0 for item in found)}
        goal, even = (0.04, 0.02) if minutes == GOAL_MINUTES else (None, None)
        figures += [
            ledger.figure(
                f"f-{minutes}m-median", f"median |error| of {len(errors)} networks, {minutes} min",
                median(map(abs, errors)), "share", seed=SEED, repeatability=repeat, at_most=goal,
            ),
            ledger.figure(
                f"f-{minutes}m-bias", f"|median signed error|, {minutes} min",
                abs(median(errors)), "share", seed=SEED, at_most=even,
            ),
        ]  # fmt: skip
        lines += [f"{minutes} | {row}" for row in comparisons.rows(found)]
    notes = [f"{minutes} min: {text}." for minutes, text in told.items()]
    page = ledger.table(f"minutes | {comparisons.COLUMNS}", lines)
    ledger.write("budgets", topic="any-network", figures=figures, notes=[*notes, page])


if __name__ == "__main__":
    main()
