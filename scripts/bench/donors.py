"""A device of 10, 50 and 150 rows that starts from another device's table, against 300 rows alone.

    python scripts/bench/donors.py --measure   # OpenVINO held to AVX2, 8 minutes, the machine alone
    python scripts/bench/donors.py --kind development
    python scripts/bench/donors.py

Tables are the shipped profiles, and one measured here on kernels held to AVX2. Of the new device
30 % of the rows, at most 400, are held out; rows to learn from are drawn from the others, or chosen
by the donor before any time is known. What a donor of noise does is asked with a donor whose times
are shuffled. How prices are mixed was chosen on the pairs called development. Each pair's figures
are kept, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import ledger
import numpy as np
import place

from costmodel.costs.donors import DonatedRegression, choose_telling
from costmodel.costs.features import is_learnable
from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable
from costmodel.uses.profiling import profile

EPYC = "amd-epyc-family-25-model-17"
PIXEL, GALAXY = "pixel-4-gpu-adreno-640", "galaxy-a03s-gpu-powervr-ge8320"
IPHONE, MOTOROLA = "iphone-7-gpu-apple-a10-gpu", "motorola-one-fusion-gpu-adreno-616"
MI25, MI50 = "amd-mi25-vega-64-class-gfx900-64-cu", "amd-mi50-radeon-vii-gfx906-60-cu"
MI100 = "amd-mi100-gfx908-120-cu"
TFLITE, VULKAN = "tflite-gpu-float16", "pytorch-vulkan-float16"
AVX2 = place.WORK / "donors-avx2.jsonl"

DEVELOPMENT = (
    ("threads, LiteRT", f"{EPYC}/litert-float32", f"{EPYC}/litert-float32-t2"),
    ("runtime", f"{EPYC}/onnxruntime-float32", f"{EPYC}/litert-float32"),
    ("TPU estimates", "tpu-v4/xla-bfloat16", "tpu-v5e/xla-bfloat16"),
    ("phone GPUs", f"{PIXEL}/{TFLITE}", f"{GALAXY}/{TFLITE}"),
    ("phone GPUs", f"{MOTOROLA}/{VULKAN}", f"{PIXEL}/{VULKAN}"),
    ("phone GPUs, runtime", f"{PIXEL}/{TFLITE}", f"{MOTOROLA}/{VULKAN}"),
    ("GPUs", "nvidia-k80/cudnn-float32", "nvidia-m60/cudnn-float32"),
    ("GPUs", f"{MI25}/miopen-float32", f"{MI50}/miopen-float32"),
)
REPORTED = (
    ("threads", f"{EPYC}/onnxruntime-float32", f"{EPYC}/onnxruntime-float32-t2"),
    ("AVX-512 to AVX2", f"{EPYC}/openvino-float32", str(AVX2)),
    ("TPU estimates", "tpu-v5p/xla-bfloat16", "tpu-v6e/xla-bfloat16"),
    ("phone GPUs", f"{GALAXY}/{TFLITE}", f"{IPHONE}/{TFLITE}"),
    ("phone GPUs", f"{IPHONE}/{TFLITE}", f"{PIXEL}/{TFLITE}"),
    ("phone GPUs", f"{PIXEL}/{VULKAN}", f"{MOTOROLA}/{VULKAN}"),
    ("phone GPUs, runtime", f"{PIXEL}/{VULKAN}", f"{GALAXY}/{TFLITE}"),
    ("GPUs", "nvidia-m60/cudnn-float32", "nvidia-gtx-1080-ti/cudnn-float32"),
    ("GPUs", f"{MI50}/miopen-float32", f"{MI100}/miopen-float32"),
)
SEEDS, COUNTS, FEW, ALONE = (0, 1, 2), (10, 50, 150), 50, 300
HELD_OUT, MOST_HELD_OUT = 0.3, 400
#: Rows that the donor chooses among, and rows of a donor of noise.
CANDIDATES, NOISE_ROWS = 1_000, 600
MINUTES = 8
#: A donor of noise may cost so much of the error alone, which is what three draws leave open.
NO_HARM = 1.05

Errors = dict[str, float]


def rows_of(name: str) -> list[Measurement]:
    """Rows of a table that a regression learns from."""
    return [r for r in LatencyTable.load(name).kernels() if r.has_number and is_learnable(r.op)]


@cache
def donor(name: str) -> Regression:
    """A donor's regression."""
    return Regression(rows_of(name), device=device_of(name))


@cache
def device_of(name: str) -> Device:
    """A table's device."""
    return LatencyTable.load(name).device


@cache
def noise(name: str) -> Regression:
    """The same kernels with each other's times."""
    rows = rows_of(name)[:NOISE_ROWS]
    times = np.random.default_rng(1).permutation([row.latency_ms for row in rows])
    shuffled = [replace(r, latency_ms=float(t)) for r, t in zip(rows, times, strict=True)]
    return Regression(shuffled, device=device_of(name))


