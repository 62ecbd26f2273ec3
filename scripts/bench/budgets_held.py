"""Figure g of winning: networks cut to a share of their milliseconds, timed once more beside them.

    python scripts/bench/any_network.py      # first: the table
    python scripts/bench/budgets_held.py     # ten minutes; goes on where it was stopped

Every network is cut to three budgets as ``morphnet shrink`` does it: widths by the prices of a
table that has none of its kernels, corrected by the clock. What is left is then timed again beside
its seed, which the loop did not see. Importances are drawn, as weights are: latency depends on
neither.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ledger
import numpy as np
import place
import seeds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import networks

from costmodel.costs.regression import fit_regression
from costmodel.durable import write_lines
from costmodel.readers.keras import read_keras
from costmodel.table import LatencyTable
from morphnet_core.groups import find_groups
from morphnet_core.morphing import DeviceClock, fit_to_device
from morphnet_core.morphing.loop import build
from morphnet_core.pricing import Pricer

SHARES = 70, 50, 30
SEED = 18
#: How importances of units scatter, as the deviation of their logarithms.
SPREAD = 1.0
CLOCK = DeviceClock(runner="ort", options={"threads": 1})
SMALL = (32, 32, 3)


def _published(name: str, size: int, **settings: Any) -> Callable[[], Any]:
    """A network of ``keras.applications`` with fresh weights."""
    build_ = getattr(keras.applications, name)
    return partial(build_, weights=None, input_shape=(size, size, 3), **settings)


NETWORKS: Mapping[str, Callable[[], Any]] = {
    "resnet20": partial(networks.small_resnet, SMALL, blocks=3, stem_stride=1),
    "mobilenet-cifar": partial(
        networks.small_mobilenet, SMALL, stages=seeds.MOBILENET, expansion=4
    ),
    "vgg-cifar": partial(networks.small_vgg, SMALL),
    "MobileNet": _published("MobileNet", 128, alpha=0.5),
    "MobileNetV2": _published("MobileNetV2", 128, alpha=1.0),
    "MobileNetV3Small": _published("MobileNetV3Small", 160),
    "EfficientNetB0": _published("EfficientNetB0", 96),
    "DenseNet121": _published("DenseNet121", 64),
    "ResNet50": _published("ResNet50", 64),
    "InceptionV3": _published("InceptionV3", 96),
}  # fmt: skip


def one(name: str, pricer: Pricer, model: Any, share: int) -> dict[str, Any]:
    """Cut a network to one budget, and time what is left beside it."""
    draw = np.random.default_rng((SEED, share))
    importance = draw.lognormal(sigma=SPREAD, size=pricer.grouping.num_units)
    loop = fit_to_device(model, pricer, importance, f"{share}%", clock=CLOCK)
    small = build(model, pricer, loop.best.projection, 0)
    seed_ms, small_ms = CLOCK([model, small])
    return {
        "network": name,
        "share": share,
        "hit": loop.hit,
        "rounds": len(loop.rounds),
        "predicted_off": loop.rounds[0].predicted_ms / (share / 100 * loop.seed_ms) - 1,
        "first_off": loop.rounds[0].measured_ms / loop.target_ms - 1,  # type: ignore[operator]
        "loop_off": loop.best.measured_ms / loop.target_ms - 1,  # type: ignore[operator]
        "seed_ms": seed_ms,
        "ms": small_ms,
        "off": small_ms / (share / 100 * seed_ms) - 1,
    }


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--only", default="", help="networks whose name holds this; no ledger")
    only = parser.parse_args().only
    folder = place.folder("budgets-held")
    table = LatencyTable.load(place.folder("any-network") / "any-network-t1.jsonl")
    prices = fit_regression(table)
    rows: list[dict[str, Any]] = []
    for name, make in NETWORKS.items():
        paths = {share: folder / f"{name}-{share}.json" for share in SHARES}
        wanted = only in name
        if wanted and not all(path.exists() for path in paths.values()):
            keras.utils.set_random_seed(0)
            model = make()
            pricer = Pricer(find_groups(read_keras(model)), prices)
            for share, path in paths.items():
                if not path.exists():
                    row = one(name, pricer, model, share)
                    print(json.dumps(row), flush=True)
                    write_lines(path, [json.dumps(row).encode()])
            keras.backend.clear_session()
        rows += [json.loads(path.read_text()) for path in paths.values() if path.exists()]
    if only:
        return
    off = np.array([row["off"] for row in rows])
    lines = [
        f"{row['network']} | {row['share']} % | {row['seed_ms']:.3f} | {row['ms']:.3f} | "
        f"{100 * row['first_off']:+.1f} % | {100 * row['loop_off']:+.1f} % | "
        f"{100 * row['off']:+.1f} % | {row['rounds']} | {'yes' if row['hit'] else 'no'}"
        for row in rows
    ]
    columns = (
        "network | budget | seed, ms | cut, ms | first network of the loop off | loop's best off | "
        "timed again, off | networks timed | budget met or nothing wider fits"
    )
    count = f"{len(rows)} networks, timed again beside their seeds"
    ledger.write(
        "budgets-held", topic="win",
        figures=[
            ledger.figure("g-median", f"{count}: median distance from the budget",
                          median(abs(off)), "share", at_most=0.015, seed=SEED),
            ledger.figure("g-worst", f"{count}: greatest distance from the budget",
                          float(abs(off).max()), "share", at_most=0.03, seed=SEED),
            ledger.figure("g-over", f"{count}: furthest above the budget", float(off.max()),
                          "share", seed=SEED),
            ledger.figure("g-slower", f"{count}: slower than its seed",
                          sum(row["ms"] > row["seed_ms"] for row in rows), "networks",
                          at_most=0, seed=SEED),
            ledger.figure("g-by-prices", "first network of a loop, by prices and the seed's time: "
                          "median distance from the budget",
                          median(abs(row["first_off"]) for row in rows), "share", seed=SEED),
        ],
        detail={"networks": rows},
        notes=[ledger.table(columns, lines)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
