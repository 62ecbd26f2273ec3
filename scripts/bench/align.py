"""Figure e of the budget: networks that somebody pruned to odd widths, aligned and timed.

    python scripts/bench/align.py --table build/bench/models-t1.jsonl     # run again to resume
    python scripts/bench/align.py --table ... --only resnet20 --rounds 3  # a trial, no ledger
    python scripts/bench/align.py --table ... --predict-only              # a trial, nothing timed

Four networks, every group of channels cut by magnitude by 5, 20 and 40 % to the nearest odd width.
A first timing decides, as ``morphnet align`` does, whether the aligned network is kept; a second
one, in other processes, is the verdict on what was kept: it times the whole network, the pruned one
and the kept one in interleaved rounds. Wants the machine to itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import ledger
import numpy as np
import onnx
import place
from thinned import mobilenet

from costmodel.calibration import Calibration, fit_calibration
from costmodel.comparison import compare_files
from costmodel.costs.regression import Regression, fit_regression
from costmodel.profiler import Plan
from costmodel.sampling.constants import read_constants, write_constants
from costmodel.table import LatencyTable
from costmodel.uses.matching import runner_of
from morphnet_core.alignment import (
    TOLERANCE,
    Alignment,
    Source,
    agreement,
    cut,
    measured,
    pad_to_fast_widths,
    paddable,
    read_source,
)
from morphnet_core.groups import Alive, Grouping

#: Shares of channels that are taken away.
CUTS = (0.05, 0.20, 0.40)
PLAN = Plan(rounds=30, min_rounds=16, visit_ms=60.0, restart_every=1)
#: Random inputs on which results are compared, beyond those that ``align`` itself tries.
SEEDS = range(1, 4)
#: Least speed-up that is no slow-down: timing repeats no better than this.
EVEN = 0.99


def seeds(folder: Path) -> dict[str, Path]:
    """The four networks by name, all with real or random weights."""
    found = {"resnet20": place.MODELS / "resnet20_cifar10.onnx"}
    for name, source in {
        "mobilenet_v2": mobilenet(folder),
        "squeezenet": place.MODELS / "light_squeezenet.onnx",
        "inception_v1": place.MODELS / "light_inception_v1.onnx",
    }.items():
        found[name] = folder / f"{name}-random.onnx"
        if not found[name].exists():
            onnx.save(weighted(onnx.load(source)), found[name])
    return found


def weighted(model: onnx.ModelProto) -> onnx.ModelProto:
    """A network with random weights of He's variance, so that its results depend on its inputs.

    Networks without training hardly pass anything on, and those that were stripped of their weights
    return one and the same value everywhere: nothing could be compared.
    """
    rng = np.random.default_rng(0)
    constants = read_constants(model.graph)
    values = {}
    for node in model.graph.node:
        for operand, name in enumerate(node.input):
            value = constants.get(name)
            law = _LAWS.get(node.op_type, {}).get(operand)
            if value is not None and law is not None and name not in values:
                drawn = rng.standard_normal(value.shape, dtype=np.float32)
                fan = value[0].size if value.ndim > 1 and value.shape[0] else 1
                values[name] = law(drawn, fan).astype(value.dtype)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    write_constants(result, values)
    return result


def _he(drawn: np.ndarray, fan: int) -> np.ndarray:
    return np.asarray(drawn * np.sqrt(2.0 / fan))


def _small_he(drawn: np.ndarray, fan: int) -> np.ndarray:
    """Logits no larger than those of trained networks, since exponentials magnify rounding."""
    return 0.2 * _he(drawn, fan)


def _small(drawn: np.ndarray, _: int) -> np.ndarray:
    return 0.1 * drawn


def _about_one(drawn: np.ndarray, _: int) -> np.ndarray:
    return np.abs(1.0 + 0.1 * drawn) + 0.1


#: Random values of each operand that is a weight.
_LAWS: dict[str, dict[int, Callable[[np.ndarray, int], np.ndarray]]] = {
    "BatchNormalization": {1: _about_one, 2: _small, 3: _small, 4: _about_one},
    "Conv": {1: _he, 2: _small},
    "Gemm": {1: _he, 2: _small},
    "MatMul": {1: _small_he},
}


def pruned(path: Path, share: float) -> onnx.ModelProto:
    """Every group without its weakest channels, at the nearest odd width.

    Args:
        path: the network.
        share: of channels to take away.
    """
    source = read_source(path, {})
    grouping = paddable(source)
    strength = magnitudes(source, grouping)
    alive: Alive = grouping.full()
    for group in grouping.groups:
        if group.frozen:
            continue
        kept = min(group.size, odd(group.size * (1.0 - share)))
        weakest = np.argsort(strength[group.units], kind="stable")[: group.size - kept]
        alive[group.start + weakest] = False
    return cut(source, grouping, alive)


def odd(width: float) -> int:
    """The nearest odd width from 1 up."""
    return max(1, 2 * round((width - 1.0) / 2.0) + 1)


def magnitudes(source: Source, grouping: Grouping) -> np.ndarray:
    """Mean square of the weights that write each unit, relative to each layer's own mean."""
    values = read_constants(source.model.graph)
    total = np.zeros(grouping.num_units)
    for layer in grouping.mixers:
        node = source.model.graph.node[source.nodes[layer.outputs[0]]]
        weight = np.asarray(values[node.input[1]], dtype=float) ** 2
        turned = bool(layer.op.attribute("transB", 0))
        first = layer.op.kind == "conv" or (layer.op.kind == "gemm" and turned)
        axis = 0 if first else 1
        power = weight.mean(axis=tuple(i for i in range(weight.ndim) if i != axis))
        units = grouping.units[layer.outputs[0]]
        np.add.at(total, units, power / max(power.mean(), 1e-30))
    return total


