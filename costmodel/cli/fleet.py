"""``costmodel fleet``, and what ``--fleet`` of other verbs shows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, INTERRUPTED, app, examples
from costmodel.cli.output import emit, note, progress
from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.sizes import Sizes

FleetOption = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="F.toml", help="All devices of a fleet file instead of one."),
]


class Action(StrEnum):
    """What is asked about a fleet."""

    status = "status"


@app.command(
    short_help="How far the devices of a fleet are.",
    epilog=examples(
        "costmodel fleet status fleet.toml", "costmodel fleet status fleet.toml --json"
    ),
)
def fleet(
    action: Annotated[Action, typer.Argument(help="What to tell.")],
    path: Annotated[Path, typer.Argument(metavar="F.toml", help="The fleet file.")],
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Tell how far each device is, while 'profile --fleet' runs or after, and how boards agree."""
    from costmodel.report import fleet_sheets
    from costmodel.uses.fleets import fleet_status

    del action  # there is one
    found = fleet_status(path).to_json()
    emit(lambda: found, lambda: fleet_sheets(found), as_json=json, markdown=markdown)


def require_alone(context: typer.Context, *allowed: str) -> None:
    """Refuse options of one device beside ``--fleet``.

    Args:
        context: of the verb.
        *allowed: parameters that mean something with a fleet.

    Raises:
        InvalidInputError: naming the option.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        # Before Click 8.2 an argument that may be given several times counts as given with none.
        given = source is not None and source.name == "COMMANDLINE"
        given = given and context.params.get(name) not in (None, (), [])
        if given and name not in {"fleet", "json", "markdown", *allowed}:
            option = parameter.opts[0]
            message = (
                f"{option} is for one device. With --fleet, write what a device is, and what it "
                "measures, into the file (docs/fleets.md)."
            )
            raise InvalidInputError(message)


def profile_all(path: Path, *, json: bool, markdown: bool) -> None:
    """``costmodel profile --fleet``."""
    from costmodel.report import fleet_sheets
    from costmodel.uses.fleets import profile_fleet

    status = profile_fleet(path, progress=progress("Profiling"))
    found = status.to_json()
    emit(lambda: found, lambda: fleet_sheets(found), as_json=json, markdown=markdown)
    if status.interrupted:
        note("Interrupted. Nothing finished is lost: run the same command to resume.")
        raise typer.Exit(INTERRUPTED)
    if not status.is_done:
        left = [name for name, item in status.standings.items() if item.state != "done"]
        note(f"Not done: {', '.join(left)}. Run the same command to go on.")
        raise typer.Exit(FINDING)


def compare_all(
    path: Path,
    models: Sequence[Path],
    *,
    cost: str,
    sizes: Sizes,
    rounds: int | None,
    seed: int,
    max_error: float | None,
    json: bool,
    markdown: bool,
) -> None:
    """``costmodel compare --fleet``."""
    from costmodel.report import fleet_comparison_sheets
    from costmodel.uses.fleet_comparing import compare_fleet

    compared = compare_fleet(path, models, cost=cost, sizes=sizes, rounds=rounds, seed=seed)
    found: dict[str, Any] = compared.to_json()
    emit(lambda: found, lambda: fleet_comparison_sheets(found), as_json=json, markdown=markdown)
    if compared.interrupted:
        raise typer.Exit(INTERRUPTED)
    above = [
        f"{item['model']} on {name}"
        for name, items in compared.boards.items()
        for item in items
        if item["measured_ms"] is None
        or (max_error is not None and (item["error"] is None or abs(item["error"]) > max_error))
    ]
    if above:
        note(f"Without a measured time, or with an error above the limit: {', '.join(above)}.")
    if above or compared.reasons:
        raise typer.Exit(FINDING)
