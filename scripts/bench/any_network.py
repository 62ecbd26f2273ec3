"""Networks that a table never saw: a profile of some minutes, then predicted against measured.

    python scripts/bench/any_network.py                        # ONNX Runtime, one thread
    python scripts/bench/any_network.py --threads 2
    python scripts/bench/any_network.py --runner ort --option dtype=int8
    python scripts/bench/any_network.py --given 10             # ten of them are the user's own
    python scripts/bench/any_network.py --again                # predict anew, time nothing

The networks are those of ``development.py``, none of which is in the table unless it is given.
Choices were made on half of the families; the figures are of the other half, and both are shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import comparisons
import development
import ledger
import place

import costmodel as cm
from costmodel.calibration import fit_calibration
from costmodel.clocking import witness_jobs
from costmodel.comparison import Comparison
from costmodel.costs.regression import fit_regression
from costmodel.errors import CostModelError
from costmodel.model_rows import model_op
from costmodel.network import Network, model_digest
from costmodel.pace import Pace
from costmodel.prediction import price_network
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.protocols import Runner
from costmodel.registry import Option, load_runner
from costmodel.table import LatencyTable

SAMPLES, BUDGET, SEED = 1000, "10m", 0
PLAN = Plan(visit_ms=60.0, restart_every=1, budget_ms=300e3)
#: Visits to every network, half of them before its table is made and half afterwards.
ROUNDS = 12
COLUMNS = (
    "network | family | chosen on | predicted ms | measured ms | error | at pace | interval | "
    "priced | repeats within"
)


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--runner", default="ort")
    parser.add_argument("--option", action="append", default=[], help="of the runner: NAME=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", default=BUDGET)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--given", type=int, default=0, help="networks whose kernels are measured")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="visits to every network")
    parser.add_argument("--hour", default="", help="names a run of its own, such as: busy")
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    chosen_options = dict(item.split("=", 1) for item in options.option)
    kind = [options.runner] if options.runner != "ort" else []
    parts = ["any-network", *kind, *chosen_options.values(), f"t{options.threads}", options.hour]
    name = "-".join(filter(None, parts))
    settings = {**chosen_options, "threads": options.threads}
    networks = development.networks()
    runner = load_runner(options.runner, settings)
    lowered = lower_all(runner, networks)
    networks = {each: networks[each] for each in lowered}
    given = list(networks)[:: max(1, len(networks) // options.given)] if options.given else []
    given = given[: options.given]
    path = place.folder("any-network") / f"{name}-networks.jsonl"
    jobs = [
        Job(
            op=model_op(each, model_digest(file, {}), lowered[each].ops),
            model=file.resolve(),
        )
        for each, (file, _) in networks.items()
    ]

    def time_networks(rounds: int, more: Sequence[Job] = ()) -> None:
        if not options.again:
            plan = replace(PLAN, rounds=rounds, min_rounds=rounds)
            time_jobs([*jobs, *more], runner=options.runner, options=settings, out=path, plan=plan)

    # A shared machine has good and bad minutes: the networks are timed on both sides of the table.
    name += f"-given{options.given}" if given else ""
    time_networks(options.rounds // 2)
    table, told = profiled(name, [networks[each][0] for each in given], options, settings)
    with witness_jobs(table) as witnesses:
        time_networks(options.rounds, witnesses)
    measured = LatencyTable.load(path)
    pace = Pace.of(table, {op: row for op, row in measured.rows.items() if op in table})
    cost = fit_regression(table)
    calibration = fit_calibration(table, cost)
    found = {
        each: held_against(lowered[each], row, cost, calibration, measured, pace)
        for each in networks
        if (row := measured_row(measured, each)) is not None
    }
    fresh = {each: item for each, item in found.items() if each not in given}
    figures = [
        *figures_of(name, "all", fresh, given=len(given)),
        *figures_of(
            name, "reported", {n: c for n, c in fresh.items() if not chosen(networks, n)},
            given=len(given),
        ),
    ]  # fmt: skip
    if given:
        known = {each: found[each] for each in given if each in found}
        figures += figures_of(name, "given", known, given=-1)
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
            f"Profile: `--samples {options.samples} --budget {options.budget}`, {told}.",
            f"Given: {', '.join(given) or 'none'}.",
            f"Pace: {pace or 'not known.'}",
            f"Calibration: {calibration.describe() if calibration else 'none'}.",
            ledger.table(COLUMNS, rows),
        ],
    )


def lower_all(runner: Runner, networks: Mapping[str, tuple[Path, str]]) -> dict[str, Network]:
    """What the runtime executes of each network that it takes."""
    found = {}
    for name, (path, _) in networks.items():
        try:
            found[name] = runner.lower(path, {})
        except CostModelError as error:
            print(f"Left out: {name}: {error}")
    return found


def profiled(
    name: str, given: Sequence[Path], options: argparse.Namespace, settings: Mapping[str, Option]
) -> tuple[LatencyTable, str]:
    """The table of one profile, of the given networks' kernels too, and how it went."""
    path = place.folder("any-network") / f"{name}.jsonl"
    told = path.with_suffix(".txt")
    if not path.exists():
        report = cm.profile(
            path, runner=options.runner, options=settings, models=given, thinned=0,
            samples=options.samples, budget=options.budget, seed=SEED,
        )  # fmt: skip
        shares = ", ".join(f"{key} {value:.0%}" for key, value in report.shares.items())
        told.write_text(f"{comparisons.told(report)}; {shares}\n")
    return LatencyTable.load(path), told.read_text().strip()


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
    pace: Pace | None,
) -> Comparison:
    """One network, predicted and measured."""
    return Comparison(
        prediction=price_network(network, cost, calibration, device=measured.device),
        measurement=row,
        device=measured.device,
        pace=pace,
    )


