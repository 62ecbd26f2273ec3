"""Measure the tables that the other figures stand on; run again to resume.

    python scripts/bench/profile_tables.py plain --threads 1 --budget 15m
    python scripts/bench/profile_tables.py models --threads 1 --budget 8m
    python scripts/bench/profile_tables.py fresh --threads 1 --budget 8m

``plain`` samples what real networks use, without looking at any; ``models`` adds the Ops of the
real networks to a copy of it; ``fresh`` is 500 other random convolutions, measured apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time

import place

from costmodel.op import CONV_KINDS
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.registry import load_runner
from costmodel.sampling.select import sample_ops

SAMPLES = 1000
FRESH = 500
FRESH_SEED = 20_26


def jobs_of(name: str, threads: int, samples: int) -> list[Job]:
    """What each table holds."""
    runner = load_runner("ort", {"threads": threads})
    if name == "plain":
        return [Job(op=op) for op in sample_ops(runner, samples).ops]
    if name == "models":
        # Only the networks' own Ops and rows: the sampled ones come with the copied table.
        sample = sample_ops(runner, 0, models=place.real_models(), thinned=0)
        kernels = [Job(op=op) for op in sample.ops]
        return kernels + [Job(op=op, model=path.resolve()) for op, path in sample.model_jobs]
    ops = sample_ops(runner, 2 * FRESH, seed=FRESH_SEED).ops
    convolutions = [op for op in ops if op.kind in CONV_KINDS]
    return [Job(op=op) for op in convolutions[:FRESH]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["plain", "models", "fresh"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    # Kernels can be timed beside other light work; whole networks want the machine to themselves.
    parser.add_argument("--only", choices=["kernels", "networks"])
    options = parser.parse_args()
    out = place.table_path(options.name, options.threads)
    started = time.perf_counter()
    jobs = jobs_of(options.name, options.threads, options.samples)
    if options.only:
        jobs = [job for job in jobs if (job.model is None) == (options.only == "kernels")]
    sampled = time.perf_counter() - started
    if options.name == "models" and not out.exists():
        shutil.copy(place.table_path("plain", options.threads), out)
    budget_ms = max(1.0, options.minutes * 60e3 - sampled * 1e3)
    report = time_jobs(
        jobs,
        runner="ort",
        options={"threads": options.threads},
        out=out,
        plan=Plan(budget_ms=budget_ms),
    )
    report_path = out.with_suffix(".report.json")
    seconds = report.seconds + sampled
    earlier = json.loads(report_path.read_text()) if report_path.exists() else {}
    summary = {
        "rows": report.rows,
        "ok": report.ok,
        "noisy": report.noisy,
        "failed": report.failed,
        "sampling_seconds": round(sampled, 1),
        "seconds": round(seconds, 1),
        # A resumed profile has cost what all its runs took.
        "seconds_all_runs": round(earlier.get("seconds_all_runs", 0.0) + seconds, 1),
        "shares": report.shares,
        "visits": report.visits,
        "repeatability": {
            "mean_error": report.repeatability.mape,
            "within_5": report.repeatability.within_5,
            "within_10": report.repeatability.within_10,
        },
    }
    report_path.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
