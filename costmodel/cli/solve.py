"""``costmodel solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.files import reads, writes
from costmodel.cli.output import emit, note
from costmodel.errors import InvalidInputError


@app.command(
    "solve",
    short_help="Make a table from networks timed whole on a device.",
    epilog=examples(
        "costmodel solve timings.csv --device 'Pixel 9, one large core' --out large.jsonl",
        "costmodel solve timings.csv --device 'Pixel 9' "
        "--donor amd-epyc-family-25-model-17/litert-float32 --out pixel.jsonl",
        "costmodel solve models.csv --suggest 3",
    ),
)
def solve_table(
    timings: Annotated[
        Path,
        typer.Argument(
            metavar="TIMINGS.csv",
            callback=reads,
            help="Columns model (a file beside it, or a network of a donor) and latency_ms, "
            "latency_us or latency_s.",
        ),
    ],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Its name.")] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="T.jsonl", callback=writes, help="Table file to make."),
    ] = None,
    donor: Annotated[
        list[str] | None,
        typer.Option(
            "--donor",
            metavar="T",
            callback=reads,
            help="Table file or shipped profile of a device that this one may be like; repeatable.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="R",
            help="That ran the networks: litert, onnxruntime ...; default: the first donor's, "
            "else litert.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="D", help="Element type; default: the first donor's."),
    ] = None,
    threads: options.Threads = None,
    suggest: Annotated[
        int | None,
        typer.Option(
            "--suggest", min=1, metavar="N", help="Only say which N networks to time next."
        ),
    ] = None,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    imports: options.Imports = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Make a table of a device from networks timed whole on it, by any benchmark.

    The device's speeds are solved, one for each kind of loop and what bounds it, from as few as
    five networks; where they do not tell, donors do. With --suggest, a list without times is
    enough.
    """
    from costmodel.report import suggestion_sheet, table_sheets, table_summary
    from costmodel.uses.solving import solve
    from costmodel.uses.solving import suggest as most_telling
    from costmodel.uses.user_code import import_first

    import_first(imports)
    sizes = options.parse_sizes(size, shape)
    if suggest is not None:
        chosen = most_telling(
            timings, suggest, donor or (), runtime=runtime, dtype=dtype, sizes=sizes
        )
        emit(
            lambda: {"suggested": list(chosen)},
            lambda: (suggestion_sheet(chosen),),
            as_json=json,
            markdown=markdown,
        )
        return
    if out is None or not device:
        message = "Give the device's name and a file for its table: --device NAME --out T.jsonl."
        raise InvalidInputError(message)
    found = solve(
        timings,
        donor or (),
        name=device,
        out=out,
        runtime=runtime,
        dtype=dtype,
        threads=threads or 1,
        sizes=sizes,
    )
    emit(
        lambda: table_summary(found),
        lambda: table_sheets(found),
        as_json=json,
        markdown=markdown,
    )
    note(f"Solved {len(found.kernels())} kernels from {len(found.models())} networks into {out}.")
