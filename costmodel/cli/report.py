"""``costmodel report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.files import reads, writes
from costmodel.cli.output import emit


@app.command(
    "report",
    short_help="Write one page for a browser.",
    epilog=examples(
        "costmodel report cpu.jsonl --html table.html",
        "costmodel report net.json cpu.jsonl --html net.html",
        "costmodel report all.json --html all.html --title 'Networks on this CPU'",
    ),
)
def report(
    shown: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            callback=reads,
            help="Tables or names of shipped profiles, files that predict or compare wrote with "
            "--json, folders of morphnet train.",
        ),
    ],
    html: Annotated[
        Path,
        typer.Option(
            "--html", metavar="F.html", callback=writes, help="The page to write; one file."
        ),
    ],
    title: Annotated[str, typer.Option("--title", help="Default: what it shows.")] = "",
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Write one self-contained page that works offline, in dark and in light.

    A table: predicted against measured, its kernels, staircases, roofline and coverage. A
    prediction: what adds up to its total, its layers and their kernels. A comparison: predicted
    against measured, and what each measured time is made of. A morph: before and after.

    What predict and compare write with --json is kept by a shell's '>': costmodel predict net.onnx
    --table cpu.jsonl --json > net.json.
    """
    from costmodel.report.sheet import facts
    from costmodel.uses.reporting import write_page

    page = write_page(*shown, html=html, title=title)
    size = page.stat().st_size
    emit(
        lambda: {"html": str(page), "bytes": size, "shows": shown},
        lambda: [facts(str(page), {"size": f"{size / 1e6:.1f} MB", "shows": ", ".join(shown)})],
        as_json=json,
        markdown=markdown,
    )
