"""``morphnet align``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, examples
from costmodel.cli.files import writes
from costmodel.cli.output import emit, note, progress
from costmodel.cli.terms import with_terms
from morphnet_core.cli.app import app
from morphnet_core.cli.options import frozen_sheet, widths_sheet

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from costmodel.uses.pricing import Terms
    from morphnet_core.alignment import Alignment


@app.command(
    "align",
    short_help="Pad channels to widths that run faster; the function stays the same.",
    epilog=examples(
        "morphnet align pruned.onnx --table cpu.jsonl --out fast.onnx",
        "morphnet align pruned.onnx --table amd-epyc-family-25-model-17/onnxruntime-float32-t2 "
        "--predict-only --json",
        "morphnet align net.onnx --table cpu.jsonl --size height=320 --size width=240 --out f.onnx",
    ),
)
@with_terms
def align_model(
    model: options.Model,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FAST.onnx",
            callback=writes,
            help="Where to write the faster network.",
        ),
    ] = None,
    table: options.TableOption = None,
    *,
    terms: Terms,
    predict_only: options.PredictOnly = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write the network even if timing shows no gain.")
    ] = False,
    rounds: options.Rounds = None,
    max_growth: Annotated[
        float,
        typer.Option("--max-growth", min=1.0, max=16.0, help="Widest group, times its width."),
    ] = 2.0,
    fix_weights: Annotated[
        bool, typer.Option("--fix-weights", help="Take weights off the list of inputs first.")
    ] = False,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Pad groups of channels with zeros to the widths that a table prices lowest.

    Both networks are run and compared before anything is written, and timed where the table's
    device is at hand. Exit code 1 where nothing is gained; then nothing is written.
    """
    from morphnet_core.uses.aligning import align

    found = align(
        model,
        table,
        max_growth=max_growth,
        fix_weights=fix_weights,
        predict_only=predict_only,
        rounds=rounds,
        progress=progress("Timing"),
        **terms,
    )
    emit(found.to_json, lambda: _sheets(found), as_json=json, markdown=markdown)
    _finish(found, out, force=force)


def _sheets(found: Alignment) -> tuple[Sheet, ...]:
    from costmodel.report import Sheet
    from costmodel.report.sheet import ms

    rows = [("predicted", found.predicted_before_ms, found.predicted_after_ms)]
    if found.measured_before_ms is not None and found.measured_after_ms is not None:
        rows.append(("measured", found.measured_before_ms, found.measured_after_ms))
    return (
        Sheet(
            title=f"{found.name}, in ms",
            columns=("", "before", "after", "times faster"),
            rows=tuple((what, ms(a), ms(b), f"{a / b:.3f}") for what, a, b in rows),
            align="lrrr",
            notes=_notes(found),
        ),
        widths_sheet({group.name: (group.before, group.after) for group in found.groups}),
        frozen_sheet(found.groups),
    )


def _notes(found: Alignment) -> tuple[str, ...]:
    from costmodel.report.sheet import percent

    notes = [f"{found.note}."] if found.note else []
    if found.changed:
        notes.append(
            f"Results differ by {found.difference:.1g} of the largest value, which is rounding."
        )
    if not found.telling:
        notes.append(
            "Its results hardly depend on random inputs, so that comparing them says little: are "
            "its weights those of a trained network?"
        )
    if found.after.num_extrapolated > found.before.num_extrapolated:
        notes.append(
            f"{found.after.num_extrapolated} kernels of the padded network are outside what the "
            f"table has seen ({found.before.num_extrapolated} before)."
        )
    if found.measured_on:
        spread = percent(found.repeatability)
        notes.append(f"Measured on {found.measured_on}; repeats within {spread}.")
    if found.changed and not found.worthwhile:
        notes.append("Timed, the padded network is not faster: keep the one you have.")
    return tuple(notes)


def _finish(found: Alignment, out: Path | None, *, force: bool) -> None:
    if not found.changed or (not found.worthwhile and not force):
        why = "it is not faster when timed" if found.changed else "no padding is worth it"
        note(f"Nothing was written: {why}.")
        raise typer.Exit(FINDING)
    if out is not None:
        note(f"Wrote {found.save(out)}.")
