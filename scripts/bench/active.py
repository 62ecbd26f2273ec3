"""Device time until networks are right: rows in the design's order against the most telling first.

    python scripts/bench/any_network.py     # first: its table and its networks are read here
    python scripts/bench/active.py

Nothing is timed: a table of ten minutes is learned from row by row, in two orders. A row stands for
its share of those minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import any_network
import development
import ledger
import place

from costmodel.calibration import fit_calibration
from costmodel.costs.regression import fit_regression
from costmodel.measurement import UNMEASURED, Measurement
from costmodel.model_rows import model_op_counts
from costmodel.network import Network
from costmodel.op import SESSION
from costmodel.prediction import price_network
from costmodel.profiler import Job
from costmodel.registry import load_runner
from costmodel.table import LatencyTable
from costmodel.uses.until import most_telling

SEED, FIRST, STAGE = 0, 100, 100
MINUTES = 10.0
#: The share of networks within 10 % that both orders must reach, and what is aimed at.
GOAL, LEAST_RATIO = 0.95, 0.6
PICTURE = "active.svg"


def main() -> None:
    ledger.parser(__doc__).parse_args()
    folder = place.folder("any-network")
    table = LatencyTable.load(folder / "any-network-t1.jsonl")
    timed = LatencyTable.load(folder / "any-network-t1-networks.jsonl")
    networks = development.networks()
    lowered = any_network.lower_all(load_runner("ort", {"threads": 1}), networks)
    measured = {
        name: (network, row.latency_ms)
        for name, network in lowered.items()
        if (row := any_network.measured_row(timed, name)) is not None
    }
    orders = {"design": in_order(table), "most telling": telling(table)}
    curves = {
        name: [(count, *accuracy(first(table, rows, count), measured)) for count in steps(table)]
        for name, rows in orders.items()
    }
    full = curves["design"][-1][1]
    goal = min(GOAL, full - 0.02)
    reached = {
        name: next(count for count, within, _ in curve if within >= goal) * MINUTES / len(rows)
        for (name, curve), rows in zip(curves.items(), orders.values(), strict=True)
    }
    draw(curves, MINUTES / len(in_order(table)))
    lines = [
        f"{name} | {count} | {count * MINUTES / len(orders[name]):.1f} | {within:.1%} | {error:.1%}"
        for name, curve in curves.items()
        for count, within, error in curve
    ]
    ledger.write(
        "active",
        topic="any-network",
        figures=[
            ledger.figure(
                "f-active",
                f"minutes until {goal:.0%} of {len(measured)} networks are within 10 %, the most "
                "telling rows first over the design's order",
                reached["most telling"] / reached["design"], "ratio", seed=SEED,
                at_most=LEAST_RATIO,
            ),
            ledger.figure(
                "f-active-minutes", "the same in minutes, most telling first",
                reached["most telling"], "min", seed=SEED,
            ),
        ],
        notes=[
            f"Of the whole table {full:.1%} are within 10 %.",
            f"![Share of networks within 10 % over minutes]({PICTURE})",
            ledger.table("order | rows | minutes | within 10 % | median error", lines),
        ],
    )  # fmt: skip


def steps(table: LatencyTable) -> list[int]:
    """Numbers of rows looked at."""
    most = len(in_order(table))
    return [*range(FIRST, most, STAGE), most]


def in_order(table: LatencyTable) -> list[Measurement]:
    """Rows as the profile came to them, which is a random order of the design."""
    return list(table.kernels())


def telling(table: LatencyTable) -> list[Measurement]:
    """Rows as ``--until`` would come to them: after a first part, the most telling first."""
    rows = in_order(table)
    for count in range(FIRST, len(rows), STAGE):
        known = first(table, rows, count)
        waiting = [Job(op=row.op) for row in rows[count:]]
        of_op = {row.op: row for row in rows}
        # Nothing of what waits is in the table, so its order is the one asked for.
        order = most_telling(waiting, known, fit_regression(known))
        rows = [*rows[:count], *(of_op[job.op] for job in order)]
    return rows


def first(table: LatencyTable, rows: Sequence[Measurement], count: int) -> LatencyTable:
    """The table with the first rows only; what its networks are made of stays known."""
    kept = list(rows[:count])
    if not any(row.op.kind == SESSION for row in kept):
        kept += [row for row in rows if row.op.kind == SESSION][:1]
    known = {row.op for row in kept}
    used = {digest for row in table.models() for digest in model_op_counts(row.op)}
    gone = [
        Measurement.from_rounds(row.op, (), status=UNMEASURED)
        for row in rows
        if row.op not in known and row.op.digest in used
    ]
    return LatencyTable(table.device, [*kept, *gone, *table.models()])


def accuracy(
    table: LatencyTable, measured: dict[str, tuple[Network, float]]
) -> tuple[float, float]:
    """Share of networks within 10 %, and their median error."""
    cost = fit_regression(table)
    calibration = fit_calibration(table, cost)
    errors = [
        abs(price_network(network, cost, calibration).total / latency_ms - 1.0)
        for network, latency_ms in measured.values()
    ]
    return sum(error <= 0.1 for error in errors) / len(errors), median(errors)


def draw(curves: dict[str, list[tuple[int, float, float]]], minutes_each: float) -> None:
    """The two curves into a picture beside the page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), style in zip(curves.items(), ("o--", "s-"), strict=True):
        axes.plot(
            [count * minutes_each for count, _, _ in curve],
            [100 * within for _, within, _ in curve],
            style, label=f"{name} first" if "telling" in name else f"{name}'s order",
        )  # fmt: skip
    axes.set_xlabel("minutes of device time")
    axes.set_ylabel("networks within 10 % (%)")
    axes.set_ylim(0, 100)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(ledger.RESULTS / PICTURE)


if __name__ == "__main__":
    main()
