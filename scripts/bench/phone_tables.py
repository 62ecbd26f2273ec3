"""Tables of phones' GPUs from other people's measurements, for the scripts of this folder.

Kernels of 102 real networks with their times, and the networks' own (``mobile_gpu_ops`` and
``mobile_networks`` of the shared data, MIT licence): read-only, never part of the project.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from ledger import ROOT

from costmodel.anticipation.tflite_gpu_kernels import WINOGRAD
from costmodel.device import Device
from costmodel.lite_model.kernels import same_pads
from costmodel.measurement import Measurement
from costmodel.op import Op, Shape, model_op
from costmodel.table import LatencyTable

#: A network's kernels in order, each with its time in ms.
Timed = list[tuple[Op, float]]
RUNTIMES = {"TFLite GPU delegate": "tflite-gpu", "PyTorch Mobile Vulkan": "pytorch-vulkan"}
#: What the file of whole networks calls them.
_WHOLE = {"tflite-gpu": "TFLite", "pytorch-vulkan": "PyTorch Mobile"}
_STATE = {"source": "qed-usc/mobile-ml-benchmark", "licence": "MIT"}
#: A kernel that the trace lists under two layers, so that nobody knows the time of either.
_OF_TWO = "depthwise_conv_plus_1x1_conv"
#: Families by stems of networks' names, the first that a name begins with; a family that holds
#: another's blocks is left out together with it.
FAMILIES = {
    **dict.fromkeys(("bagnet", "diracnet", "dla"), "other plain"),
    **dict.fromkeys(("densenet", "peleenet"), "densenet"),
    **dict.fromkeys(("fbnet", "mnasnet", "proxylessnas", "spnasnet"), "searched"),
    **dict.fromkeys(("fdmobilenet", "mobilenetv2", "mobilenetv3"), ""),
    **dict.fromkeys(("hardnet", "vovnet"), "hardnet"),
    **dict.fromkeys(("preresnet", "sepreresnet"), "preresnet"),
    **dict.fromkeys(("resnext", "regnet", "hrnet", "mobilenet", "efficientnet", "ghostnet"), ""),
    **dict.fromkeys(("resnet", "seresnet"), "resnet"),
    **dict.fromkeys(("bninception", "squeeze"), ""),
}
#: Kinds of PyTorch's layers in the project's words.
_TORCH = {
    "add": "add",
    "adaptive_avg_pool2d": "global_average_pool",
    "avg_pool2d": "average_pool",
    "batchnorm": "batch_norm",
    "clamp": "clip",
    "hardswish": "hard_swish",
    "max_pool2d": "max_pool",
    "mul": "mul",
    "relu": "relu",
    "sigmoid": "sigmoid",
}


def folder() -> Path:
    """Where the measurements lie."""
    shared = Path(os.environ.get("COSTMODEL_SHARED", ROOT.parent / "shared"))
    return shared / "data" / "latency"


@cache
def kernels() -> pd.DataFrame:
    """Every timed kernel, in order of execution per network."""
    frame = pd.read_parquet(folder() / "mobile_gpu_ops.parquet")
    return frame.assign(runtime=frame.runtime.map(RUNTIMES))


@cache
def networks() -> pd.DataFrame:
    """Every network timed whole on a GPU."""
    frame = pd.read_parquet(folder() / "mobile_networks.parquet")
    return frame[(frame.unit == "gpu") & (frame.space == "real")]


def pairs() -> list[tuple[str, str]]:
    """Devices and runtimes that there are kernels of."""
    found = kernels()[["device", "runtime"]].drop_duplicates()
    return sorted((str(d), str(r)) for d, r in found.itertuples(index=False))


def device_of(name: str, runtime: str) -> Device:
    """A phone's GPU."""
    return Device(name=name, runtime=runtime, dtype="float16", provenance="imported", state=_STATE)


def family_of(model: str) -> str:
    """The family of a network by its name."""
    stem = next(stem for stem in FAMILIES if model.startswith(stem))
    return FAMILIES[stem] or stem


def own_family(algo: str) -> str:
    """A kernel's family as the trace has it: its name without numbers and without its tail.

    >>> own_family("convolution_2d_3_linked_:_relu_4"), own_family("vulkan.conv2d_dw_3x3")
    ('convolution_2d', 'vulkan.conv2d_dw_3x3')
    """
    first = algo.partition("_linked")[0]
    return re.sub(r"(_\d+)+$", "", first)


def sequences(name: str, runtime: str) -> dict[str, Timed]:
    """Kernels and times in ms of each network on a device."""
    frame = kernels()
    own = frame[(frame.device == name) & (frame.runtime == runtime)].sort_values("row")
    found: dict[str, Timed] = {}
    for row in own.to_dict("records"):
        if own_family(row["algo"]).startswith(_OF_TWO):
            continue
        op = op_of(row)
        found.setdefault(row["model"], []).append((op, row["latency_us"] / 1000.0))
    return found


def whole_ms(name: str, runtime: str) -> dict[str, float]:
    """Time in ms of each network on a device."""
    frame = networks()
    phone = name.partition(" GPU")[0]
    own = frame[(frame.device == phone) & (frame.runtime == _WHOLE[runtime])]
    return dict(zip(own.model, own.latency_us / 1000.0, strict=True))


