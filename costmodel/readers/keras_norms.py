"""Turns Keras's normalisations and scalings, which work along chosen axes, into Ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from costmodel.op import Op, Shape
from costmodel.readers.keras_activations import Step, UnreadableError, softmax_attributes
from costmodel.readers.keras_call import Call


def _along(call: Call, kind: str) -> list[Step]:
    """A normalisation over some axes, with a scale and an offset where the layer has them."""
    layer, size = call.layer, call.inputs[0]
    axes = call.axes(layer.axis, len(size))
    own = tuple(size[axis] for axis in axes)
    count = sum(getattr(layer, name, None) is not None for name in ("gamma", "beta", "scale"))
    attributes = (("axes", axes), ("epsilon", _single(layer.epsilon)))
    return call.plain(kind, *attributes, weights=(own,) * count)


def _layer_norm(call: Call) -> list[Step]:
    rms = bool(getattr(call.layer, "rms_scaling", False))
    return _along(call, "rms_norm" if rms else "layer_norm")


def _rms_norm(call: Call) -> list[Step]:
    return _along(call, "rms_norm")


def _group_norm(call: Call) -> list[Step]:
    layer, size = call.layer, call.inputs[0]
    if call.neutral(layer.axis, len(size)) != 1:
        message = f"GroupNormalization along axis {layer.axis}, which is not the channels"
        raise UnreadableError(message)
    count = int(bool(layer.scale)) + int(bool(layer.center))
    attributes = (("epsilon", _single(layer.epsilon)), ("num_groups", int(layer.groups)))
    return call.plain("group_norm", *attributes, weights=((size[1],),) * count)


def _unit_norm(call: Call) -> list[Step]:
    return call.plain("unit_norm", ("axes", call.axes(call.layer.axis, len(call.inputs[0]))))


def _batch_norm(call: Call) -> list[Step]:
    layer, out = call.layer, call.outputs[0]
    axis = getattr(layer, "axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    place = call.neutral(axis, len(out))
    if place != 1:  # a scale and an offset for each position of another axis
        own = tuple(size if at == place else 1 for at, size in enumerate(out))
        scale = Op(kind="mul", inputs=(out,), outputs=(out,), weights=(own,))
        offset = replace(scale, kind="add")
        return [Step(op=scale, suffix="/scale"), Step(op=offset, reads=("/scale",))]
    attributes = (
        ("epsilon", _single(layer.epsilon)),
        ("momentum", _single(0.9)),
        ("since", 15),
        ("training_mode", 0),
    )
    return call.plain("batch_norm", *attributes, weights=((out[1],),) * 4)


def _softmax(call: Call) -> list[Step]:
    rank = len(call.inputs[0])
    return call.plain("softmax", *softmax_attributes(call.axes(call.layer.axis, rank), rank))


def _layer_scale(call: Call) -> list[Step]:
    """One learned factor per channel, as ConvNeXt has it."""
    size = call.size(call.layer.gamma.shape, len(call.outputs[0]))
    return call.plain("mul", weights=(size,))


def _custom_scale(call: Call) -> list[Step]:
    """InceptionResNetV2's ``x + scale * y``."""
    shortcut, branch = call.inputs
    scale = Op(kind="mul", inputs=(branch,), outputs=(branch,), weights=((),))
    total = Op(kind="add", inputs=(shortcut, branch), outputs=call.outputs)
    return [
        Step(op=scale, suffix="/scale", reads=(1,)),
        Step(op=total, reads=(0, "/scale")),
    ]


def _prelu(call: Call) -> list[Step]:
    alpha: Shape = tuple(int(size) for size in call.layer.alpha.shape)
    return call.plain("prelu", weights=(call.size(alpha, len(call.outputs[0]))[1:],))


def _single(value: float) -> float:
    """``value`` as a file stores it, in 32 bits."""
    return float(np.float32(value))


#: By class name.
NORM_RULES: dict[str, Callable[[Call], list[Step]]] = {
    "BatchNormalization": _batch_norm,
    "CustomScaleLayer": _custom_scale,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LayerScale": _layer_scale,
    "PReLU": _prelu,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax,
    "UnitNormalization": _unit_norm,
}
