"""Figure e of MorphNet: real runs on Fashion-MNIST and CIFAR-10, beside honest baselines.

For each image set and seed: the seed network; networks learned under FLOPs, size and latency and
cut to half of that cost, retrained from scratch; uniform widths at half the FLOPs and at half the
latency; and the FLOPs structure expanded to the seed's FLOPs. Every finished run is kept in a file,
so the script goes on where it was stopped. Accuracies first, then ``--measure`` times all networks
in one run, then ``--report`` writes the page.

    python scripts/bench/morphnet_training.py [--data cifar10] [--seeds 0 1 2]
    python scripts/bench/morphnet_training.py --measure --report
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import ledger
import numpy as np
import place
import recipes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import images

WORK = place.WORK / "morphnet"
TARGETS = ("flops", "params", "latency")
VARIANTS = ("seed", *TARGETS, "uniform-flops", "uniform-latency", "morph-flops")
RATE = 0.1
LEARN_EPOCHS, LEARN_RATE = 2, 0.05
EPOCHS = 3
#: Training images of each set; the same number for both.
LIMIT = 10_000
HALF = 0.5


@cache
def target(name: str) -> Any:
    """What the library takes for a target."""
    if name != "latency":
        return name
    from costmodel.costs.regression import fit_regression
    from costmodel.table import LatencyTable

    # A copy, so that prices do not change between runs when the table is measured anew.
    prices = WORK / "prices.jsonl"
    if not prices.exists():
        shutil.copy(place.table_path("models", 1), prices)
    return fit_regression(LatencyTable.load(prices))


def learn(name: str, data: images.Images, seed: int) -> tuple[Any, Any]:
    """The seed network and the structure learned for it under a target, cut to half the cost."""
    import keras
    import networks

    from morphnet_core.groups.convert import structure_of
    from morphnet_core.regularizer import CostRegularizer

    keras.utils.set_random_seed(seed)
    model = networks.small_resnet(data.size)
    regularizer = CostRegularizer(model, target(name))
    recipes.compiled(regularizer.model, LEARN_RATE).fit(
        recipes.augmented(data, seed), epochs=LEARN_EPOCHS, callbacks=[regularizer], verbose=0
    )
    print(regularizer.report(), flush=True)
    return networks.small_resnet(data.size), structure_of(
        regularizer.grouping, recipes.strongest(regularizer.pricer, regularizer.scores(), HALF)
    )


def pricer_of(model: Any, name: str) -> Any:
    """Prices of a model's groups under a target."""
    from costmodel.readers.keras import read_keras
    from morphnet_core.groups import find_groups
    from morphnet_core.pricing import Pricer

    return Pricer(find_groups(read_keras(model)), target(name))


def cost_of(model: Any, name: str) -> float:
    """Predicted cost of a model."""
    return float(pricer_of(model, name).seed)


def expanded(model: Any, name: str, goal: float, seed: int) -> Any:
    """``model`` at the largest uniform width whose cost is within ``goal``."""
    from morphnet_core.expansion import expand_to
    from morphnet_core.surgery import expand

    pricer = pricer_of(model, name)
    grouping = pricer.grouping
    found = expand_to(grouping, grouping.counts(grouping.full()), pricer.total, goal)
    return expand(model, np.asarray(found.counts), grouping=grouping, seed=seed)


def build(variant: str, data: images.Images, seed: int) -> Any:
    """The network of a variant, with fresh weights."""
    import keras
    import networks

    from morphnet_core.structure import Structure
    from morphnet_core.surgery import rebuild

    keras.utils.set_random_seed(seed)
    model = networks.small_resnet(data.size)
    if variant == "seed":
        return model
    kind, _, name = variant.rpartition("-")
    if kind == "uniform":
        return expanded(model, name, HALF * cost_of(model, name), seed)
    path = WORK / f"{data.name}-{seed}-{name}.structure.json"
    if not path.exists():
        model, structure = learn(name, data, seed)
        structure.save(path)
    small = rebuild(model, Structure.load(path), seed=seed)
    return expanded(small, name, cost_of(model, name), seed) if kind == "morph" else small


def run(
    data_name: str, seed: int, load: Callable[[str], images.Images], variants: Sequence[str]
) -> None:
    """Train every variant that has no result yet."""
    for variant in variants:
        path = WORK / f"{data_name}-{seed}-{variant}.json"
        if path.exists():
            continue
        started = time.perf_counter()
        data = load(data_name)
        model = build(variant, data, seed)
        built = time.perf_counter()
        accuracy = recipes.train(model, data, seed, epochs=EPOCHS, rate=RATE)
        model.save(path.with_suffix(".keras"))
        row = {
            "data": data_name,
            "seed": seed,
            "variant": variant,
            "accuracy": accuracy,
            "flops": cost_of(model, "flops"),
            "params": cost_of(model, "params"),
            "predicted_ms": cost_of(model, "latency"),
            "learn_seconds": round(built - started, 1),
            "train_seconds": round(time.perf_counter() - built, 1),
        }
        path.write_text(json.dumps(row, indent=1))
        print(row, flush=True)


