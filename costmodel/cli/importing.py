"""``costmodel import``: other people's measurements into a latency table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.files import reads, writes_or_fills
from costmodel.cli.output import emit, reading
from costmodel.errors import InvalidInputError


@app.command(
    "import",
    short_help="Read somebody else's measurements into a table.",
    epilog=examples(
        "costmodel import phone.csv --set device=Phone --set runtime=tflite-gpu --out phone.jsonl",
        "costmodel import phone.csv --map latency_us=time_us --set device=Phone --set runtime=ncnn "
        "--licence MIT --out phone.jsonl",
        "costmodel import list.csv --mapping list.toml --device 'Pixel 4' --out pixel.jsonl",
        "costmodel import list.csv --mapping list.toml --out tables/",
    ),
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", callback=reads, help="CSV, Parquet, JSON, or a known tool's report."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="T.jsonl",
            callback=writes_or_fills,
            help="Table, or a folder for all devices.",
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="Which known file it is; mostly found out."),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Which column holds it; repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="What all rows share; repeatable."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--mapping",
            metavar="M.toml",
            callback=reads,
            help="Both as a file (docs/importing.md).",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="The one to keep; a part of its name will do."
        ),
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Who measured it.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Of the numbers.")] = "",
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Read a file of measurements made by others into a table; they are never called measured.

    Columns are known by their names, their units by endings such as _us. Repeats are merged;
    rows that cannot be used or cannot be true are left out, each with its reason.
    """
    from costmodel.report import import_sheets
    from costmodel.uses.importing import import_file

    found = import_file(
        file,
        out,
        preset=preset,
        mapping=mapping,
        columns=_pairs("--map", map_),
        constants=_pairs("--set", set_),
        device=device,
        source=source,
        licence=licence,
        progress=reading(f"Reading {file.name}"),
    )
    emit(found.to_json, lambda: import_sheets(found), as_json=json, markdown=markdown)


def _pairs(option: str, items: Sequence[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dictionary."""
    found: dict[str, str] = {}
    for item in items or ():
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            message = f"{option} {item!r} is not FIELD=VALUE."
            raise InvalidInputError(message)
        if found.setdefault(name, value) != value:
            message = f"{option} {name} is given twice, as {found[name]!r} and {value!r}."
            raise InvalidInputError(message)
    return found