def chosen(networks: Mapping[str, tuple[Path, str]], name: str) -> bool:
    """Whether choices were made on a network's family."""
    return networks[name][1] in development.CHOSEN


def figures_of(
    name: str, half: str, found: Mapping[str, Comparison], *, given: int
) -> list[ledger.Figure]:
    """Accuracy and coverage over some networks.

    Args:
        name: of the page.
        half: which networks.
        found: the networks.
        given: how many networks of the user's were in the table; -1 for those themselves.
    """
    if not found:
        return []
    within_5, within_10 = (0.9, 1.0) if given < 0 else (0.9, 0.97) if given else (0.8, 0.97)
    if not name.startswith("any-network-t1") and not given:
        within_10 = 0.9
    errors = [item.error for item in found.values() if item.error is not None]
    paced = [item.error_at_pace for item in found.values() if item.error_at_pace is not None]
    priced = [item.prediction.priced_share or 0.0 for item in found.values()]
    repeat = {"median_half_spread": median(item.repeatability or 0.0 for item in found.values())}
    inside = [bool(item.in_interval) for item in found.values()]
    widths = [
        (high - low) / 2 / item.prediction.total
        for item in found.values()
        if (ends := item.prediction.interval_ms) is not None
        for low, high in [ends]
    ]

    def share(limit: float, of: Sequence[float] = errors) -> float:
        return sum(abs(error) <= limit for error in of) / len(of)

    what = f"{half} families, {len(errors)} networks"
    lines: tuple[tuple[str, str, float, float | None, float | None], ...] = (
        ("median", "median |error|", median(map(abs, errors)), 0.025, None),
        ("within-5", "within 5 %", share(0.05), None, within_5),
        ("within-10", "within 10 %", share(0.1), None, within_10),
        ("signed", "|signed median error|", abs(median(errors)), 0.01, None),
        ("priced", "least priced share of the time", min(priced), None, 0.99),
        ("covered", "in their 90 % interval", sum(inside) / len(inside), 0.94, 0.86),
        ("width", "median half width of the interval", median(widths), None, None),
    )
    if paced:
        lines += (
            ("paced-median", "median |error| at this pace", median(map(abs, paced)), None, None),
            ("paced-5", "within 5 % at this pace", share(0.05, paced), None, None),
            ("paced-10", "within 10 % at this pace", share(0.1, paced), None, None),
        )
    return [
        ledger.figure(
            f"{name}-{half}-{key}",
            f"{text}, {what}",
            value,
            "share",
            seed=SEED,
            repeatability=repeat,
            at_most=most,
            at_least=least,
        )
        for key, text, value, most, least in lines
    ]


def row_of(networks: Mapping[str, tuple[Path, str]], name: str, item: Comparison) -> str:
    """One network as a row of the page."""
    ends = item.prediction.interval_ms
    between = f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
    return (
        f"{name} | {networks[name][1]} | {'yes' if chosen(networks, name) else ''} | "
        f"{item.predicted_ms or 0.0:.3f} | {item.measured_ms:.3f} | {item.error or 0.0:+.1%} | "
        f"{item.error_at_pace or 0.0:+.1%} | {between} | "
        f"{item.prediction.priced_share or 0.0:.1%} | {item.repeatability:.1%}"
    )


if __name__ == "__main__":
    main()