def table_of(
    device: Device,
    known: Mapping[str, Timed],
    whole: Mapping[str, float],
) -> LatencyTable:
    """A table of the kernels of some networks, and of those networks themselves."""
    times: dict[Op, list[float]] = {}
    for timed in known.values():
        for op, latency_ms in timed:
            times.setdefault(op, []).append(latency_ms)
    rows = [_row(op, found) for op, found in times.items()]
    for model, timed in known.items():
        if model in whole:
            ops = tuple(op for op, _ in timed)
            rows.append(_row(model_op(model, "0" * 16, ops), [whole[model]]))
    return LatencyTable(device, rows)


def _row(op: Op, times: Iterable[float]) -> Measurement:
    found = sorted(times)
    middle = median(found)
    spread = (found[-1] - found[0]) / middle if len(found) > 1 else float("nan")
    return Measurement(op=op, latency_ms=middle, median_ms=middle, spread=spread)


def op_of(row: Mapping[Any, Any]) -> Op:
    """The Op of one line of the file."""
    return _torch_op(row) if row["runtime"] == "pytorch-vulkan" else _lite_op(row)


def _int(row: Mapping[Any, Any], name: str, default: int = 1) -> int:
    value = row[name]
    return default if pd.isna(value) else int(value)


def _lite_op(row: Mapping[Any, Any]) -> Op:
    family = own_family(row["algo"])
    tail = tuple(re.findall(r"_linked_:_([a-z_]+?)(?=_\d+|$|_linked)", row["algo"]))
    kind, height, width = row["op"], _int(row, "height"), _int(row, "width")
    read, written = _int(row, "in_channels"), _int(row, "out_channels", 0)
    common: dict[str, Any] = {
        "implementation": family,
        "dtype": "float16",
        "layout": "nhwc",
        "epilogue": () if family == WINOGRAD else tail,
    }
    size = (1, height, width, read)
    if family == "fully_connected":
        return Op(
            kind="gemm",
            inputs=((1, read),),
            outputs=((1, written),),
            weights=((written, read), (written,)),
            **{**common, "layout": "nchw"},
        )
    if family == "mean":
        pooled = (1, 1, 1, read)
        return Op(kind="global_average_pool", inputs=(size,), outputs=(pooled,), **common)
    out = _int(row, "out_size")
    if kind == "concat":
        count = _int(row, "kernel")
        rest, left = divmod(written - read, max(1, count - 1))
        parts = [read, *(rest + (place < left) for place in range(count - 1))]
        return Op(
            kind="concat",
            inputs=tuple((1, height, width, part) for part in parts),
            outputs=((1, height, width, written),),
            attributes=(("axis", 3),),
            **common,
        )
    return _window(row, (1, height, width, read), (1, out, out, written or read), common)


def _torch_op(row: Mapping[Any, Any]) -> Op:
    kind, height, width = row["op"], _int(row, "height"), _int(row, "width")
    read, written = _int(row, "in_channels"), _int(row, "out_channels", 0)
    common: dict[str, Any] = {"implementation": own_family(row["algo"]), "dtype": "float16"}
    size = (1, read, height, width)
    if kind == "dense":
        return Op(
            kind="gemm",
            inputs=((1, read),),
            outputs=((1, written),),
            weights=((written, read), (written,)),
            **common,
        )
    if kind == "adaptive_avg_pool2d":
        kind, shape = "global_average_pool", (1, read, 1, 1)
        return Op(kind=kind, inputs=(size,), outputs=(shape,), **common)
    if kind in {"add", "mul"}:
        second = size if kind == "add" else (1, read, 1, 1)  # a gate's product
        return Op(kind=kind, inputs=(size, second), outputs=(size,), **common)
    if kind in {"batchnorm", "clamp", "hardswish", "relu", "sigmoid"}:
        weights = ((read,),) * 4 if kind == "batchnorm" else ()
        return Op(kind=_TORCH[kind], inputs=(size,), outputs=(size,), weights=weights, **common)
    kernel, stride, pad = _int(row, "kernel"), _int(row, "stride"), _int(row, "pad", 0)
    out = (height + 2 * pad - kernel) // stride + 1
    return _window(row, size, (1, written or read, out, out), common)


def _window(row: Mapping[Any, Any], size: Shape, result: Shape, common: Mapping[str, Any]) -> Op:
    last = common.get("layout") == "nhwc"
    kernel = (_int(row, "kernel"), _int(row, "kernel_w", _int(row, "kernel")))
    stride = (_int(row, "stride"),) * 2
    dilation = (_int(row, "dilation"),) * 2
    inner, outer = (s[1:3] if last else s[2:] for s in (size, result))
    pad = row["pad"]
    pads = same_pads(inner, outer, kernel, stride, dilation) if pd.isna(pad) else (int(pad),) * 4
    read, written = ((s[3] if last else s[1]) for s in (size, result))
    given: dict[str, Any] = {"stride": stride, "pads": pads, **common}
    inputs: tuple[Shape, ...] = (size,)
    if "pool" in row["op"]:
        kind = "max_pool" if row["op"].startswith("max") else "average_pool"
        given["attributes"] = (("kernel_shape", kernel),)
    else:
        kind, groups = "conv", _int(row, "groups")
        given |= {"groups": groups, "weights": ((written, read // groups, *kernel), (written,))}
        tail = common.get("epilogue", ())
        sums = sum(a == "add" and b != "mul" for a, b in zip(tail, ("", *tail), strict=False))
        inputs += (result,) * sums
        given |= {"dilation": dilation, "operands": "dww" + "d" * sums if sums else ""}
    return Op(kind=kind, inputs=inputs, outputs=(result,), **given)
