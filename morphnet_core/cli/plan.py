"""``morphnet plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costmodel.cli import options
from costmodel.cli.app import examples
from costmodel.cli.files import writes
from costmodel.cli.output import emit, note, progress
from costmodel.cli.terms import with_terms
from morphnet_core.cli import options as keras_options
from morphnet_core.cli.app import app

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from costmodel.uses.pricing import Terms
    from morphnet_core.planning import WidthPlan


@app.command(
    "plan",
    short_help="Say which channels to keep for a target; no training, for any pruner.",
    epilog=examples(
        "morphnet plan net.onnx --table cpu.jsonl --target 60% --out plan.json",
        "morphnet plan net.onnx --table amd-epyc-family-25-model-17/onnxruntime-float32-t2 "
        "--target 60% --predict-only --json",
        "morphnet plan net.onnx --cost flops --target 50% --out plan.json --onnx planned.onnx",
    ),
)
@with_terms
def plan_model(
    model: options.Model,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PLAN.json",
            callback=writes,
            help="Where to write the structure.",
        ),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx", metavar="F.onnx", callback=writes, help="Also write the network cut to it."
        ),
    ] = None,
    table: options.TableOption = None,
    *,
    terms: Terms,
    target_ms: keras_options.TargetMs = None,
    target: keras_options.Target = None,
    keep_least: Annotated[
        str,
        typer.Option("--keep-least", metavar="S", help="Share that each group keeps at least."),
    ] = "25%",
    predict_only: options.PredictOnly = False,
    rounds: options.Rounds = None,
    fix_weights: Annotated[
        bool, typer.Option("--fix-weights", help="Take weights off the list of inputs first.")
    ] = False,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Choose how many and which channels each layer keeps, so that the network is fast enough.

    Channels are rated by the norms of their weights. Where the table's device is at hand, the cut
    network is timed, and prices are corrected until it is within 2 % of the target. The structure
    names layers as a PyTorch module does, so that Torch-Pruning can apply it: docs/pytorch.md.
    """
    from morphnet_core.uses.planning import plan

    for file, suffix in ((out, ".json"), (onnx, ".onnx")):
        if file is not None:
            keras_options.check_out(file, suffix)
    wanted = keras_options.one_target(target_ms, target)
    given: dict[str, Any] = {"target": wanted} if target_ms is None else {"target_ms": wanted}
    found = plan(
        model,
        table,
        **given,
        keep_least=options.parse_share("--keep-least", keep_least),
        fix_weights=fix_weights,
        predict_only=predict_only,
        rounds=rounds,
        progress=progress("Timing"),
        tell=note,
        **terms,
    )
    emit(found.to_json, lambda: _sheets(found), as_json=json, markdown=markdown)
    if out is not None:
        note(f"Wrote {found.save(out)}.")
    if onnx is not None:
        note(f"Wrote {found.save_model(onnx)}.")


def _sheets(found: WidthPlan) -> tuple[Sheet, ...]:
    from costmodel.figures import quantity
    from costmodel.report import Sheet
    from costmodel.report.sheet import percent
    from morphnet_core.cli.options import frozen_sheet, widths_sheet

    def row(what: str, before: float, after: float) -> tuple[str, str, str, str]:
        unit = "ms" if what == "measured" else found.unit
        return what, quantity(before, unit), quantity(after, unit), percent(after / before)

    rows = [row("predicted", found.predicted_before, found.predicted_after)]
    if found.measured_before_ms is not None and found.measured_after_ms is not None:
        rows.append(row("measured", found.measured_before_ms, found.measured_after_ms))
    layers = found.structure.layers
    return (
        Sheet(
            title=f"{found.name}, to {quantity(found.target, found.unit)}",
            columns=("", "before", "after", "share"),
            rows=tuple(rows),
            align="lrrr",
            notes=_notes(found),
        ),
        widths_sheet({name: (width.of, width.count) for name, width in layers.items()}, "layers"),
        frozen_sheet(found.groups),
    )


def _notes(found: WidthPlan) -> tuple[str, ...]:
    notes = [f"{found.note}."] if found.note else []
    if found.measured_on:
        notes.append(f"Measured on {found.measured_on}.")
    if found.hit is False:
        notes.append(
            "No widths were found that take the target to within 2 %: these are the nearest."
        )
    return tuple(notes)
