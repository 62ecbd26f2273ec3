"""Networks that no choice was ever made on: an honest second opinion on figures a and b.

Exports of keras.applications with random weights, at sizes that keep the run short, and a thinned
variant of each. Nothing of them is in a table; no law, form or constant was chosen on them.
"""

from __future__ import annotations

from statistics import median

import comparisons
import exports
import ledger
import place

from costmodel.profiler import Plan
from costmodel.table import LatencyTable

PLAN = Plan(rounds=30, min_rounds=12, visit_ms=60.0, restart_every=1, budget_ms=200e3)
#: Network and image size.
NETWORKS = {
    "MobileNet": 160,
    "MobileNetV3Small": 160,
    "EfficientNetB0": 128,
    "EfficientNetV2B0": 128,
    "ResNet50V2": 128,
    "DenseNet169": 96,
    "Xception": 128,
    "NASNetMobile": 224,
}


def main() -> None:
    table = LatencyTable.load(place.table_path("models", 1))
    folder = place.folder("unseen")
    whole = [exports.application(folder / f"{n}.onnx", n, size) for n, size in NETWORKS.items()]
    networks = [path for each in whole for path in (each, exports.thinned(each, folder, 0))]
    found, _ = comparisons.timed(networks, table, PLAN)
    errors = [item.error for item in found if item.error is not None]
    repeats = [item.repeatability or 0.0 for item in found]
    inside = sum(abs(error) <= 0.15 for error in errors)
    figures = [
        ledger.figure(
            "a-unseen",
            "median error over networks that no choice was made on, none of them in the table",
            median(map(abs, errors)),
            "share",
            at_most=0.06,
            target="<= 6 % (the target without --models)",
            seed=0,
            repeatability={"median_half_spread": median(repeats)},
        ),
        ledger.figure(
            "a-unseen-15",
            f"of {len(found)} such networks within ±15 %",
            inside,
            "networks",
            at_least=12 / 13 * len(found),
            target="12 of 13",
            seed=0,
            repeatability={"worst_half_spread": max(repeats)},
        ),
    ]
    page = ledger.table(comparisons.COLUMNS, comparisons.rows(found))
    ledger.write("unseen", topic="main-job", figures=figures, notes=[page])


if __name__ == "__main__":
    main()
