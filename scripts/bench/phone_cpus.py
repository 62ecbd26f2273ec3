"""Public phone networks as what costmodel works on: kernels of each, and whole times per setting.

The data are of qed-usc/mobile-ml-benchmark (MIT), read from ``$COSTMODEL_SHARED/data/latency``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ledger import ROOT

from costmodel.device import Device
from costmodel.op import Op

DATA = Path(os.environ.get("COSTMODEL_SHARED", ROOT.parent / "shared")) / "data" / "latency"
#: What the file calls a runtime, how costmodel calls it, and the rows that its kernels are told by.
RUNTIMES = {"TFLite": "litert", "PyTorch Mobile": "pytorch-mobile"}
_TOLD_BY = {"TFLite": "TFLite GPU delegate", "PyTorch Mobile": "PyTorch Mobile Vulkan"}
_LINKED = {
    "add": "add", "hard": "hard_swish", "logistic": "sigmoid", "minimum": "clip", "mul": "mul",
    "relu": "relu", "sigmoid": "sigmoid",
}  # fmt: skip
_KINDS = {
    "adaptive_avg_pool2d": "global_average_pool", "avg_pool": "average_pool",
    "avg_pool2d": "global_average_pool", "batchnorm": "batch_norm", "clamp": "clip",
    "hardswish": "hard_swish", "max_pool2d": "max_pool", "mean": "global_average_pool",
}  # fmt: skip


def settings() -> pd.DataFrame:
    """Milliseconds of the real networks, a column per phone, core set, runtime and type."""
    rows = pd.read_parquet(DATA / "mobile_networks.parquet")
    rows = rows[(rows.space == "real") & (rows.unit == "cpu")]
    names = rows.device + "|" + rows.cores + "|" + rows.runtime + "|" + rows.dtype
    return (
        rows.assign(setting=names).groupby(["model", "setting"]).latency_us.median().unstack() / 1e3
    )


def device_of(setting: str) -> Device:
    phone, cores, runtime, dtype = setting.split("|")
    threads = sum(int(number) for number in re.findall(r"\d+", cores))
    return Device(
        name=f"{phone}, {cores}", runtime=RUNTIMES[runtime], dtype=dtype, threads=threads,
        provenance="imported",
    )  # fmt: skip


def networks() -> Mapping[str, Mapping[str, list[Op]]]:
    """Kernels of each network by the runtime's own sequence, which the GPU rows tell."""
    rows = pd.read_parquet(DATA / "mobile_gpu_ops.parquet")
    rows = rows[rows.device == "Pixel 4 GPU (Adreno 640)"].sort_values(["model", "row"])
    return {
        runtime: {
            str(model): [op_of(row) for row in part.itertuples()]
            for model, part in rows[rows.runtime == told].groupby("model")
        }
        for runtime, told in _TOLD_BY.items()
    }


def op_of(row: Any) -> Op:
    """One row of the file as the kernel that a processor runs for it, relu included."""
    nhwc = row.layout == "NHWC"

    def size(channels: int, height: int, width: int) -> tuple[int, ...]:
        return (1, height, width, channels) if nhwc else (1, channels, height, width)

    def number(value: Any) -> int:
        return 1 if pd.isna(value) else int(value)

    height, width = number(row.height), number(row.width)
    channels, out, side = map(number, (row.in_channels, row.out_channels, row.out_size))
    window, step = number(row.kernel), number(row.stride)
    linked = re.findall(r"linked_:_([a-z]+)", row.algo)
    common: dict[str, Any] = {
        "layout": "nhwc" if nhwc else "nchw",
        "epilogue": tuple(_LINKED[word] for word in linked),
    }
    image = size(channels, height, width)
    if "conv" in row.op:
        groups = number(row.groups)
        beyond = [max((side - 1) * step + window - length, 0) for length in (height, width)]
        return Op(
            kind="conv", inputs=(image,), outputs=(size(out, side, side),),
            weights=((out, channels // groups, window, window), (out,)), groups=groups,
            stride=(step, step), dilation=(1, 1),
            pads=(*(n // 2 for n in beyond), *(n - n // 2 for n in beyond)), **common,
        )  # fmt: skip
    if row.op == "dense":
        return Op(
            kind="gemm", inputs=((1, channels),), outputs=((1, out),),
            weights=((out, channels), (out,)), **common,
        )  # fmt: skip
    kind = _KINDS.get(row.op, row.op)
    if kind in {"average_pool", "max_pool"}:
        return Op(
            kind=kind, inputs=(image,), outputs=(size(channels, side, side),), stride=(step, step),
            attributes=(("kernel_shape", (window, window)),), **common,
        )  # fmt: skip
    if kind == "global_average_pool":
        return Op(kind=kind, inputs=(image,), outputs=(size(channels, 1, 1),), **common)
    if kind == "concat":
        rest = size(max(out - channels, 1), height, width)
        whole = size(max(out, channels + 1), height, width)
        return Op(kind=kind, inputs=(image, rest), outputs=(whole,), **common)
    reads = (image, image) if kind in {"add", "mul"} else (image,)
    return Op(kind=kind, inputs=reads, outputs=(image,), **common)


def times_of(table: pd.DataFrame, setting: str, names: list[str]) -> np.ndarray:
    return np.asarray(table[setting].reindex(names).to_numpy())