def cases(folder: Path, only: str) -> list[tuple[str, Path, Path]]:
    """Name, whole network and pruned network of every case."""
    found = []
    for name, whole in seeds(folder).items():
        for share in CUTS:
            title = f"{name}-cut{round(100 * share):02d}"
            if only not in title:
                continue
            target = folder / f"{title}.onnx"
            if not target.exists():
                onnx.save(pruned(whole, share), target)
            found.append((title, whole, target))
    return found


def judge(
    found: Alignment, whole: Path, path: Path, table: LatencyTable, cost: Regression, plan: Plan
) -> dict[str, Any]:
    """Decide by one timing, then time what was kept anew."""
    runner = runner_of(table.device)
    if runner is None:
        message = f"No runner here has made the table of {table.device.label}."
        raise SystemExit(message)
    options = {"threads": table.device.threads}
    chosen = measured(found, runner=runner, cost=cost, options=options, plan=plan)
    files = [whole, path]
    if chosen.worthwhile:
        files.append(chosen.save(path.with_name(f"{path.stem}-aligned.onnx")))
    second = replace(plan, seed=plan.seed + 1)
    rows = compare_files(files, runner=runner, cost=cost, options=options, plan=second)
    times = [row.measured_ms for row in rows]
    return {
        "decided_before_ms": chosen.measured_before_ms,
        "decided_after_ms": chosen.measured_after_ms,
        "kept": chosen.worthwhile,
        "whole_ms": times[0],
        "pruned_ms": times[1],
        "kept_ms": times[-1],
        "repeatability": [row.repeatability for row in rows],
        "load": ledger.machine()["load"],
    }


def one(
    case: tuple[str, Path, Path],
    table: LatencyTable,
    cost: Regression,
    calibration: Calibration | None,
    plan: Plan | None,
) -> dict[str, Any]:
    """Everything about one case; without a plan nothing is timed."""
    title, whole, path = case
    begun = time.perf_counter()
    found = pad_to_fast_widths(path, cost, table.device, calibration=calibration)
    spent = time.perf_counter() - begun
    apart = [
        agreement(path, found.original, found.model, {}, seed=seed).difference for seed in SEEDS
    ]
    record = {
        "name": title,
        "aligned_in_s": round(spent, 1),
        **found.to_json(),
        "difference": max(found.difference, *apart),
        "frozen": sum(bool(group.frozen) for group in found.groups),
    }
    if plan is not None:
        record |= judge(found, whole, path, table, cost, plan)
    return record


