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

from costmodel.device import Device
from costmodel.imports.presets import PRESETS
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.op import Op
from costmodel.table import LatencyTable
from costmodel.tidy.kernel import Kernel, UnusableRow, kernel_op
from costmodel.tidy.rows import KERNEL_FIELDS
from costmodel.tidy.words import activation_word, dtype_word, kind_word, layout_word

#: A network's kernels in order, each with its time in ms.
Timed = list[tuple[Op, float]]
#: What the file of whole networks calls them.
_WHOLE = {"tflite-gpu": "TFLite", "pytorch-vulkan": "PyTorch Mobile"}
_STATE = {"source": "qed-usc/mobile-ml-benchmark", "licence": "MIT"}
#: Families by stems of networks' names, the first that a name begins with; a family that holds
#: another's blocks is left out together with it.
FAMILIES = {
    **dict.fromkeys(("bagnet", "diracnet", "dla", "hrnet"), "plain"),
    **dict.fromkeys(("densenet", "peleenet", "hardnet", "vovnet", "bninception"), "densenet"),
    **dict.fromkeys(("fbnet", "mnasnet", "proxylessnas", "spnasnet"), "searched"),
    **dict.fromkeys(("mobilenetv2", "mobilenetv3", "efficientnet", "ghostnet"), ""),
    **dict.fromkeys(("fdmobilenet", "mobilenet"), "mobilenet"),
    **dict.fromkeys(("preresnet", "sepreresnet"), "preresnet"),
    **dict.fromkeys(("resnext", "regnet"), "grouped"),
    **dict.fromkeys(("resnet", "seresnet"), "resnet"),
    "squeeze": "",
}


def folder() -> Path:
    """Where the measurements lie."""
    shared = Path(os.environ.get("COSTMODEL_SHARED", ROOT.parent / "shared"))
    return shared / "data" / "latency"


@cache
def kernels() -> pd.DataFrame:
    """Every timed kernel, in order of execution per network."""
    frame = pd.read_parquet(folder() / "mobile_gpu_ops.parquet")
    tidy = PRESETS["mobile_gpu_ops"].tidy(frame)
    return tidy.assign(model=frame.model, row=frame.row, algo=frame.algo, layer=frame.op)


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
        op = None if row["reason"] else op_of(row)
        if op is not None:
            found.setdefault(row["model"], []).append((op, row["latency_ms"]))
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
    return LatencyTable(device, [*rows, *model_rows(known, whole)])


def _row(op: Op, times: Iterable[float]) -> Measurement:
    found = sorted(times)
    middle = median(found)
    spread = (found[-1] - found[0]) / middle if len(found) > 1 else float("nan")
    return Measurement(op=op, latency_ms=middle, median_ms=middle, spread=spread)


def op_of(row: Mapping[Any, Any]) -> Op | None:
    """The Op of a line of the file as ``kernels`` gives it; None where it does not say enough."""
    said = {name: row[name] for name in KERNEL_FIELDS if name in row and not pd.isna(row[name])}
    words = {name: value for name, value in said.items() if isinstance(value, str)}
    kernel: dict[str, Any] = {n: int(value) for n, value in said.items() if n not in words}
    kernel |= words | {
        "kind": kind_word(words["kind"]),
        "layout": layout_word(words["layout"]),
        "dtype": dtype_word(words["dtype"]),
        "bias": bool(said.get("bias", False)),
        "epilogue": activation_word(words.get("epilogue", "")),
    }
    try:
        return kernel_op(Kernel(**kernel))
    except UnusableRow:
        return None


def model_rows(known: Mapping[str, Timed], whole: Mapping[str, float]) -> list[Measurement]:
    """Rows of the networks themselves, with the kernels that each of them runs."""
    return [
        _row(model_op(model, "0" * 16, tuple(op for op, _ in timed)), [whole[model]])
        for model, timed in known.items()
        if model in whole
    ]
