"""``morphnet sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, INTERRUPTED, examples
from costmodel.cli.output import emit, note, progress
from morphnet_core.cli.app import app

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from morphnet_core.uses.sweeping import Searched, Swept


@app.command(
    short_help="Search for many budgets, seeds and devices.",
    epilog=examples("morphnet sweep sweep.toml", "morphnet sweep sweep.toml --json"),
)
def sweep(
    path: Annotated[Path, typer.Argument(metavar="S.toml", help="What to search for.")],
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Train networks for a grid of budgets, seeds and devices, and tell which are worth having.

    Run the same command again to go on, after any sort of end.
    """
    from morphnet_core.uses import sweeping

    found = sweeping.sweep(path, progress=progress("Searching", "searches"))
    emit(found.to_json, lambda: _sheets(found), as_json=json, markdown=markdown)
    if found.interrupted:
        note("Interrupted. Nothing finished is lost: run the same command to resume.")
        raise typer.Exit(INTERRUPTED)
    if not found.is_done:
        note("Not all searches are done: the same command tries them again.")
        raise typer.Exit(FINDING)


def _sheets(found: Swept) -> tuple[Sheet, ...]:
    from costmodel.report import Sheet

    notes = [
        f"{run.target}, {run.budget}, seed {run.seed}: {run.state}: {run.reason}"
        for run in found.runs
        if run.state != "done"
    ]
    if found.picture is not None:
        notes.append(f"Drew {found.picture}.")
    return (
        Sheet(
            title=f"{len(found.runs)} searches",
            columns=("device", "budget", "seed", "predicted", "measured ms", found.metric, "best"),
            rows=tuple(_row(run, found.metric) for run in found.runs),
            align="llrrrrl",
            notes=tuple(notes),
        ),
    )


def _row(run: Searched, metric: str) -> tuple[str, ...]:
    from costmodel.figures import METRIC_NOISE, digits, ms, quantity

    return (
        run.target,
        run.budget,
        str(run.seed),
        quantity(run.found.get("predicted"), run.unit),
        ms(run.found.get("measured_ms")),
        digits(run.value(metric), METRIC_NOISE),
        "best" if run.best else "",
    )