def figures(records: Sequence[dict[str, Any]]) -> list[ledger.Figure]:
    """The lines of the ledger."""
    speed_ups = [item["pruned_ms"] / item["kept_ms"] for item in records]
    repeat = [item["repeatability"] for item in records]
    apart = max(item["difference"] for item in records)
    count = len(records)
    return [
        ledger.figure(
            "e-equal",
            f"largest relative difference of results, {count} pruned networks aligned",
            apart,
            at_most=TOLERANCE,
            sound=count == 12 and all(item["telling"] for item in records),
            seed=0,
        ),
        ledger.figure(
            "e-never-slower",
            f"least speed-up of {count} networks, timed anew",
            min(speed_ups),
            "x",
            at_least=EVEN,
            sound=count == 12,
            target=f">= 1, within what timing repeats to ({EVEN})",
            seed=0,
            repeatability=repeat,
        ),
        ledger.figure(
            "e-median",
            f"median speed-up of {count} networks, timed anew",
            median(speed_ups),
            "x",
            at_least=1.4,
            sound=count == 12,
            seed=0,
            repeatability=repeat,
        ),
    ]


COLUMNS = (
    "network | groups padded | predicted | decided | timed anew | pruned / whole | "
    "aligned / whole | kept | difference"
)


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the page."""
    found = []
    for item in records:
        padded = sum(group["before"] != group["after"] for group in item["groups"])
        cells = [item["name"], f"{padded} of {len(item['groups'])}"]
        cells.append(f"{item['predicted_speed_up']:.2f}x")
        if "kept_ms" in item:
            before, after = item["decided_before_ms"], item["decided_after_ms"]
            cells.append(f"{before / after:.2f}x" if before else "-")
            cells.append(f"{item['pruned_ms'] / item['kept_ms']:.2f}x")
            cells.append(f"{item['pruned_ms'] / item['whole_ms']:.2f}")
            cells.append(f"{item['kept_ms'] / item['whole_ms']:.2f}")
            cells.append("yes" if item["kept"] else "no")
        else:
            cells += ["-"] * 5
        found.append(" | ".join([*cells, f"{item['difference']:.1e}"]))
    return found


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--table", required=True, help="of one thread, float32")
    parser.add_argument("--only", default="", help="cases whose name holds this; no ledger then")
    parser.add_argument("--rounds", type=int, help="fewer rounds; no ledger then")
    parser.add_argument("--predict-only", action="store_true")
    options = parser.parse_args()
    folder = place.folder("align")
    trial = bool(options.only or options.rounds or options.predict_only)
    table = LatencyTable.load(options.table)
    cost = fit_regression(table)
    calibration = fit_calibration(table, cost)
    done = folder / f"results-{table.device.fingerprint}.json"
    records: dict[str, Any] = {}
    if done.exists() and not trial:
        records = json.loads(done.read_text(encoding="utf-8"))
    plan = None if options.predict_only else PLAN.with_rounds(options.rounds)
    for case in cases(folder, options.only):
        if case[0] in records:
            continue
        records[case[0]] = one(case, table, cost, calibration, plan)
        print(*lines([records[case[0]]]), flush=True)
        if not trial:
            done.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    found = list(records.values())
    if trial:
        return
    note = (
        f"Widths from {Path(options.table).name} ({len(table)} rows; none of the pruned networks "
        f"is in it); {calibration.describe() if calibration else 'no calibration'}. Times are "
        "those of interleaved rounds, each in a process of its own."
    )
    ledger.write(
        "align",
        figures=figures(found),
        detail={"cases": found, "plan": str(PLAN)},
        notes=[note, ledger.table(COLUMNS, lines(found))],
        topic="budget",
    )


if __name__ == "__main__":
    main()
