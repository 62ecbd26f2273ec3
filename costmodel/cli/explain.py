"""``costmodel explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.files import writes
from costmodel.cli.output import emit, note, progress
from costmodel.cli.terms import with_terms

if TYPE_CHECKING:
    from costmodel.uses.pricing import Terms


@app.command(
    "explain",
    short_help="Say where a network's time goes, and what would bring some back.",
    epilog=examples(
        "costmodel explain net.onnx --table cpu.jsonl",
        "costmodel explain net.onnx --table cpu.jsonl --verify --fix faster.onnx",
        "costmodel explain net.onnx --table amd-epyc-family-25-model-17/onnxruntime-float32-t2 "
        "--least-gain 0.03 --json",
    ),
)
@with_terms
def explain_model(
    model: options.Model,
    table: options.TableOption = None,
    *,
    terms: Terms,
    most: Annotated[int, typer.Option("--most", min=0, help="Advices to check and list.")] = 10,
    least_gain: Annotated[
        float,
        typer.Option(
            "--least-gain",
            min=0.0,
            max=0.99,
            help="Share of the network's time that an advice must bring.",
        ),
    ] = 0.01,
    top: Annotated[
        int, typer.Option("--top", min=0, help="Kernels of each loss, and steps, to list.")
    ] = 5,
    verify: Annotated[
        bool, typer.Option("--verify", help="Time the network and every changed one.")
    ] = False,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="F.onnx",
            callback=writes,
            help="Write the network with everything that keeps its function.",
        ),
    ] = None,
    rounds: options.Rounds = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Say where a network's time goes, and which changes would bring some of it back.

    Layers just past a step of their staircase, kernels off the fast path, layers bound by memory,
    weights that no cache holds, layout changes: every advice is checked by writing the changed
    network and pricing what the runtime executes of it, and with --verify by timing both. Exit code
    1 if --fix had nothing to write.
    """
    from costmodel.report import explanation_sheets
    from costmodel.uses.explaining import explain

    found = explain(
        model,
        table,
        most=most,
        least_gain=least_gain,
        verify=verify,
        fix=fix,
        rounds=rounds,
        progress=progress("Timing"),
        **terms,
    )
    emit(found.to_json, lambda: explanation_sheets(found, top), as_json=json, markdown=markdown)
    if fix is None:
        return
    if found.fixed is None:
        note("Nothing was written: no change that keeps the function is worth it.")
        raise typer.Exit(FINDING)
    note(f"Wrote {found.fixed}.")
