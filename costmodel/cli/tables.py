"""``costmodel show``, ``check`` and ``score``: what a table holds, and how far to trust it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.options import Json, Markdown, Parquet, Plot, Rounds, TableName
from costmodel.cli.output import emit, note, progress
from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from costmodel.pace import Pace
    from costmodel.protocols import CostModel
    from costmodel.report import Sheet
    from costmodel.table import LatencyTable


@app.command(
    short_help="Summarise a table.",
    epilog=examples(
        "costmodel show cpu.jsonl",
        "costmodel show cpu.jsonl --plot staircase.png",
        "costmodel show cpu.jsonl --curve",
        "costmodel show cpu.jsonl --parquet cpu.parquet",
        "costmodel show cpu.jsonl --json",
    ),
)
def show(
    table: TableName,
    plot: Plot = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also: how the error on networks falls with rows.")
    ] = False,
    parquet: Parquet = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Summarise a table: device, rows by kind and path, ranges, repeatability.

    --plot draws the staircase of latency over channels. --curve predicts each network that was
    timed whole as if neither it nor its kernels were there, from ever more rows (half a minute).
    """
    from costmodel import report  # whose parts are imported when they are needed
    from costmodel.uses.tables import learning_curve, open_table

    if plot is not None:
        from costmodel.plots import check_picture

        check_picture(plot)
    rows = open_table(table)
    if plot is not None:
        note(f"Drew {_draw(rows, plot)}.")
    if parquet is not None:
        rows.to_parquet(parquet)
        note(f"Wrote {parquet}.")
    points = learning_curve(rows) if curve else None
    emit(
        lambda: (
            report.table_summary(rows)
            | ({} if points is None else {"curve": report.learning_json(points)})
        ),
        lambda: (
            *report.table_sheets(rows),
            *_staircase(rows),
            *([] if points is None else [report.learning_sheet(points)]),
        ),
        as_json=json,
        markdown=markdown,
    )


def _staircase(table: LatencyTable) -> list[Sheet]:
    from costmodel.plots import staircase_of_table
    from costmodel.report import staircase_sheet

    found = staircase_of_table(table)
    return [] if found is None else [staircase_sheet(found.title, found.axis, found.measured)]


def _draw(table: LatencyTable, path: Path) -> Path:
    """The rows that differ in channels only, else what the regression makes of one row."""
    from costmodel.plots import plot_staircase, staircase_of_cost, staircase_of_table

    convs = [row.op for row in table.kernels() if row.op.kind == "conv"]
    if not convs:
        message = f"The table of {table.device.label} has no convolution, so no staircase to draw."
        raise InvalidInputError(message)
    cost = _cost_or_none(table)
    found = staircase_of_table(table, cost)
    if found is None and cost is not None:
        base = sorted(convs, key=lambda op: (op.macs, op.digest))[len(convs) // 2]
        device = f"{table.device.label} (predicted)"
        found = staircase_of_cost(cost, base, device)
    if found is None:
        message = "The table has too few convolutions that differ in channels only to draw one."
        raise InvalidInputError(message)
    return plot_staircase(found, path)


def _cost_or_none(table: LatencyTable) -> CostModel | None:
    from costmodel.uses.tables import fit

    try:
        return fit(table)
    except InvalidInputError as error:
        note(f"Without predictions: {error}")
        return None


@app.command(
    short_help="Find noisy or impossible rows.",
    epilog=examples("costmodel check cpu.jsonl --json", "costmodel check cpu.jsonl --pace"),
)
def check(
    table: TableName,
    pace: Annotated[
        bool,
        typer.Option("--pace", help="Also time some rows again: has the device changed its pace?"),
    ] = False,
    rounds: Rounds = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Find noisy, failed or impossible rows, and a device that has changed its pace.

    Exit code 1 if there is anything.
    """
    from costmodel.audit import audit, repeatability
    from costmodel.report import audit_sheets
    from costmodel.report.quality import finding_json
    from costmodel.report.table import repeatability_json
    from costmodel.uses.tables import open_table

    rows = open_table(table)
    now = _pace(rows, rounds) if pace else None
    findings, repeats = audit(rows), repeatability(rows)
    faults = sum(not finding.is_information for finding in findings)
    emit(
        lambda: {
            "table": str(rows.path),
            "device": rows.device.label,
            "provenance": rows.device.provenance,
            "rows": len(rows),
            "faults": faults,
            "repeatability": repeatability_json(repeats),
            "findings": [finding_json(finding) for finding in findings],
            "pace": now.to_json() if now else None,
        },
        lambda: audit_sheets(findings, repeats, len(rows)),
        as_json=json,
        markdown=markdown,
    )
    if now is not None:
        note(f"{'The same pace' if now.steady else 'Another pace'}: {now}")
    if faults or (now is not None and not now.steady):
        raise typer.Exit(FINDING)


def _pace(rows: LatencyTable, rounds: int | None) -> Pace:
    from costmodel.uses.pacing import pace_now

    return pace_now(rows, rounds=rounds, progress=progress("Timing again"))


@app.command(
    short_help="Held-out error of the regression.",
    epilog=examples("costmodel score cpu.jsonl", "costmodel score cpu.jsonl --held-out 20 --json"),
)
def score(
    table: TableName,
    held_out: Annotated[
        int | None,
        typer.Option("--held-out", min=1, help="Convolutions to hold out; default: a quarter."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of rows.")] = 0,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Error of the regression on unseen rows, beside baselines and the rows' repeatability."""
    from costmodel.report import score_sheets
    from costmodel.uses.tables import score as score_table

    found = score_table(table, held_out=held_out, seed=seed).to_json()
    emit(lambda: found, lambda: score_sheets(found), as_json=json, markdown=markdown)
