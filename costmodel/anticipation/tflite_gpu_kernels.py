"""Which kernel TensorFlow Lite's GPU delegate chooses for a layer: by its shape and the GPU.

From the delegate's own source (tensorflow/lite/delegates/gpu/common: ``selectors`` and
``winograd_util``), held against the traces of 102 networks on three phones by
scripts/bench/phone_networks.py. Not modelled: on Apple's and some other GPUs a small depthwise
convolution and the pointwise one behind it, without an activation between, are one kernel.
"""

from __future__ import annotations

import re
from math import prod

from costmodel.device import Device
from costmodel.op import Op

WINOGRAD = "convolution_winograd_4x4_6x6"
#: Channels that lie together in a texture.
SLICE = 4
#: Output pixels of a Winograd tile along each axis.
_TILE = 4
#: Least slices of channels read and written, and least tiles, from which on Winograd is chosen.
_SLICES, _TILES = 16, 32
_ADRENO_SLICES, _ADRENO_TILES, _ADRENO_6XX_TILES = 32, 64, 128


def family_of(op: Op, device: Device) -> str:
    """The delegate's name of the kernel that it runs for one layer.

    Args:
        op: channels last, padding inside it.
        device: the GPU's name or ``isa`` says whose it is.

    >>> from costmodel.op import conv_op
    >>> from dataclasses import replace
    >>> op = conv_op(in_channels=64, out_channels=64, size=(56, 56), kernel=(3, 3))
    >>> last = replace(op, layout="nhwc", inputs=((1, 56, 56, 64),), outputs=((1, 56, 56, 64),))
    >>> for name in ("PowerVR GE8320", "Adreno 640"):
    ...     print(family_of(last, Device(name=name, runtime="tflite-gpu")))
    convolution_winograd_4x4_6x6
    convolution_2d
    """
    if op.kind == "conv":
        return _convolution(op, device)
    if op.kind in {"max_pool", "average_pool"}:
        return "pooling_2d"
    return _NAMES.get(op.kind, op.kind)


#: The delegate's names of kinds that it calls otherwise.
_NAMES = {
    "conv_transpose": "convolution_transposed",
    "gemm": "fully_connected",
    "global_average_pool": "mean",
    "reduce_mean": "mean",
}


def _convolution(op: Op, device: Device) -> str:
    if op.is_depthwise:
        return "depthwise_convolution"
    if op.groups > 1:
        return "convolution_2d_grouped"
    if is_one_pixel(op):
        return "fully_connected"
    return WINOGRAD if _takes_winograd(op, device) else "convolution_2d"


def is_one_pixel(op: Op) -> bool:
    """Whether a convolution is a product of one row: one tap on an image of one pixel."""
    return op.groups == 1 and prod(op.spatial_in) == 1 and prod(op.kernel) == 1


def _takes_winograd(op: Op, device: Device) -> bool:
    """A plain 3 by 3 window, with channels and tiles enough to pay for two transformations."""
    if op.kernel != (3, 3) or set(op.stride) != {1} or set(op.dilation) - {1}:
        return False
    name = f"{device.name} {device.isa}".lower()
    slices, tiles = _SLICES, _TILES
    if "adreno" in name:
        newer = re.search(r"adreno\D*6\d\d", name)
        slices, tiles = _ADRENO_SLICES, _ADRENO_6XX_TILES if newer else _ADRENO_TILES
    channels = min(op.in_channels, op.out_channels)
    return (
        -(-channels // SLICE) >= slices
        and prod(-(-size // _TILE) for size in op.spatial_out) >= tiles
    )
