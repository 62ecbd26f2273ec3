"""Networks that a table never saw: a profile of some minutes, then predicted against measured.

    python scripts/bench/any_network.py                        # ONNX Runtime, one thread
    python scripts/bench/any_network.py --threads 2
    python scripts/bench/any_network.py --again                # predict anew, time nothing

The networks are those of ``development.py``, none of which is in the table. Choices were made on
half of the families; the figures are of the other half, and both are shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import development
import ledger
import place

import costmodel as cm
from costmodel.calibration import fit_calibration
from costmodel.comparison import Comparison, measure
from costmodel.costs.regression import fit_regression
from costmodel.network import Network
from costmodel.prediction import price_network
from costmodel.profiler import Plan
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

SAMPLES, BUDGET, SEED = 1000, "10m", 0
PLAN = Plan(rounds=12, min_rounds=8, visit_ms=60.0, restart_every=1, budget_ms=540e3)
COLUMNS = "network | family | chosen on | predicted ms | measured ms | error | interval | priced | repeats within"
#: Fewest networks and families behind a figure.
NETWORKS, FAMILIES = 40, 15


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", default=BUDGET)
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    name = f"any-network-t{options.threads}"
    networks = development.networks()
    table, told = profiled(name, options)
    runner = load_runner("ort", {"threads": options.threads})
    lowered = {each: runner.lower(path, {}) for each, (path, _) in networks.items()}
    measured = timed(name, networks, options)
    cost = fit_regression(table)
    calibration = fit_calibration(table, cost)
    found = {
        each: held_against(lowered[each], row, cost, calibration, measured)
        for each in networks
        if (row := measured_row(measured, each)) is not None
    }
    figures = [
        *figures_of(name, "all", found),
        *figures_of(name, "reported", {n: c for n, c in found.items() if not chosen(networks, n)}),
    ]
    rows = [row_of(networks, each, item) for each, item in found.items()]
    ledger.write(
        name,
        topic="any-network",
        figures=figures,
        detail={
            "profile": told,
            "calibration": calibration.describe() if calibration else None,
            "networks": [item.to_json() for item in found.values()],
        },
        notes=[
            f"Profile: `--samples {SAMPLES} --budget {options.budget}`, {told}.",
            f"Calibration: {calibration.describe() if calibration else 'none'}.",
            ledger.table(COLUMNS, rows),
        ],
    )


def profiled(name: str, options: argparse.Namespace) -> tuple[LatencyTable, str]:
    """The table of one profile without any network given, and how it went."""
    path = place.folder("any-network") / f"{name}.jsonl"
    told = path.with_suffix(".txt")
    if not path.exists():
        report = cm.profile(
            path, samples=SAMPLES, budget=options.budget, seed=SEED, threads=options.threads
        )
        shares = ", ".join(f"{key} {value:.0%}" for key, value in report.shares.items())
        told.write_text(
            f"{report.rows} rows, {report.ok} ok, {report.noisy} noisy, {report.failed} failed, "
            f"{report.unmeasured} unmeasured in {report.seconds:.0f} s ({shares}); repeats within "
            f"10 %: {report.repeatability.within_10:.1%}\n"
        )
    return LatencyTable.load(path), told.read_text().strip()


def timed(
    name: str, networks: Mapping[str, tuple[Path, str]], options: argparse.Namespace
) -> LatencyTable:
    """The networks' own times, kept beside the table."""
    path = place.folder("any-network") / f"{name}-networks.jsonl"
    if not (options.again and path.exists()):
        runner = load_runner("ort", {"threads": options.threads})
        rows = measure(
            [file for file, _ in networks.values()],
            runner="ort",
            options={"threads": options.threads},
            plan=PLAN,
        )
        LatencyTable(runner.device, rows).save(path)
    return LatencyTable.load(path)


def measured_row(measured: LatencyTable, name: str) -> cm.Measurement | None:
    """The row of one network; None where it could not be timed."""
    rows = (row for row in measured.models() if row.op.attribute("name", "") == name)
    row = next(rows, None)
    return row if row is not None and row.has_number else None


def held_against(
    network: Network,
    row: cm.Measurement,
    cost: cm.CostModel,
    calibration: cm.Calibration | None,
    measured: LatencyTable,
) -> Comparison:
    """One network, predicted and measured."""
    return Comparison(
        prediction=price_network(network, cost, calibration, device=measured.device),
        measurement=row,
        device=measured.device,
    )


def chosen(networks: Mapping[str, tuple[Path, str]], name: str) -> bool:
    """Whether choices were made on a network's family."""
    return networks[name][1] in development.CHOSEN


def figures_of(name: str, half: str, found: Mapping[str, Comparison]) -> list[ledger.Figure]:
    """Accuracy and coverage over some networks."""
    errors = [item.error for item in found.values() if item.error is not None]
    priced = [item.prediction.priced_share or 0.0 for item in found.values()]
    repeat = {"median_half_spread": median(item.repeatability or 0.0 for item in found.values())}
    inside = [bool(item.in_interval) for item in found.values()]
    widths = [
        (high - low) / 2 / item.prediction.total
        for item in found.values()
        if (ends := item.prediction.interval_ms) is not None
        for low, high in [ends]
    ]

    def share(limit: float) -> float:
        return sum(abs(error) <= limit for error in errors) / len(errors)

    what = f"{half} families, {len(errors)} networks"
    lines: Sequence[tuple[str, str, float, Mapping[str, float]]] = (
        ("median", "median |error|", median(map(abs, errors)), {"at_most": 0.025}),
        ("within-5", "within 5 %", share(0.05), {"at_least": 0.8}),
        ("within-10", "within 10 %", share(0.1), {"at_least": 0.97}),
        ("signed", "|signed median error|", abs(median(errors)), {"at_most": 0.01}),
        ("priced", "least priced share of the time", min(priced), {"at_least": 0.99}),
        ("covered", "in their 90 % interval", sum(inside) / len(inside), {"at_least": 0.86}),
        ("width", "median half width of the interval", median(widths), {}),
    )
    return [
        ledger.figure(
            f"{name}-{half}-{key}", f"{text}, {what}", value, "share", seed=SEED,
            repeatability=repeat, **limits,
        )  # fmt: skip
        for key, text, value, limits in lines
    ]


def row_of(networks: Mapping[str, tuple[Path, str]], name: str, item: Comparison) -> str:
    """One network as a row of the page."""
    ends = item.prediction.interval_ms
    between = f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
    return (
        f"{name} | {networks[name][1]} | {'yes' if chosen(networks, name) else ''} | "
        f"{item.predicted_ms or 0.0:.3f} | {item.measured_ms:.3f} | {item.error or 0.0:+.1%} | "
        f"{between} | {item.prediction.priced_share or 0.0:.1%} | {item.repeatability:.1%}"
    )


if __name__ == "__main__":
    main()
