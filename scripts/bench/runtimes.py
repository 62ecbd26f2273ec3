"""Figure b of the devices: `compare` on real networks for every runtime of this machine.

    python scripts/bench/runtimes.py kernels xla litert-t1      # minutes each; run again to resume
    python scripts/bench/runtimes.py networks xla litert-t1     # wants the machine to itself
    python scripts/bench/runtimes.py compare xla litert-t1      # wants the machine to itself
    python scripts/bench/runtimes.py results                    # writes docs/results/runtimes
    python scripts/bench/runtimes.py ship xla t.jsonl           # profiles/, with a card each

The kernels of a table are sampled ones and the networks' own; ``networks`` adds the networks' whole
times, by which sums are calibrated. ``compare`` times the networks anew, in other processes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import comparisons
import ledger
import place

from costmodel.audit import audit
from costmodel.audit import repeatability as halves
from costmodel.measurement import UNMEASURED, Measurement
from costmodel.model_rows import model_op_counts
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.registry import Option, load_runner
from costmodel.sampling.select import sample_ops
from costmodel.table import LatencyTable

#: Runner and options of each table.
TABLES: Mapping[str, tuple[str, Mapping[str, Option]]] = {
    "ort-t1": ("ort", {"threads": 1}),
    "ort-t2": ("ort", {"threads": 2}),
    "ort-int8": ("ort", {"threads": 1, "dtype": "int8"}),
    "ort-float16": ("ort", {"threads": 1, "dtype": "float16"}),
    "xla": ("xla", {"threads": 1}),
    "litert-t1": ("litert", {"threads": 1}),
    "litert-t2": ("litert", {"threads": 2}),
    "litert-int8": ("litert", {"threads": 1, "dtype": "int8"}),
    "openvino": ("openvino", {"threads": 1}),
    "openvino-int8": ("openvino", {"threads": 1, "dtype": "int8"}),
}
#: Eight real networks of different make, from 0.02 to 30 ms. The largest files are left out because
#: every process of every round would load half a gigabyte of weights.
NETWORKS = (
    "mnist-8",
    "resnet20_cifar10",
    "light_squeezenet",
    "light_shufflenet",
    "light_inception_v1",
    "light_resnet50",
    "ultraface_slim-320",
    "yunet_s_320",
)
SAMPLES = 150
MINUTES = {"kernels": 5.0, "networks": 3.0}
#: Enough to tell noise from time; a table may be resumed for more.
PLAN = Plan(rounds=24, min_rounds=4)
#: Networks take up to a tenth of a second: a visit must last for several runs. One may be 10 %
#: slower in one process than in the next, so every round has its own.
NETWORK_PLAN = Plan(
    rounds=24, min_rounds=8, visit_ms=250.0, restart_every=1, budget_ms=MINUTES["networks"] * 60e3
)
MEDIAN, WORST = 0.05, 0.15
LICENCE = "Apache-2.0, like the code; measurements of kernels, no model data."


def table_path(name: str) -> Path:
    """Where a table grows."""
    return place.folder("runtimes") / f"{name}.jsonl"


def networks() -> list[Path]:
    """Files of the networks."""
    return [path for path in place.real_models() if path.stem in NETWORKS]


def measure(name: str, part: str, samples: int, minutes: float | None) -> None:
    """Time kernels or networks into the table; again to resume."""
    runner, options = TABLES[name]
    sample = sample_ops(
        load_runner(runner, options), samples, models=networks(), sizes={}, thinned=0
    )
    for probe, reason in list(sample.skipped.items())[:5]:
        print(f"{name}: left out {probe}: {reason}", flush=True)
    if part == "kernels":
        jobs, plan = [Job(op=op) for op in sample.ops], PLAN
    else:
        jobs = [Job(op=op, model=path.resolve()) for op, path in sample.model_jobs]
        plan = NETWORK_PLAN
    plan = replace(plan, budget_ms=60e3 * (minutes or MINUTES[part]))
    report = time_jobs(jobs, runner=runner, options=options, out=table_path(name), plan=plan)
    print(f"{name} {part}: {comparisons.told(report)}", flush=True)


def hold_against(name: str) -> None:
    """Time the networks anew and keep the comparison."""
    runner, options = TABLES[name]
    table = LatencyTable.load(table_path(name))
    found, calibration = comparisons.timed(
        networks(), table, NETWORK_PLAN, runner=runner, options=options
    )
    record = {
        "device": table.device.label,
        "rows": len(table),
        "calibration": calibration.describe() if calibration else None,
        "networks": [item.to_json() for item in found],
    }
    table_path(name).with_suffix(".compare.json").write_text(json.dumps(record, indent=1) + "\n")
    print(name, *found, sep="\n", flush=True)


def results() -> None:
    """Write the ledger from the comparisons that are there."""
    figures: list[ledger.Figure] = []
    columns = "runtime | network | predicted ms | plain sum | measured ms | error | repeats within"
    lines: list[str] = []
    detail: dict[str, object] = {}
    for name in TABLES:
        path = table_path(name).with_suffix(".compare.json")
        if not path.exists():
            figures.append(
                ledger.figure(
                    f"b-{name}",
                    f"compare, {name}",
                    None,
                    "share",
                    target=f"median <= {MEDIAN:.0%}",
                    reason="not timed yet",
                )
            )
            continue
        record = json.loads(path.read_text())
        detail[name] = record
        figures += figures_of(name, record["networks"])
        lines += [line(name, item) for item in record["networks"] if item["error"] is not None]
    figures.append(gpu())
    ledger.write(
        "runtimes",
        figures=figures,
        detail={"tables": detail},
        notes=[
            "Tables hold sampled kernels, the networks' own kernels and their whole times; the "
            "networks were then timed anew. `plain sum` is the prediction before calibration.",
            ledger.table(columns, lines),
        ],
        topic="devices",
    )


def gpu() -> ledger.Figure:
    """Figure d, as far as this machine can tell."""
    return ledger.figure(
        "d-gpu",
        "share of 300 held-out convolutions within ±10 % on a GPU",
        None,
        "share",
        target="measured, or the reason",
        reason="no GPU could be had; scripts/gpu_profile.py does it in one run, tested on a CPU",
    )


def line(name: str, item: Mapping[str, Any]) -> str:
    """A row of the markdown table."""
    return (
        f"{name} | {item['model']} | {item['predicted_ms']:.3f} | "
        f"{item['uncalibrated_ms'] or item['predicted_ms']:.3f} | {item['measured_ms']:.3f} | "
        f"{item['error']:+.1%} | {item['repeatability'] or 0.0:.1%}"
    )


def figures_of(name: str, found: Sequence[Mapping[str, Any]]) -> list[ledger.Figure]:
    """Median and outliers of one runtime, calibrated and not."""
    errors = [abs(item["error"]) for item in found if item["error"] is not None]
    sums = [
        abs((item["uncalibrated_ms"] or item["predicted_ms"]) / item["measured_ms"] - 1.0)
        for item in found
        if item["error"] is not None
    ]
    repeat = [round(item["repeatability"] or 0.0, 4) for item in found]
    more: dict[str, Any] = {"seed": 0, "repeatability": repeat}
    outside = sum(error > WORST for error in errors)
    compared = f"{len(errors)} of {len(found)} networks"
    return [
        ledger.figure(
            f"b-{name}-median",
            f"median |error|, {name}, {compared}",
            median(errors),
            "share",
            at_most=MEDIAN,
            sound=len(errors) >= 8,
            **more,
        ),
        ledger.figure(
            f"b-{name}-outside",
            f"networks beyond ±{WORST:.0%}, {name}, {compared}",
            outside,
            "networks",
            exactly=0,
            sound=len(errors) == len(found),
            **more,
        ),
        ledger.figure(
            f"b-{name}-sum",
            f"median |error| of the plain sum of kernels, {name}",
            median(sums),
            "share",
            **more,
        ),
    ]


def ship(name: str) -> None:
    """Copy the rows of a table, or of a profile's file, that pass ``check`` into profiles/."""
    is_file = name.endswith(".jsonl")
    measured = LatencyTable.load(Path(name) if is_file else table_path(name))
    made = (
        "costmodel profile --samples 1000 --budget 10m" if is_file else "scripts/bench/runtimes.py"
    )
    faults = {
        item.op for item in audit(measured) if item.op is not None and not item.is_information
    }
    used = {digest for row in measured.models() for digest in model_op_counts(row.op)}
    kept = [row for op, row in measured.items() if op not in faults]
    # What a network is made of stays known, so that it calibrates sums.
    kept += [
        Measurement.from_rounds(op, (), status=UNMEASURED, reason="its row did not pass check")
        for op in faults
        if op.digest in used
    ]
    table = LatencyTable(measured.device, kept)
    target = ledger.ROOT / "profiles" / f"{table.device.slug}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    table.save(target)
    target.with_suffix(".md").write_text(card(table, measured, made), encoding="utf-8")
    print(f"{target.relative_to(ledger.ROOT)}: {len(table)} rows, {target.stat().st_size:,} bytes")


