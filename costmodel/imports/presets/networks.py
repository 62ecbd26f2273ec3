"""Lists of whole networks: CNNs on phones, and ncnn's benchmark on boards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from costmodel.imports.presets.preset import Preset, mapped

if TYPE_CHECKING:
    import pandas as pd

#: What the phones' GPUs are called where their kernels were timed, so that both are one device.
_PHONE_GPUS = {
    "Galaxy A03s": "PowerVR GE8320",
    "Motorola One Fusion": "Adreno 616",
    "Pixel 4": "Adreno 640",
    "iPhone 7": "Apple A10 GPU",
}
_TEXTS = frozenset(
    ["device", "soc", "unit", "cores", "runtime", "dtype", "space", "model", "source"]
)
_ON_CPU = {"TFLite": "tflite", "PyTorch Mobile": "pytorch-mobile"}
_ON_GPU = {"TFLite": "tflite-gpu", "PyTorch Mobile": "pytorch-vulkan"}
#: Of boards with several GPUs.
_VULKAN = {0: "vulkan", 1: "vulkan-1", 2: "vulkan-2"}


def _mobile(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = frame[["dtype"]].copy()
    gpu = frame["unit"] == "gpu"
    on_gpu = frame["device"] + " GPU (" + mapped(frame["device"], _PHONE_GPUS) + ")"
    tidy["device"] = (frame["device"] + " (" + frame["soc"] + ")").mask(gpu, on_gpu)
    tidy["runtime"] = mapped(frame["runtime"], _ON_CPU).mask(gpu, mapped(frame["runtime"], _ON_GPU))
    tidy["cores"] = frame["cores"].mask(gpu)
    tidy["threads"] = frame["cores"].map(_threads)
    tidy["kind"] = "model"
    tidy["name"] = frame["model"]
    tidy["latency_ms"] = frame["latency_us"] / 1e3
    tidy["deviation_ms"] = frame["latency_us_std"] / 1e3
    return tidy


def _threads(cores: str) -> int:
    """Cores of a set such as ``1large1med``; 1 for a GPU.

    >>> _threads("1large1med"), _threads("gpu")
    (2, 1)
    """
    return sum(map(int, re.findall(r"\d+", cores))) or 1


def _ncnn(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = frame[["device", "runtime"]].copy()
    integer = frame["dtype"] == "int8"
    tidy["provider"] = frame["gpu_device"].map(_VULKAN).fillna("")
    tidy["threads"] = frame["num_threads"]
    tidy["cores"] = frame["powersave"].map({0: "", 1: "little", 2: "big"})
    # ncnn computes in float16 where the board can and in float32 elsewhere; its list does not say.
    tidy["dtype"] = integer.map({True: "int8", False: "float16"})
    tidy["kind"] = "model"
    tidy["name"] = frame["model"]
    tidy["latency_ms"] = frame["latency_ms"]
    return tidy


MOBILE = Preset(
    name="mobile_networks",
    signature=frozenset({"device", "soc", "unit", "cores", "space", "model", "latency_us"}),
    texts=_TEXTS,
    tidy=_mobile,
    source="qed-usc/mobile-ml-benchmark",
    licence="MIT",
)
NCNN = Preset(
    name="ncnn_networks",
    signature=frozenset(
        {"device", "model", "num_threads", "gpu_device", "powersave", "latency_ms"}
    ),
    texts=_TEXTS,
    tidy=_ncnn,
    source="Tencent/ncnn, its benchmark's list",
    licence="BSD-3-Clause",
    notes=("Networks that are not int8 are taken as float16, ncnn's default where a board can.",),
)
