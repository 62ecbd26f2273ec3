"""Plausible scales for quantised tensors: no time depends on them, but kernels insist on some."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.lite_model.graph import Scale

#: Of every activation whose operator asks for nothing else: real numbers from -6.4 to 6.35.
ACTIVATION = Scale(scales=(0.05,), zeros=(0,))
WEIGHT_STEP = 0.005
#: Operators whose output has one scale by definition.
_FIXED = {
    "LOGISTIC": Scale(scales=(1 / 256,), zeros=(-128,)),
    "SOFTMAX": Scale(scales=(1 / 256,), zeros=(-128,)),
    "LOG_SOFTMAX": Scale(scales=(16 / 256,), zeros=(127,)),
    "TANH": Scale(scales=(1 / 128,), zeros=(0,)),
    "L2_NORMALIZATION": Scale(scales=(1 / 128,), zeros=(0,)),
}
#: Operators that move or choose numbers, so that the output has the scale of the input.
KEEPS_SCALE = frozenset(
    {"AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS"}
    | {"GATHER", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2"}
    | {"REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
    | {"SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE"}
    | {"STRIDED_SLICE", "TILE", "TRANSPOSE", "RELU", "RELU6", "RELU_N1_TO_1"}
)
#: Operators whose weights have a scale per output channel, with the axis of the channels.
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


def output_scale(code: str, inputs: Sequence[Scale | None]) -> Scale:
    """The scale of what a quantised operator writes.

    Args:
        code: TensorFlow Lite's name of the operator.
        inputs: scales of the activations that it reads.
    """
    if code in _FIXED:
        return _FIXED[code]
    if code in KEEPS_SCALE and inputs and inputs[0] is not None:
        return inputs[0]
    return ACTIVATION


def weight_scale(channels: int, axis: int, *, per_channel: bool = True) -> Scale:
    """The scale of weights, the same number for every channel."""
    count = channels if per_channel else 1
    return Scale(scales=(WEIGHT_STEP,) * count, zeros=(0,) * count, axis=axis)


def bias_scale(data: Scale, weight: Scale) -> Scale:
    """The scale of a bias: the kernel adds it to products of data and weights as they are."""
    scales = tuple(data.scales[0] * scale for scale in weight.scales)
    return Scale(scales=scales, zeros=(0,) * len(scales))
