"""OpenVINO where there is no AVX-512: whole networks against the sum of their own kernels.

    python scripts/bench/openvino_avx2.py                       # kernels and networks: 14 minutes
    python scripts/bench/openvino_avx2.py --models a.onnx ...   # and these networks
    python scripts/bench/openvino_avx2.py --isa avx512          # on what the processor has

Wants the machine to itself. A processor with AVX-512 is capped. Networks are those that the onnx
package ships, but for one of half a gigabyte. Networks and kernels take turns in the same rounds:
this machine's pace may change by a fifth in ten minutes, which is no error of the sum. Interrupted,
it goes on with the table it has; of earlier days it starts with ``--anew``.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import comparisons
import ledger
import onnx.backend.test
import place

from costmodel.audit import repeatability
from costmodel.comparison import Comparison
from costmodel.costs.regression import fit_regression
from costmodel.errors import ModelFormatError
from costmodel.model_rows import model_op
from costmodel.network import Network, model_digest
from costmodel.op import Op
from costmodel.prediction import price_network
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.registry import load_runner
from costmodel.runners.ort.device import own_instruction_set
from costmodel.table import LatencyTable

RUNNER = "openvino"
SHIPPED = Path(onnx.backend.test.__file__).parent / "data" / "light"
#: Half a gigabyte of weights, which every process of every round would make again.
LARGE = frozenset({"light_vgg19"})
MINUTES = 13.0
# Compiling is the dearest part of a visit: a process keeps what it compiled for four rounds.
# More rounds would each be shorter: a visit of a few blocks finds every cache cold.
PLAN = Plan(rounds=8, min_rounds=6, restart_every=4)
MEDIAN, WORST, LEAST_NETWORKS = 0.05, 0.15, 8


def models(more: Sequence[Path]) -> list[Path]:
    """Files of the networks."""
    shipped = [path for path in sorted(SHIPPED.glob("*.onnx")) if path.stem not in LARGE]
    return list(dict.fromkeys([*shipped, *(path.resolve() for path in more)]))


def jobs_of(paths: Sequence[Path]) -> tuple[dict[Op, Network], list[Job]]:
    """The networks that the runtime takes, by their row; and with them their kernels, each once."""
    runner = load_runner(RUNNER, {"threads": 1})
    networks, jobs = {}, {}
    for path in paths:
        try:
            network = runner.lower(path, {})
        except ModelFormatError as error:
            print(f"left out {path.name}: {error}", flush=True)
            continue
        whole = model_op(network.name, model_digest(path, {}), network.ops)
        networks[whole] = network
        jobs[whole] = Job(op=whole, model=path)
        jobs.update({op: Job(op=op) for op in network.ops})
    return networks, list(jobs.values())


def compared(table: LatencyTable, networks: Mapping[Op, Network]) -> list[Comparison]:
    """Each network's row beside the plain sum of its kernels' rows."""
    cost = fit_regression(table)
    return [
        Comparison(
            prediction=price_network(network, cost, device=table.device),
            measurement=table.rows[whole],
            device=table.device,
        )
        for whole, network in networks.items()
        if whole in table.rows
    ]


def results(
    isa: str, table: LatencyTable, jobs: Sequence[Job], found: Sequence[Comparison]
) -> None:
    """Write the page."""
    errors = [abs(item.error) for item in found if item.error is not None]
    repeats = repeatability(table)
    rounds = [len(row.rounds) for row in table.kernels()]
    missing = [
        job.op.label for job in jobs if (row := table.get(job.op)) is None or not row.has_number
    ]
    where = f"OpenVINO, {isa}, 1 thread"
    figures = [
        ledger.figure("c-networks", f"networks compared, {where}", len(errors),
                      at_least=LEAST_NETWORKS),
        ledger.figure("c-median", f"median |error| of the plain sum of their kernels, {where}",
                      median(errors) if errors else None, "share", at_most=MEDIAN,
                      sound=len(errors) >= LEAST_NETWORKS, reason="" if errors else "none timed"),
        ledger.figure("c-outside", f"networks beyond ±{WORST:.0%}, {where}",
                      sum(error > WORST for error in errors), "networks", exactly=0,
                      sound=len(errors) == len(found)),
        ledger.figure("c-repeat", f"rows whose two halves of rounds agree within 10 %, {where}",
                      None if math.isnan(repeats.within_10) else repeats.within_10, "share",
                      reason="too few rounds" if math.isnan(repeats.within_10) else ""),
        ledger.figure("c-rounds", "median rounds of a row",
                      median(rounds) if rounds else None, "rounds",
                      reason="" if rounds else "no rows"),
        ledger.figure("c-refused", f"rows without a number, of {len(jobs)}", len(missing), "rows"),
    ]  # fmt: skip
    device: Mapping[str, object] = {
        "label": table.device.label,
        "isa": table.device.isa,
        "options": dict(table.device.options),
    }
    ledger.write(
        f"openvino-{isa}",
        topic="house",
        figures=figures,
        detail={
            "device": device,
            "networks": [item.to_json() for item in found],
            "refused": missing,
        },
        notes=[
            f"{table.device.label}, instruction set {table.device.isa}; kernels are the networks' "
            "own, the prediction is their plain sum; networks were timed in the kernels' rounds.",
            ledger.table(comparisons.COLUMNS, comparisons.rows(found)),
        ],
    )


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--models", nargs="*", type=Path, default=[])
    parser.add_argument("--isa", choices=["avx2", "avx512"], default="avx2")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--anew", action="store_true", help="leave an earlier table's rows out")
    parser.add_argument("--trial", action="store_true", help="write nothing down")
    options = parser.parse_args()
    if options.isa == "avx2" and own_instruction_set() == "avx512":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # read once, before the first model is compiled
    elif options.isa != own_instruction_set():
        sys.exit(f"This processor has {own_instruction_set()}, not {options.isa}.")
    out = place.WORK / f"openvino-{options.isa}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.anew:
        out.unlink(missing_ok=True)
    started = time.perf_counter()
    networks, jobs = jobs_of(models(options.models))
    print(f"{len(networks)} networks, {len(jobs) - len(networks)} kernels", flush=True)
    plan = replace(PLAN, budget_ms=60e3 * options.minutes)
    report = time_jobs(jobs, runner=RUNNER, options={"threads": 1}, out=out, plan=plan)
    print(comparisons.told(report), flush=True)
    table = LatencyTable.load(out)
    if table.device.isa != options.isa:
        sys.exit(f"The runtime used {table.device.isa}, not {options.isa}.")
    found = compared(table, networks)
    print(*comparisons.rows(found), f"{time.perf_counter() - started:.0f} s", sep="\n", flush=True)
    if not options.trial:
        results(options.isa, table, jobs, found)


if __name__ == "__main__":
    main()