def card(table: LatencyTable, measured: LatencyTable, made: str) -> str:
    """How, when and where a profile was made."""
    device = table.device
    rows_kept = len(table.kernels()) + len(table.models())
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    rows: list[tuple[str, str]] = [
        ("device", device.name),
        ("runtime", f"{device.runtime} {device.runtime_version} {device.provider}".strip()),
        ("instruction set", device.isa),
        ("element type", device.dtype),
        ("threads", str(device.threads)),
        ("settings", ", ".join(f"{key}={value}" for key, value in device.options)),
        ("provenance", device.provenance),
        ("rows", f"{rows_kept}, of which {len(table.models())} whole networks"),
        (
            "left out",
            f"{len(measured) - rows_kept} rows that were noisy, failed or did not pass",
        ),
        ("repeatability", f"{repeatability(measured)}, before they were left out"),
        ("made", f"{today}, `{made}`, on a shared virtual machine of 2 cores"),
        ("licence", LICENCE),
    ]
    facts = ledger.table(" | ", (f"{key} | {value}" for key, value in rows if value))
    lines = [f"# {device.slug}", "", facts]
    lines += ["", f"    costmodel show {device.slug}", f"    costmodel score {device.slug}", ""]
    return "\n".join(lines)


def repeatability(table: LatencyTable) -> str:
    """The two halves of the rounds held against each other."""
    found = halves(table)
    return (
        f"{found.within_5:.0%} of rows within 5 %, {found.within_10:.0%} within 10 % "
        "(two halves of the rounds)"
    )


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("step", choices=["kernels", "networks", "compare", "results", "ship"])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    for name in options.tables:
        if name not in TABLES and not (options.step == "ship" and name.endswith(".jsonl")):
            parser.error(f"there is no table {name!r}; known: {', '.join(TABLES)}")
    if options.step == "results":
        results()
        return
    for name in options.tables:
        if options.step == "compare":
            hold_against(name)
        elif options.step == "ship":
            ship(name)
        else:
            measure(name, options.step, options.samples, options.minutes)


if __name__ == "__main__":
    main()
