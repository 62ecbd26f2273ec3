"""``costmodel predict``."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.output import emit, note
from costmodel.cli.showing import Shown
from costmodel.cli.terms import with_terms

if TYPE_CHECKING:
    from costmodel.prediction import Prediction
    from costmodel.uses.pricing import Terms


@app.command(
    "predict",
    short_help="Predict a network's latency from a table.",
    epilog=examples(
        "costmodel predict net.onnx --table cpu.jsonl",
        "costmodel predict net.keras --table amd-epyc-family-25-model-17/onnxruntime-float32-t2",
        "costmodel predict net.tflite --table amd-epyc-family-25-model-17/litert-float32",
        "costmodel predict net.onnx --cost flops",
        "costmodel predict net.onnx --table cpu.jsonl --size height=320 --size width=240 --json",
        "costmodel predict net.onnx --table cpu.jsonl --shape image:8x3x320x240",
        "costmodel predict net.onnx --table cpu.jsonl --overlay nodes.json --trace trace.json",
    ),
)
@with_terms
def predict_model(
    model: options.Model,
    table: options.TableOption = None,
    *,
    terms: Terms,
    top: Annotated[int, typer.Option("--top", min=0, help="Slowest layers to list.")] = 15,
    parquet: options.Parquet = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a layer has no price.")
    ] = False,
    overlay: options.Overlay = None,
    annotate: options.Annotate = None,
    trace: options.Trace = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Predict a network's latency: total, interval, every layer, and what has no price."""
    from costmodel.report import prediction_sheets
    from costmodel.uses.predicting import predict

    shown = Shown(overlay=overlay, annotate=annotate, trace=trace)
    with shown.files_of([model], terms) as (files, left):
        found = predict(files[0], table, **left)
        emit(found.to_json, lambda: prediction_sheets(found, top), as_json=json, markdown=markdown)
        shown.write([found], [model], files)
    if parquet is not None:
        from costmodel.report import prediction_records
        from costmodel.tidy.frame import write_records

        write_records(prediction_records(found), parquet)
        note(f"Wrote {parquet}.")
    if found.unpriced:
        note(f"Warning: {len(found.unpriced)} layers have no price{_consequence(found)}.")
        if strict or isnan(found.total):
            raise typer.Exit(FINDING)


def _consequence(found: Prediction) -> str:
    """What follows from layers without a price."""
    if found.scaled:
        return "; the total is scaled to the whole time"
    if isnan(found.total) and found.layers:
        return (
            f", {1 - found.share_with_a_price:.0%} of the time: too much for a total. Add their "
            f"kernels to the table: costmodel profile --models {found.model}.onnx --out TABLE.jsonl"
        )
    return " and are in no total"
