"""``costmodel profile``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli.app import FINDING, INTERRUPTED, app, examples
from costmodel.cli.inputs import as_onnx
from costmodel.cli.options import (
    Json,
    Markdown,
    RunnerOptions,
    Sizes,
    Threads,
    parse_budget,
    parse_runner_options,
    parse_sizes,
)
from costmodel.cli.output import emit, note, progress
from costmodel.errors import InvalidInputError
from costmodel.protocols import Estimator
from costmodel.registry import load_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.op import Op
    from costmodel.profiler import ProfileReport
    from costmodel.report import Sheet

#: Ops chosen when ``--samples`` is not given.
SAMPLES = 400
#: Fewest milliseconds left for timing when choosing Ops took most of the budget.
_LEAST_BUDGET_MS = 1000.0


@app.command(
    "profile",
    short_help="Measure kernels into a latency table, or resume.",
    epilog=examples(
        "costmodel profile --out cpu.jsonl",
        "costmodel profile --runner ort --threads 2 --samples 1000 --budget 20m --out cpu-t2.jsonl",
        "costmodel profile --models a.onnx b.onnx --samples 0 --out ab.jsonl",
    ),
)
def profile_device(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="T.jsonl", help="Table to write.")],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[M...]", help="More of --models.")
    ] = None,
    runner: Annotated[str, typer.Option("--runner", metavar="R", help="Runner.")] = "ort",
    threads: Threads = None,
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", metavar="M", help="Also time these networks and their Ops."),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=0, max=100_000, help="Ops to choose by design.")
    ] = SAMPLES,
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
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice and order of Ops.")] = 0,
    size: Sizes = None,
    runner_option: RunnerOptions = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Measure kernels into a latency table. Run the same command again to resume."""
    from costmodel.profiler import Job, Plan, profile
    from costmodel.sampling.select import sample_ops

    started = time.perf_counter()
    budget_ms = parse_budget(budget) if budget else None
    sizes = parse_sizes(size)
    options = parse_runner_options(runner_option, threads)
    networks = [*(models or []), *(more or [])]
    if more and not models:
        message = f"What is {more[0]}? Networks to measure are given by --models."
        raise InvalidInputError(message)
    _check_out(out)
    chosen = load_runner(runner, options)
    _ = chosen.device  # what cannot be reached is told before Ops are chosen
    with as_onnx(networks, sizes) as files:
        sample = sample_ops(chosen, samples, seed, files, sizes, thinned=thinned)
        for name, reason in list(sample.skipped.items())[:5]:
            note(f"Left out: {name}: {reason}")
        jobs = [Job(op=op) for op in sample.ops]
        jobs += [
            Job(op=op, model=path.resolve(), sizes=tuple(sorted(sizes.items())))
            for op, path in sample.model_jobs
        ]
        if budget_ms is not None:
            spent_ms = (time.perf_counter() - started) * 1000.0
            budget_ms = max(_LEAST_BUDGET_MS, budget_ms - spent_ms)
        plan = Plan(budget_ms=budget_ms, seed=seed).with_rounds(rounds)
        _tell_start(out, len(jobs), chosen.device.label)
        if isinstance(chosen, Estimator):
            _estimate(chosen, [job.op for job in jobs if job.model is None])
        report = profile(
            jobs,
            runner=runner,
            options=options,
            out=out,
            plan=plan,
            progress=progress("Profiling"),
        )
    emit(lambda: _data(report, out), lambda: _sheets(report, out), as_json=json, markdown=markdown)
    _finish(report)


def _estimate(runner: Estimator, ops: Sequence[Op]) -> None:
    """Compute on all processors what the visits will then find ready."""
    bar = progress("Estimating")
    started = time.perf_counter()

    def told(finished: int, op: Op) -> None:
        each_s = (time.perf_counter() - started) / finished
        bar.advance(finished, len(ops), each_s * (len(ops) - finished), op.label)

    bar.start(len(ops))
    try:
        runner.estimate_all(ops, told)
    finally:
        bar.stop()


def _check_out(out: Path) -> None:
    if out.is_dir():
        message = f"--out {out} is a folder. Give the name of a table file, such as {out}/t.jsonl."
        raise InvalidInputError(message)


def _tell_start(out: Path, jobs: int, device: str) -> None:
    from costmodel.table import LatencyTable

    if out.is_file() and out.stat().st_size:
        rows = len(LatencyTable.load(out))
        note(f"Resuming {out}: it has {rows} rows; {jobs} are wanted on {device}.")
    else:
        note(f"Measuring {jobs} rows on {device} into {out}.")


def _finish(report: ProfileReport) -> None:
    if report.interrupted:
        note("Interrupted. Nothing finished is lost: run the same command to resume.")
        raise typer.Exit(INTERRUPTED)
    if report.out_of_budget:
        note("The budget ended first. Run the same command to go on.")
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
            else "unknown: no row has two rounds"
        ),
        "time": f"{report.seconds:.0f} s: {shares}",
        "disturbed": f"{report.discarded} of {report.blocks + report.discarded} blocks discarded",
    }
    return (facts(str(out), pairs),)
