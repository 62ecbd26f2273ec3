"""``costmodel compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.files import reads, writes
from costmodel.cli.fleet import FleetOption, compare_all, require_alone
from costmodel.cli.output import (
    emit,
    github_summary,
    note,
    progress,
    save_json,
    write_summary,
)
from costmodel.cli.showing import Shown
from costmodel.cli.terms import with_terms
from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from costmodel.comparison import Comparison
    from costmodel.uses.pricing import Terms


@app.command(
    "compare",
    short_help="Predict networks and time them here.",
    epilog=examples(
        "costmodel compare net.onnx --table cpu.jsonl",
        "costmodel compare *.onnx --table cpu.jsonl --max-error 0.1 --plot errors.png",
        "costmodel compare net.onnx --table laptop.jsonl --other-device",
        "costmodel compare net.onnx --table cpu.jsonl --save-baseline new.json",
        "costmodel compare net.onnx --table cpu.jsonl --baseline baseline.json --max-regression 5%",
        "costmodel compare --table cpu.jsonl --against timings.csv --json",
        "costmodel compare net.onnx --table cpu.jsonl --overlay nodes.json --trace trace.json",
        "costmodel compare net.onnx --table cpu.jsonl --ort-profile onnxruntime_profile.json",
        "costmodel compare net.onnx other.onnx --fleet fleet.toml",
    ),
)
@with_terms
def compare_models(
    context: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL...]",
            callback=reads,
            help=f"The networks: {options.FORMATS}; with --against, those of the list by default.",
        ),
    ] = None,
    table: options.TableOption = None,
    fleet: FleetOption = None,
    *,
    terms: Terms,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", min=0.0, help="Exit with 1 if an error is above, e.g. 0.1."),
    ] = None,
    rounds: options.Rounds = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of visits.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="TIMINGS.csv",
            callback=reads,
            help="Somebody's times instead of this machine's: columns model and latency_ms.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="OLD.json",
            help="Of --save-baseline or --json on this device: exit with 1 if a network has become "
            "slower, beyond the noise and apart from the machine's pace.",
        ),
    ] = None,
    save_baseline: Annotated[
        Path | None,
        typer.Option(
            "--save-baseline",
            metavar="NEW.json",
            callback=writes,
            help="Write what --baseline reads.",
        ),
    ] = None,
    max_regression: Annotated[
        str | None,
        typer.Option(
            "--max-regression", metavar="5%", help="How much slower it may become; default: 5%."
        ),
    ] = None,
    ort_profile: Annotated[
        Path | None,
        typer.Option(
            "--ort-profile",
            metavar="P.json",
            callback=reads,
            help="A profile that ONNX Runtime wrote of this network, instead of the clock: "
            "compares shares.",
        ),
    ] = None,
    other_device: Annotated[
        bool, typer.Option("--other-device", help="Compare with a table of another device.")
    ] = False,
    plot: options.Plot = None,
    parquet: options.Parquet = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary", metavar="F.md", callback=writes, help="Also write it as markdown."
        ),
    ] = None,
    to_github: Annotated[
        bool,
        typer.Option("--github-summary", help="Append that to the page of this GitHub run."),
    ] = False,
    overlay: options.Overlay = None,
    annotate: options.Annotate = None,
    trace: options.Trace = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Predict networks and time them here, by the protocol that made the table.

    With --against, predictions are held against somebody's list instead, and nothing is timed;
    with --ort-profile, against a profile of the runtime's own.
    Exit code 1 if a network could not be timed, an error is above --max-error, or a network is
    slower than in --baseline.
    """
    from costmodel.report import comparison_sheets, profile_sheets
    from costmodel.uses.comparing import compare
    from costmodel.uses.profiled import compare_profile

    if fleet is not None:
        require_alone(context, "models", "cost", "size", "shape", "rounds", "seed", "max_error")
        compare_all(
            fleet,
            models or (),
            cost=str(terms["cost"]),
            sizes=terms["sizes"] or {},
            rounds=rounds,
            seed=seed,
            max_error=max_error,
            json=json,
            markdown=markdown,
        )
        return
    if plot is not None:
        from costmodel.plots import check_picture

        check_picture(plot)
    if to_github:
        github_summary()  # before anything is timed
    if ort_profile is not None:
        timed = (against, max_error, plot, overlay, annotate, trace, baseline, save_baseline)
        if any(option is not None for option in (*timed, parquet, summary)) or to_github:
            message = (
                "--ort-profile compares shares of time: leave out --against, --max-error, --plot, "
                "--overlay, --annotate, --trace, --parquet, and what baselines and summaries need."
            )
            raise InvalidInputError(message)
        parted = compare_profile(models or (), table, ort_profile, **terms)
        emit(parted.to_json, lambda: profile_sheets(parted), as_json=json, markdown=markdown)
        return
    shown = Shown(overlay=overlay, annotate=annotate, trace=trace)
    with shown.files_of(models or (), terms) as (files, left):
        found = compare(
            files,
            table,
            rounds=rounds,
            seed=seed,
            other_device=other_device,
            against=against,
            baseline=baseline,
            max_regression=_limit(max_regression, baseline),
            progress=progress("Comparing"),
            **left,
        )
        emit(
            lambda: [item.to_json() for item in found],
            lambda: comparison_sheets(found),
            as_json=json,
            markdown=markdown,
        )
        shown.write(found, models or (), files)
    if plot is not None:
        from costmodel.plots import plot_comparison

        note(f"Drew {plot_comparison(found, plot)}.")
    if save_baseline is not None:
        save_json([item.to_json() for item in found], save_baseline)
    _write(found, parquet, summary, to_github=to_github)
    _finish(found, max_error)


def _limit(text: str | None, baseline: Path | None) -> float:
    from costmodel.baseline import MAX_REGRESSION

    if text is None:
        return MAX_REGRESSION
    if baseline is None:
        message = "--max-regression is held against a baseline. Give one: --baseline OLD.json."
        raise InvalidInputError(message)
    return options.parse_share("--max-regression", text)


def _write(
    found: Sequence[Comparison], parquet: Path | None, summary: Path | None, *, to_github: bool
) -> None:
    """Write what else was asked for."""
    if parquet is not None:
        from costmodel.report import comparison_records
        from costmodel.tidy.frame import write_records

        write_records(comparison_records(found), parquet)
        note(f"Wrote {parquet}.")
    if summary is not None or to_github:
        from costmodel.report import summary_markdown

        write_summary(summary_markdown(found), summary, to_github=to_github)


def _finish(found: Sequence[Comparison], max_error: float | None) -> None:
    untimed = [item.model for item in found if item.measured_ms is None]
    above = [
        item.model
        for item in found
        if max_error is not None and (item.error is None or abs(item.error) > max_error)
    ]
    if untimed:
        note(f"Without a measured time: {', '.join(untimed)}.")
    if above and max_error is not None:
        note(f"Error above {max_error * 100:g} %: {', '.join(above)}.")
    slower = [item.model for item in found if item.change is not None and item.change.slower]
    if slower:
        note(f"Slower than the baseline: {', '.join(slower)}.")
    if untimed or above or slower:
        raise typer.Exit(FINDING)
