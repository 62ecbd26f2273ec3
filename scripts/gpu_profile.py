"""Profile this machine's GPU in one short run: XLA bfloat16 and float32, and ONNX Runtime CUDA.

    python scripts/gpu_profile.py --minutes 25 --out build/gpu      # again to resume
    python scripts/gpu_profile.py --platform cpu --convs 60 --minutes 2 --out build/try

Convolutions over every path and channel sweeps, batch 1 and 32; held-out error of the regression,
and real networks predicted and measured. Writes a table a runtime, ``gpu.json`` and ``gpu.md``.
Needs ``jax[cuda12]``, and ``onnxruntime-gpu`` for the last; what is missing is said and left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from costmodel.calibration import fit_calibration
from costmodel.comparison import compare_files
from costmodel.costs.regression import fit_regression
from costmodel.errors import CostModelError, InvalidInputError
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.protocols import Runner
from costmodel.registry import load_runner
from costmodel.runners.ort.nvidia import find_gpu
from costmodel.sampling.choose import choose_convolutions, choose_kernels, split_roles
from costmodel.sampling.design import design
from costmodel.sampling.lowered import lower_probes
from costmodel.sampling.probe import Probe
from costmodel.sampling.select import sample_ops
from costmodel.scoring import score_table
from costmodel.table import LatencyTable

Options = dict[str, str | int | float | bool]

BATCHES = (1, 32)
#: Sizes whose output channels are swept, ``(side, in_channels, kernel)``.
SWEEPS = ((56, 64, 3), (28, 128, 1), (14, 256, 3), (7, 512, 1))
#: Most elements of one activation: half a gigabyte of float32 would say nothing new.
MOST_ELEMENTS = 1 << 27
NETWORKS = (
    "light_resnet50",
    "light_densenet121",
    "light_inception_v1",
    "light_squeezenet",
    "light_shufflenet",
    "resnet20_cifar10",
)
HELD_OUT = 300
#: Shares of the time: kernels, whole networks for the calibration, and the comparison.
SHARES = (0.7, 0.1, 0.2)


def runtimes(platform: str) -> dict[str, tuple[str, Options]]:
    """Runner and options of each table."""
    found: dict[str, tuple[str, Options]] = {
        f"xla-{dtype}": ("xla", {"platform": platform, "dtype": dtype})
        for dtype in ("bfloat16", "float32")
    }
    provider = "cuda" if platform == "gpu" else "cpu"
    found[f"ort-{provider}"] = ("ort", {"provider": provider})
    return found


def probes(count: int) -> list[Probe]:
    """Sampled layers and channel sweeps, each at every batch."""
    drawn = [probe for probe in design(2 * count) if probe.batch == 1]
    swept = [
        Probe(
            name=f"sweep_{side}_{kernel}_{width}",
            kind="conv",
            in_channels=inputs,
            out_channels=width,
            size=(side, side),
            kernel=(kernel, kernel),
        )
        for side, inputs, kernel in SWEEPS
        for width in (*range(8, 264, 8), 320, 384, 448, 512)
    ]
    every = max(1, len(drawn) // max(1, len(swept)))
    mixed: list[Probe] = []
    for place, probe in enumerate(drawn):
        mixed.append(probe)
        if place % every == 0 and swept:
            mixed.append(swept.pop(0))
    found = [
        replace(probe, name=f"{probe.name}_b{batch}", batch=batch)
        for probe in mixed
        for batch in BATCHES
    ]
    return [probe for probe in found if probe.activation_bytes / 4 <= MOST_ELEMENTS][: 3 * count]


def kernels(runner: Runner, convs: int) -> tuple[list[Job], dict[str, str]]:
    """Jobs for about so many convolutions, a third as many other kernels, and what is left out."""
    skipped: dict[str, str] = {}
    wanted = probes(convs)
    convolutions, layouts, others = split_roles(lower_probes(runner, wanted, skipped))
    chosen = choose_convolutions(convolutions, convs) + choose_kernels(layouts, convs // 20)
    return [Job(op=op) for op in chosen + choose_kernels(others, convs // 3)], skipped


def networks(folder: Path) -> list[Path]:
    """The real networks that are there."""
    return [folder / f"{name}.onnx" for name in NETWORKS if (folder / f"{name}.onnx").exists()]


def clocks() -> dict[str, str]:
    """Driver, clocks and temperature of the GPU now; empty without one."""
    gpu = find_gpu(0)
    return dict(gpu.state) if gpu else {}


def examine(
    name: str, runner: str, options: Options, settings: argparse.Namespace, minutes: float
) -> dict[str, Any]:
    """Profile, score and compare one runtime."""
    out = settings.out / f"{name}.jsonl"
    chosen = load_runner(runner, options)
    began = time.perf_counter()
    before = clocks()
    jobs, skipped = kernels(chosen, settings.convs)
    files = networks(settings.models)
    whole = _whole(chosen, files)
    spent = (time.perf_counter() - began) / 60.0
    timed = max(0.05, minutes - spent)
    time_jobs(jobs, runner=runner, options=options, out=out, plan=_plan(timed * SHARES[0]))
    if whole:
        time_jobs(whole, runner=runner, options=options, out=out, plan=_plan(timed * SHARES[1]))
    table = LatencyTable.load(out)
    record: dict[str, Any] = {
        "device": table.device.label,
        "state": dict(table.device.state),
        "clocks_before": before,
        "rows": len(table),
        "skipped": len(skipped),
        "minutes_lowering": round(spent, 2),
        "score": _score(table),
        "networks": [],
    }
    if files:
        cost = fit_regression(table)
        found = compare_files(
            files,
            runner=runner,
            options=options,
            cost=cost,
            calibration=fit_calibration(table, cost),
            plan=replace(_plan(timed * SHARES[2]), visit_ms=60.0),
        )
        record["networks"] = [item.to_json() for item in found]
    record["clocks_after"] = clocks()
    return record


def _plan(minutes: float) -> Plan:
    return Plan(budget_ms=minutes * 60e3)


def _whole(runner: Runner, files: Sequence[Path]) -> list[Job]:
    """The networks and their kernels."""
    if not files:
        return []
    sample = sample_ops(runner, 0, models=files, thinned=0)
    whole = [Job(op=op, model=path.resolve()) for op, path in sample.model_jobs]
    return whole + [Job(op=op) for op in sample.ops]  # where time is short, the networks first


def _score(table: LatencyTable) -> dict[str, Any] | str:
    for held_out in (HELD_OUT, None):
        try:
            return dict(score_table(table, held_out=held_out).to_json())
        except InvalidInputError as error:
            reason = str(error)
    return reason


def page(records: dict[str, Any]) -> str:
    """The markdown page."""
    lines = ["# GPU profiles", ""]
    for name, record in records.items():
        if isinstance(record, str):
            lines += [f"## {name}", "", f"Not taken: {record}", ""]
            continue
        lines += [f"## {name}", "", f"{record['device']}; {record['rows']} rows. "]
        lines += [f"Clocks before: {record['clocks_before']}; after: {record['clocks_after']}.", ""]
        lines += [f"Held out: {json.dumps(record['score'])}", ""]
        lines += ["| network | predicted ms | measured ms | error |", "|---|---|---|---|"]
        for item in record["networks"]:
            if item["error"] is not None:
                lines.append(
                    f"| {item['model']} | {item['predicted_ms']:.4f} | {item['measured_ms']:.4f} "
                    f"| {item['error']:+.1%} |"
                )
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--platform", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--convs", type=int, default=1500)
    parser.add_argument("--minutes", type=float, default=25.0, help="for all runtimes together")
    parser.add_argument("--only", nargs="*", help="tables to take, e.g. xla-bfloat16")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--models", type=Path, default=Path("../shared/models"))
    settings = parser.parse_args(arguments)
    settings.out.mkdir(parents=True, exist_ok=True)
    wanted = {k: v for k, v in runtimes(settings.platform).items() if k in (settings.only or [k])}
    records: dict[str, Any] = {}
    for name, (runner, options) in wanted.items():
        try:
            records[name] = examine(name, runner, options, settings, settings.minutes / len(wanted))
        except CostModelError as error:
            records[name] = str(error)
            print(f"{name}: not taken: {error}", flush=True)
        (settings.out / "gpu.json").write_text(json.dumps(records, indent=1, default=str) + "\n")
        (settings.out / "gpu.md").write_text(page(records))
    print(page(records))


if __name__ == "__main__":
    main()