def errors_of(cost: CostModel, test: Sequence[Measurement]) -> Errors:
    """How far prices are off; a kernel without a price counts as wholly wrong."""
    prices = cost.price([row.op for row in test])
    truth = np.array([row.latency_ms for row in test])
    error = np.abs(np.where(np.isfinite(prices.values), prices.values / truth - 1.0, 1.0))
    return {
        "mape": float(error.mean()),
        "median": float(np.median(error)),
        "within_10": float((error <= 0.1).mean()),
        "coverage": float(((prices.low <= truth) & (truth <= prices.high)).mean()),
    }


def pair_figures(giver: str, taker: str) -> dict[str, Errors]:
    """Mean errors over the seeds, by who learned from what."""
    rows, device = rows_of(taker), device_of(taker)
    found: dict[str, list[Errors]] = {}
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(rows))
        held = min(MOST_HELD_OUT, int(HELD_OUT * len(rows)))
        test = [rows[i] for i in order[:held]]
        pool = [rows[i] for i in order[held:]]
        by_op = {row.op: row for row in pool[:CANDIDATES]}

        def told(name: str, cost: CostModel, test: list[Measurement] = test) -> None:
            found.setdefault(name, []).append(errors_of(cost, test))

        told(f"{ALONE} alone", Regression(pool[:ALONE], device=device))
        for count in COUNTS:
            drawn, helper = pool[:count], donor(giver)
            told(f"{count} alone", Regression(drawn, device=device))
            ops = choose_telling([helper], list(by_op), count, device=device)
            chosen = [by_op[op] for op in ops]
            told(f"{count} donor, chosen", DonatedRegression(chosen, [helper], device=device))
            if count == FEW:
                told(f"{count} donor", DonatedRegression(drawn, [helper], device=device))
                told(f"{count} noise", DonatedRegression(drawn, [noise(giver)], device=device))
    return {
        name: {key: float(np.mean([item[key] for item in each])) for key in each[0]}
        for name, each in found.items()
    }


def kept(giver: str, taker: str) -> dict[str, Errors]:
    """A pair's figures, computed unless this commit has computed them."""
    name = f"{zlib.crc32(f'{giver}>{taker}'.encode()):08x}-{ledger.commit()}.json"
    path = place.folder("donors") / name
    if not path.is_file():
        path.write_text(json.dumps(pair_figures(giver, taker)))
        print(giver, taker, *json.loads(path.read_text()).items(), sep="\n  ", flush=True)
    return dict(json.loads(path.read_text()))


def short(name: str) -> str:
    """A table's name for people."""
    return Path(name).stem if name.endswith(".jsonl") else name


def figures_of(what: str, taker: str, found: dict[str, Errors]) -> list[ledger.Figure]:
    """Whether 50 rows and a donor are as good as 300 rows, and whether noise does harm."""
    name = f"d-{what.replace(' ', '-').replace(',', '')}-{short(taker)}"
    few, many = found[f"{FEW} donor, chosen"], found[f"{ALONE} alone"]
    both = f"{FEW} rows and a donor against {ALONE} alone"
    harm = found[f"{FEW} noise"]["median"] / found[f"{FEW} alone"]["median"]
    return [
        ledger.figure(f"{name}-mape", f"{what}: MAPE, {both}",
                      few["mape"] / many["mape"], "times", at_most=1.0),
        ledger.figure(f"{name}-within", f"{what}: within 10 %, {both}",
                      few["within_10"] - many["within_10"], "share", at_least=0.0),
        ledger.figure(f"{name}-noise", f"{what}: median error with a donor of noise over alone",
                      harm, "times", at_most=NO_HARM),
    ]  # fmt: skip


def measure() -> None:
    """Kernels of OpenVINO held to AVX2."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # read once, before the first model is compiled
    AVX2.parent.mkdir(parents=True, exist_ok=True)
    print(profile(AVX2, runner="openvino", samples=450, threads=1, budget=f"{MINUTES}m"))


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--measure", action="store_true", help="only measure the AVX2 table")
    parser.add_argument("--kind", choices=["development", "reported"], default="reported")
    options = parser.parse_args()
    if options.measure:
        measure()
        return
    ledger.require_clean_tree()
    wanted = DEVELOPMENT if options.kind == "development" else REPORTED
    figures, lines, detail = [], [], {}
    for what, giver, taker in wanted:
        if taker == str(AVX2) and not AVX2.is_file():
            print(f"Without {what}: measure its table first, with --measure.", flush=True)
            continue
        found = kept(giver, taker)
        figures += figures_of(what, taker, found)
        detail[f"{short(giver)} > {short(taker)}"] = found
        lines += [
            f"{short(giver)} | {short(taker)} | {name} | {e['mape']:.1%} | {e['median']:.1%} | "
            f"{e['within_10']:.1%} | {e['coverage']:.0%}"
            for name, e in found.items()
        ]
    columns = "donor | device | rows | MAPE | median | within 10 % | in the 90 % interval"
    ledger.write(
        "donors" if options.kind == "reported" else "donors-development",
        topic="other-devices", figures=figures, detail={"pairs": detail},
        notes=[f"Mean of seeds {SEEDS}.", ledger.table(columns, lines)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
