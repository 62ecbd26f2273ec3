"""Figures of the Pareto benchmark, from what its steps left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median
from typing import Any

import ledger
from pareto_grid import (
    ABLATIONS,
    BETWEEN,
    BUDGETS,
    EPOCHS,
    METHODS,
    MILD,
    SEARCH_EPOCHS,
    TRIED,
    TUNED,
    WORK,
)
from pareto_results import NAMES, NETWORKS, Results, ahead, draw, table
from pareto_widths import LEAST

#: Goals of the comparison, in points of accuracy by percent of the seed network's latency.
GOALS = {75: 0.0, 50: 0.5, 30: 1.0}
CLOSE, FAR, FASTER, DEARER = 0.02, 0.05, 1.3, 1.3
#: Said of a speed that is read off the end of a curve.
AT_LEAST = " (at least: ours was not trained smaller)"


def hits(results: Results) -> list[ledger.Figure]:
    """Figure a: how near to the budget the networks are when all are timed in one run."""
    ours = {case: row for case, row in results.rows.items() if case.method == "ours"}
    if not ours:
        return []
    errors = [abs(row["share"] / (case.budget / 100) - 1) for case, row in ours.items()]
    spread = round(median(row["spread"] or 0.0 for row in ours.values()), 4)
    slower = sum(row["share"] > 1 for row in ours.values())
    looped = [
        abs(row["widths"]["measured_ms"] / row["widths"]["target_ms"] - 1) for row in ours.values()
    ]
    what = f"over {len(ours)} networks"
    more: dict[str, Any] = {"seed": 0, "repeatability": spread}
    named = f"|measured - target| / target, median {what}"
    last = f"the worst when the loop ended {what}"
    return [
        ledger.figure("a-median", named, median(errors), at_most=CLOSE, **more),
        ledger.figure("a-worst", f"the worst {what}", max(errors), at_most=FAR, **more),
        ledger.figure("a-loop", last, max(looped), **more),
        ledger.figure("a-slower", "networks slower than the seed", slower, exactly=0, **more),
    ]


def wins(results: Results) -> list[ledger.Figure]:
    """Figure b: ours against the best baseline of every cell, in points of accuracy."""
    figures = []
    cells = [("cifar10", n, b) for n in NETWORKS for b in (MILD, *BUDGETS)]
    for data, network, budget in [*cells, ("fashion_mnist", "resnet", 50)]:
        ours = results.of(data, network, budget, "ours")
        others = {m: results.of(data, network, budget, m) for m in METHODS if m != "ours"}
        known = {
            m: mean(r["accuracy"] for r in rows.values()) for m, rows in others.items() if rows
        }
        if not ours or not known:
            continue
        best = max(known, key=lambda name: known[name])
        both, gain, repeats = ahead(ours, others[best])
        goal = GOALS[budget] if data == "cifar10" else 0.0
        figures.append(
            ledger.figure(
                f"b-{data}-{network}-{budget}",
                f"points ahead of the best baseline ({NAMES[best]}), {network}, {data}, "
                f"{budget} % of the latency, mean over {len(both)} seeds",
                gain,
                "points",
                at_least=goal,
                sound=len(both) >= 3,
                **repeats,
            )
        )
    return figures + [found for n in NETWORKS for found in _faster(results, n)]


def _faster(results: Results, network: str) -> list[ledger.Figure]:
    """Speed of ours at the accuracy of the FLOPs-regularised network, along straight lines."""
    curve = [
        (mean(r["accuracy"] for r in rows.values()), mean(r["ms"] for r in rows.values()))
        for budget, method in (
            *((b, "ours") for b in sorted({MILD, *BUDGETS, *BETWEEN})),
            (100, "seed"),
        )
        if (rows := results.of("cifar10", network, budget, method))
    ]
    figures = []
    for budget in BUDGETS:
        rows = results.of("cifar10", network, budget, "flops")
        if not rows or len(curve) < 3:
            continue
        accuracy, ms = (mean(row[key] for row in rows.values()) for key in ("accuracy", "ms"))
        own, bound = _ms_at(curve, accuracy)
        figures.append(
            ledger.figure(
                f"b-faster-{network}-{budget}",
                f"times faster than the FLOPs-regularised {network} of {budget} % at its "
                f"accuracy{bound}",
                round(ms / own, 3),
                "x",
                target=f">= {FASTER}",
                passed=True if ms / own >= FASTER else None if bound == AT_LEAST else False,
                seed=0,
            )
        )
    return figures


def _ms_at(curve: Sequence[tuple[float, float]], accuracy: float) -> tuple[float, str]:
    """Milliseconds of a curve of rising accuracy at an accuracy; where it leaves it, its end."""
    if accuracy <= curve[0][0]:
        return curve[0][1], AT_LEAST
    for (low, fast), (high, slow) in pairwise(curve):
        if low <= accuracy <= high:
            return fast + (slow - fast) * (accuracy - low) / (high - low), ""
    return curve[-1][1], " (ours does not reach it)"


def worth(results: Results) -> list[ledger.Figure]:
    """Figure c: what is lost without each part."""
    cell = ("mobilenet", 50)
    return [f for method in ABLATIONS for f in _beside(results, "c", cell, method, "ours")]


def tries(results: Results) -> list[ledger.Figure]:
    """What was tried where ours did not win, against uniform width trained the same way."""
    others = {method: "uniform-tuned" if method in TUNED else "uniform" for method in TRIED}
    return [
        figure
        for method, other in others.items()
        if method != other
        for figure in _beside(results, "b-tried", ("resnet", 30), method, other)
    ]


def _beside(
    results: Results, key: str, cell: tuple[str, int], method: str, other: str
) -> list[ledger.Figure]:
    """How one method does beside another; nothing where either was not trained."""
    rows, others = (results.of("cifar10", *cell, name) for name in (method, other))
    both, gain, repeats = ahead(rows, others)
    if not both:
        return []
    network, budget = cell
    error = mean(rows[s]["share"] / (budget / 100) - 1 for s in both)
    what = (
        f"{method}: points ahead of {other}, {network} at {budget} %, {len(both)} seeds; its "
        f"latency is off the target by {error:+.1%}"
    )
    return [ledger.figure(f"{key}-{method}", what, round(gain, 2), "points", **repeats)]


def crossed() -> tuple[list[ledger.Figure], str]:
    """Figure f: structures of two devices, each timed on both."""
    figures = []
    lines = []
    for path in sorted(WORK.glob("cross-*.json")):
        record = json.loads(path.read_text())
        for row in record["cells"]:
            times = ", ".join(f"{ms:.4f}" for ms in row["ms"])
            lines.append(f"{row['made_for']} | {row['timed_on']} | {times} | {row['accuracy']:.2f}")
        accuracy = {row["made_for"]: row["accuracy"] for row in record["cells"]}
        for device, ratio in record["ratios"].items():
            other = next(name for name in accuracy if name != device)
            gain = accuracy[device] - accuracy[other]
            figures.append(
                ledger.figure(
                    f"f-{device}-{other}",
                    f"time on {device} of the structure made for it, over that of the one made for "
                    f"{other}; it is {gain:+.2f} points more accurate",
                    ratio,
                    target="< 1",
                    passed=ratio < 1,
                    seed=0,
                    repeatability=record["spread"],
                )
            )
    columns = "structure for | timed on | ms, by seed | accuracy %"
    return figures, ledger.table(columns, lines) if figures else ""


def overhead() -> list[ledger.Figure]:
    """Figure d: what one search costs."""
    path = WORK / "overhead.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return [
        ledger.figure(
            f"d-{name}",
            f"seconds of a search over those of a plain training of the same steps, {name}",
            row["ratio"],
            at_most=DEARER,
            seed=0,
            repeatability=row,
        )
        for name, row in found.items()
    ]


def report() -> None:
    """Write the page."""
    results = Results()
    cross, cross_table = crossed()
    figures = [
        *hits(results),
        *wins(results),
        *tries(results),
        *worth(results),
        *overhead(),
        *cross,
    ]
    notes = [
        "resnet: three residual blocks of 32, 64 and 128 channels on half the image; mobilenet: "
        "five inverted residuals of 24 to 96 channels, expanded threefold; vgg: a chain of six "
        "convolutions of 32 to 128 channels on half the image. All networks are "
        f"trained from scratch for {EPOCHS} epochs of 20,000 images (CIFAR-10) by one recipe, and "
        f"searched, where a method searches, for {SEARCH_EPOCHS}. Accuracy is of the last epoch on "
        "the 5,000 test images, which nothing was chosen by. Latencies are shares of the seed "
        "network's, timed in one run on ONNX Runtime, one thread; baselines have widths in "
        "multiples of 8 and are scaled until they take the wanted milliseconds. `unrounded` are "
        "the same proportions without rounding. Regularised baselines (strength 1, cut by rank) "
        f"keep at least {LEAST:.0%} of each layer, without which whole layers were gone.",
        table(results),
        draw(results),
        cross_table,
    ]
    detail = {case.key: {**row} for case, row in results.rows.items()}
    ledger.write(
        "pareto",
        figures=figures,
        detail={"cases": detail},
        notes=[note for note in notes if note],
        topic="budget",
    )
