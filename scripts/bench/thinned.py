"""Figure b: 30 thinned networks, none of whose kernels were in the table."""

from __future__ import annotations

from pathlib import Path

import comparisons
import exports
import ledger
import place

from costmodel.costs.regression import Regression
from costmodel.op import SESSION
from costmodel.profiler import Plan
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

PLAN = Plan(rounds=30, min_rounds=12, visit_ms=60.0, restart_every=1, budget_ms=200e3)
#: Thinned variants of each of the three networks.
VARIANTS = 10


def mobilenet(folder: Path) -> Path:
    """MobileNetV2 of keras.applications at 160 pixels."""
    return exports.application(folder / "mobilenet_v2.onnx", "MobileNetV2", 160)


def networks(folder: Path) -> list[Path]:
    """Variants of the three networks."""
    seeds = [
        place.MODELS / "resnet20_cifar10.onnx",
        place.MODELS / "light_squeezenet.onnx",
        mobilenet(folder),
    ]
    return [exports.thinned(source, folder, seed) for source in seeds for seed in range(VARIANTS)]


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--table", default="models", choices=["plain", "models"])
    options = parser.parse_args()
    models = networks(place.folder("thinned"))
    runner = load_runner("ort", {"threads": 1})
    seen = {op for path in models for op in runner.lower(path, {}).ops if op.kind != SESSION}
    table = LatencyTable.load(place.table_path(options.table, 1))
    rows = [row for op, row in table.rows.items() if op not in seen]
    cost = Regression(rows, device=table.device)
    # The networks as they were, unthinned, are among those that the sum is calibrated on.
    found, calibration = comparisons.timed(models, table, PLAN, cost=cost)
    errors = [item.error for item in found if item.error is not None]
    inside = sum(abs(error) <= 0.10 for error in errors)
    repeats = sorted(item.repeatability or 0.0 for item in found)
    figures = [
        ledger.figure(
            "b",
            f"thinned networks within ±10 % of {len(found)}, no kernel of theirs in the table",
            inside,
            "networks",
            at_least=28,
            seed=0,
            repeatability={
                "median_half_spread": repeats[len(repeats) // 2],
                "worst_half_spread": repeats[-1],
            },
        )
    ]
    removed = len(table.rows) - len(rows)
    note = (
        f"{removed} rows of the table that these networks also execute were left out of the fit. "
        f"Calibration: {calibration.describe() if calibration else 'none'}."
    )
    ledger.write(
        "thinned",
        topic="main-job",
        figures=figures,
        detail={"networks": [item.to_json() for item in found], "rows_left_out": removed},
        notes=[note, ledger.table(comparisons.COLUMNS, comparisons.rows(found))],
    )


if __name__ == "__main__":
    main()