def rows() -> list[dict[str, Any]]:
    """Results so far."""
    paths = [path for data in images.DATA_SETS for path in sorted(WORK.glob(f"{data}-?-*.json"))]
    return [json.loads(path.read_text()) for path in paths if "structure" not in path.name]


def measure() -> None:
    """Time every network in one run, so that ratios hold."""
    from costmodel.comparison import compare_files
    from costmodel.profiler import Plan
    from costmodel.readers.keras import export_onnx

    paths = []
    for row in rows():
        stem = WORK / f"{row['data']}-{row['seed']}-{row['variant']}"
        paths.append(export_onnx(stem.with_suffix(".keras"), stem.with_suffix(".onnx")))
    found = compare_files(
        paths,
        runner="ort",
        cost=target("latency"),
        options={"threads": 1},
        plan=Plan(rounds=16, min_rounds=8, visit_ms=30.0, budget_ms=300e3),
    )
    measured = {item.model: (item.measured_ms, item.repeatability) for item in found}
    (WORK / "measured.json").write_text(json.dumps(measured, indent=1))


def name_of(row: dict[str, Any]) -> str:
    """Stem of the files of one run."""
    return f"{row['data']}-{row['seed']}-{row['variant']}"


def spread_of(group: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean and standard deviation of the accuracy over seeds, percent."""
    accuracy = [100 * row["accuracy"] for row in group]
    return mean(accuracy), stdev(accuracy) if len(accuracy) > 1 else 0.0


def summary(
    group: list[dict[str, Any]], seeds: dict[int, dict[str, Any]], measured: dict[str, Any]
) -> str:
    """One line: a variant on one image set, its costs relative to the seed networks'."""
    costs = [
        f"{mean(row[key] / seeds[row['seed']][key] for row in group):.2f}"
        for key in ("flops", "params", "predicted_ms")
    ]
    pairs = [
        (measured[name_of(row)], measured[name_of(seeds[row["seed"]])])
        for row in group
        if name_of(row) in measured and name_of(seeds[row["seed"]]) in measured
    ]
    timed = f"{mean(own[0] / base[0] for own, base in pairs):.2f}" if pairs else "-"
    repeats = f"{max(own[1] or 0.0 for own, _ in pairs):.1%}" if pairs else "-"
    middle, spread = spread_of(group)
    cells = [
        group[0]["data"],
        group[0]["variant"],
        f"{middle:.2f} ± {spread:.2f} (n={len(group)})",
        *costs,
        timed,
        repeats,
    ]
    return " | ".join(cells)


def accuracy_figure(group: list[dict[str, Any]]) -> ledger.Figure:
    """The ledger's line of a variant on one image set."""
    middle, spread = spread_of(group)
    data, variant = group[0]["data"], group[0]["variant"]
    return ledger.figure(
        f"e-{data}-{variant}",
        f"test accuracy of {variant} on {data}, mean over {len(group)} seeds",
        round(middle, 2),
        "%",
        seed=0,
        repeatability={"sd_over_seeds": round(spread, 2)},
    )


def report() -> None:
    """Write the page: means and spreads over seeds, costs relative to the seed network."""
    found = rows()
    path = WORK / "measured.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    columns = (
        "images | network | accuracy % (mean ± sd over seeds) | FLOPs | weights | latency "
        "predicted | latency measured | repeats within"
    )
    figures, lines = [], []
    for data in images.DATA_SETS:
        mine = [row for row in found if row["data"] == data]
        seeds = {row["seed"]: row for row in mine if row["variant"] == "seed"}
        for variant in VARIANTS:
            group = [row for row in mine if row["variant"] == variant and row["seed"] in seeds]
            if group:
                lines.append(summary(group, seeds, measured))
                figures.append(accuracy_figure(group))
    notes = [
        "Costs are shares of the seed network's. Learned and uniform networks have half of the "
        "cost they are named after; morph-flops is the FLOPs structure expanded by one factor to "
        "the seed's FLOPs. All are trained from scratch by the same recipe.",
        ledger.table(columns, lines),
    ]
    ledger.write(
        "morphnet-training",
        figures=figures,
        detail={"runs": found, "measured_ms": measured},
        notes=notes,
        topic="morphnet",
    )


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--data", nargs="+", default=list(images.DATA_SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    load = cache(lambda name: images.load_images(name, limit=LIMIT))
    if not (options.measure or options.report):
        for seed in options.seeds:
            for data in options.data:
                run(data, seed, load, options.variants)
    if options.measure:
        measure()
    if options.report:
        report()


if __name__ == "__main__":
    main()
