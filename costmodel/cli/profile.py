"""``costmodel profile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import FINDING, INTERRUPTED, app, examples
from costmodel.cli.files import reads, writes
from costmodel.cli.fleet import FleetOption, profile_all, require_alone
from costmodel.cli.output import emit, note, progress
from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from costmodel.profiler import ProfileReport
    from costmodel.report import Sheet


@app.command(
    "profile",
    short_help="Measure kernels into a latency table, or resume.",
    epilog=examples(
        "costmodel profile --out cpu.jsonl",
        "costmodel profile --runner ort --threads 2 --samples 1000 --budget 20m --out cpu-t2.jsonl",
        "costmodel profile --models a.onnx b.onnx --samples 0 --out ab.jsonl",
        "costmodel profile --samples 1000 --budget 20m --until 0.95 --out cpu.jsonl",
        "costmodel profile --donor cpu.jsonl --samples 50 --out board.jsonl",
        "costmodel profile --fleet fleet.toml",
    ),
)
def profile_device(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="T.jsonl", callback=writes, help="Table to write."),
    ] = None,
    fleet: FleetOption = None,
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[M...]", callback=reads, help="More of --models."),
    ] = None,
    runner: Annotated[str, typer.Option("--runner", metavar="R", help="Runner.")] = "ort",
    threads: options.Threads = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models", metavar="M", callback=reads, help="Also time these networks and their Ops."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=0, max=100_000, help="Ops to choose by design.")
    ] = 400,
    donor: options.Donors = None,
    thinned: Annotated[
        int,
        typer.Option("--thinned", min=0, max=100, help="Variants of each network, channels cut."),
    ] = 2,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="10m", help="Most time: 90s, 10m, 1h.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=2, max=1000, help="Most visits to one Op; default: 24."),
    ] = None,
    until: Annotated[
        float | None,
        typer.Option("--until", metavar="0.95", help="Stop at this share of networks within 10 %."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice and order of Ops.")] = 0,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    signature: options.Signature = "",
    runner_option: options.RunnerOptions = None,
    imports: options.Imports = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Measure kernels into a latency table. Run the same command again to resume."""
    from costmodel.uses.profiling import profile
    from costmodel.uses.user_code import import_first

    if fleet is not None:
        require_alone(context)
        profile_all(fleet, json=json, markdown=markdown)
        return
    if out is None:
        message = "Where to? Give --out T.jsonl, the table to write, or --fleet F.toml."
        raise InvalidInputError(message)
    import_first(imports)
    if more and not models:
        message = f"What is {more[0]}? Networks to measure are given by --models."
        raise InvalidInputError(message)
    report = profile(
        out,
        runner=runner,
        models=[*(models or []), *(more or [])],
        budget=budget,
        samples=samples,
        donors=donor or (),
        thinned=thinned,
        rounds=rounds,
        until=until,
        seed=seed,
        threads=threads,
        options=options.parse_runner_options(runner_option),
        sizes=options.parse_sizes(size, shape),
        signature=signature,
        progress=progress("Profiling"),
    )
    emit(lambda: _data(report, out), lambda: _sheets(report, out), as_json=json, markdown=markdown)
    _finish(report)


def _finish(report: ProfileReport) -> None:
    if report.interrupted:
        note("Interrupted. Nothing finished is lost: run the same command to resume.")
        raise typer.Exit(INTERRUPTED)
    if report.out_of_budget:
        left = ""
        if report.unmeasured:
            left = (
                f" It had no time to measure {report.unmeasured} rows well: they are left to the "
                "regression."
            )
        note(f"The budget ended first.{left} Run the same command to go on.")
    if report.ok + report.noisy == 0:
        note("No row has a number: see the reasons with 'costmodel show'.")
        raise typer.Exit(FINDING)


def _data(report: ProfileReport, out: Path) -> dict[str, object]:
    from costmodel.prediction import finite

    repeats, drift = report.repeatability, report.drift
    names = ("rows", "ok", "noisy", "failed", "unmeasured", "visits", "revisits", "blocks")
    more = ("discarded", "seconds", "restarts", "interrupted", "out_of_budget")
    return {
        "table": str(out),
        "device": report.table.device.label,
        "provenance": report.table.device.provenance,
        **{name: getattr(report, name) for name in names + more},
        "shares": {name: finite(share) for name, share in report.shares.items()},
        "repeatability": {
            "rows": repeats.rows,
            "mape": finite(repeats.mape),
            "within_5": finite(repeats.within_5),
            "within_10": finite(repeats.within_10),
        },
        "drift": {
            "probes": drift.probes,
            "slow": drift.slow,
            "best_ms": finite(drift.best_ms),
            "median_ratio": finite(drift.median_ratio),
            "worst_ratio": finite(drift.worst_ratio),
        },
    }


def _sheets(report: ProfileReport, out: Path) -> tuple[Sheet, ...]:
    from costmodel.figures import duration
    from costmodel.report.sheet import facts, percent

    repeats = report.repeatability
    counts = f"{report.ok} ok, {report.noisy} noisy, {report.failed} failed"
    shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in report.shares.items())
    pairs = {
        "device": f"{report.table.device.label} ({report.table.device.provenance})",
        "rows": f"{report.rows}: {counts}, {report.unmeasured} not measured",
        "repeatability": (
            f"mean {percent(repeats.mape)}, within 5 %: {percent(repeats.within_5, 0)}, "
            f"within 10 %: {percent(repeats.within_10, 0)} of {repeats.rows} rows"
            if repeats.rows
            else "unknown: no row was timed twice"
        ),
        "time": f"{duration(report.seconds)}: {shares}",
        "disturbed": f"{report.discarded} of {report.blocks + report.discarded} blocks discarded",
    }
    return (facts(str(out), pairs),)
