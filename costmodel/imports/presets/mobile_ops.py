"""Kernels of 102 CNNs timed one by one on phones' GPUs (qed-usc/mobile-ml-benchmark).

TensorFlow Lite's GPU delegate names its kernels ``<family>_<number>`` and joins what it links to
them by ``_linked_:_``; PyTorch's Vulkan kernels are ``vulkan.<name>``. Families are decided by
shape, so they become the implementation; numbers are places in a graph and go.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from costmodel.imports.presets.convolutions import SHARED, TEXTS, shared_columns
from costmodel.imports.presets.preset import Preset, mapped

if TYPE_CHECKING:
    import pandas as pd

_RUNTIMES = {"TFLite GPU delegate": "tflite-gpu", "PyTorch Mobile Vulkan": "pytorch-vulkan"}
_NUMBER = re.compile(r"(_\d+)+$")
#: A depthwise and a pointwise convolution as one kernel, whose time stands in two rows.
_PAIR = "depthwise_conv_plus_1x1_conv"
#: The one network that averages windows over maps of this side; others average the whole map.
_WINDOWED, _ODD_SIDES = "bninception", (7, 13, 27)


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = shared_columns(frame)
    tidy["runtime"] = mapped(frame["runtime"], _RUNTIMES)
    delegate = tidy["runtime"] == "tflite-gpu"
    names = frame["algo"].map(_names)
    tidy["implementation"] = names.str[0]
    tidy["epilogue"] = names.str[1]
    tidy["kind"] = _kinds(frame, tidy)
    tidy["out_height"] = frame["out_size"].where(tidy["kind"] != "global_average_pool")
    tidy["out_channels"] = frame["out_channels"].fillna(frame["in_channels"])
    concat = frame["op"] == "concat"
    # Here the window of a concatenation is how many tensors it joins.
    tidy["parts"] = frame["kernel"].where(concat)
    none = concat | (tidy["kind"] == "global_average_pool")
    tidy["kernel"] = frame["kernel"].mask(none)
    tidy["kernel_w"] = frame["kernel_w"].mask(none)
    dense = frame["op"] == "dense"
    tidy["height"], tidy["width"] = frame["height"].mask(dense), frame["width"].mask(dense)
    tidy["bias"] = tidy["kind"].isin(["conv2d", "depthwise_conv2d", "group_conv2d", "dense"])
    # A product of two maps is a squeeze-and-excitation block's gate.
    gate = (~delegate) & (frame["op"] == "mul")
    tidy["second"] = gate.map({True: "per_channel", False: ""})
    pair = tidy["implementation"] == _PAIR
    tidy["reason"] = pair.map(
        {
            True: "algo names one kernel for two convolutions, whose times cannot be told apart",
            False: "",
        }
    )
    return tidy


def _kinds(frame: pd.DataFrame, tidy: pd.DataFrame) -> pd.Series:
    """Operators, with the averages over whole maps under their own name."""
    whole = (tidy["implementation"] == "mean") & frame["op"].isin(["avg_pool", "mean"])
    unsaid = (frame["op"] == "avg_pool2d") & frame["kernel"].isna()
    last = unsaid & frame["height"].isin(_ODD_SIDES) & (frame["model"] != _WINDOWED)
    return frame["op"].mask(whole | last, "global_average_pool")


@cache
def _names(algorithm: str) -> tuple[str, str]:
    """Family of a kernel, and what is linked to it.

    >>> _names("convolution_2d_24_linked_:_add_25_linked_:_relu_26")
    ('convolution_2d', 'add+relu')
    >>> _names("convolution_winograd_4x4_6x6_57"), _names("vulkan.conv2d_pw_2x2")
    (('convolution_winograd_4x4_6x6', ''), ('vulkan.conv2d_pw_2x2', ''))
    """
    if algorithm.startswith("vulkan."):
        return algorithm, ""
    family, *linked = (_NUMBER.sub("", name) for name in algorithm.split("_linked_:_"))
    return family, "+".join(linked)


PRESET = Preset(
    name="mobile_gpu_ops",
    signature=SHARED | {"model", "row", "out_size"},
    texts=TEXTS,
    tidy=_tidy,
    source="qed-usc/mobile-ml-benchmark",
    licence="MIT",
    notes=(
        "Tensors of a concatenation after the first are taken as equally large.",
        "A sum linked to a convolution reads a tensor, unless it follows a product.",
    ),
)
