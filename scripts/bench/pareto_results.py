"""What the steps of the Pareto benchmark left: its rows, its table and its pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

import ledger
from pareto_grid import BETWEEN, BUDGETS, METHODS, MILD, WORK, Case, every_case

NETWORKS = "resnet", "mobilenet", "vgg"
NAMES = {
    "uniform": "uniform width",
    "random": "random widths",
    "flops": "FLOPs-regularised",
    "latency": "latency, fixed strength",
    "ours": "budget",
}


class Results:
    """What is known of every case.

    Attributes:
        rows: by case: ``accuracy`` (share), ``ms`` and ``share`` (of the seed network timed in the
            same run), ``spread``, ``unrounded`` (share), ``widths`` (the record).
    """

    def __init__(self) -> None:
        times: dict[str, list[float]] = {}
        for path in sorted(WORK.glob("*.measured.json")):
            times |= json.loads(path.read_text())
        self.rows: dict[Case, dict[str, Any]] = {}
        for case in every_case():
            trained, timed = case.read("trained"), times.get(f"{case.key}/counts")
            if timed is None:
                continue
            base = self._seed_ms(case, times)
            raw = times.get(f"{case.key}/unrounded")
            self.rows[case] = {
                "accuracy": trained["accuracy"] if trained else None,
                "ms": timed[0],
                "share": timed[0] / base,
                "spread": timed[1],
                "unrounded": raw[0] / base if raw else None,
                "widths": case.read("widths"),
            }

    @staticmethod
    def _seed_ms(case: Case, times: Mapping[str, Sequence[float]]) -> float:
        """The seed network's time: of all seeds, whose weights do not matter for it."""
        stem = f"{case.device}-{case.data}-{case.network}-100-seed-"
        return median(ms for name, (ms, _) in times.items() if name.startswith(stem))

    def of(self, data: str, network: str, budget: int, method: str) -> dict[int, dict[str, Any]]:
        """Rows of one cell of the grid, by seed."""
        return {
            case.seed: row
            for case, row in self.rows.items()
            if (case.data, case.network, case.budget, case.method)
            == (data, network, budget, method)
            and case.device == "ort"
            and row["accuracy"] is not None
        }


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Mean and half of its 95 % confidence interval (Student's t)."""
    from scipy.stats import t

    found = list(values)
    if len(found) < 2:
        return mean(found), math.nan
    half = float(t.ppf(0.975, len(found) - 1)) * stdev(found) / math.sqrt(len(found))
    return mean(found), half


def ahead(
    rows: Mapping[int, dict[str, Any]], others: Mapping[int, dict[str, Any]]
) -> tuple[list[int], float, dict[str, Any]]:
    """How many points of accuracy some rows are ahead of others.

    Returns:
        The seeds of both, the mean of the points over them, and how well a figure of it repeats.
    """
    both = sorted(set(rows) & set(others))
    if not both:
        return [], math.nan, {}
    points, half = interval(100 * (rows[s]["accuracy"] - others[s]["accuracy"]) for s in both)
    repeats = {"half of the 95 % interval": round(half, 2)}
    return both, points, {"seed": 0, "repeatability": repeats}


def table(results: Results) -> str:
    """Every cell: accuracy, milliseconds, and what widths off the multiples of 8 would cost."""
    columns = (
        "images | network | budget | method | accuracy %, mean ± half of the 95 % interval | "
        "latency of the seed's | unrounded | repeats within"
    )
    lines = []
    cells = dict.fromkeys(
        (c.data, c.network, c.budget, c.method) for c in results.rows if c.device == "ort"
    )
    for cell in cells:
        rows = list(results.of(*cell).values())
        if not rows:
            continue
        middle, half = interval(100 * row["accuracy"] for row in rows)
        raw = [row["unrounded"] for row in rows if row["unrounded"] is not None]
        shares = ", ".join(f"{row['share']:.3f}" for row in rows)
        budget = "" if cell[2] == 100 else f"{cell[2]} %"
        unrounded = f"{mean(raw):.3f}" if raw else ""
        spread = max(row["spread"] or 0.0 for row in rows)
        lines.append(
            f"{cell[0]} | {cell[1]} | {budget} | {cell[3]} | {middle:.2f} ± {half:.2f} "
            f"(n={len(rows)}) | {shares} | {unrounded} | {spread:.1%}"
        )
    return ledger.table(columns, lines)


def draw(results: Results) -> str:
    """Accuracy against milliseconds, a picture per network; markdown that shows them."""
    from morphnet_core.plots.tradeoff import Trained, plot_tradeoff

    shown = []
    for network in NETWORKS:
        means = []
        for method in (*METHODS, "seed"):
            for budget in (100,) if method == "seed" else (MILD, *BUDGETS, *BETWEEN):
                rows = list(results.of("cifar10", network, budget, method).values())
                if rows:
                    middle, half = interval(100 * row["accuracy"] for row in rows)
                    means.append(
                        Trained(
                            method=NAMES.get(method, method),
                            ms=mean(row["ms"] for row in rows),
                            accuracy=middle,
                            error=0.0 if math.isnan(half) else half,
                        )
                    )
        if means:
            title = f"CIFAR-10, {network}, ONNX Runtime CPU, 1 thread"
            picture = plot_tradeoff(means, ledger.RESULTS / f"pareto-{network}.svg", title=title)
            shown.append(f"![{title}]({picture.name})")
    return "\n\n".join(shown)
