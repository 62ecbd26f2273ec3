"""Turns functions of ``keras.ops`` in a model's graph (``x[..., :8]``, ``x + y``) into Ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from costmodel.op import Op
from costmodel.readers.keras_activations import (
    Step,
    UnreadableError,
    activation_steps,
    clip_op,
    softmax_attributes,
)
from costmodel.readers.keras_call import Call, pool_op
from costmodel.readers.keras_products import PRODUCT_FUNCTIONS

Rule = Callable[[Call], list[Step]]
_BINARY = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "TrueDivide": "div",
    "Maximum": "max", "Minimum": "min", "Power": "pow",
}  # fmt: skip
_UNARY = {
    "Absolute": "abs", "Abs": "abs", "Arccos": "acos", "Arcsin": "asin", "Arctan": "atan",
    "Cast": "identity", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Elu": "elu", "Erf": "erf",
    "Exp": "exp", "Floor": "floor", "Identity": "identity", "Log": "log", "Negative": "neg",
    "Reciprocal": "reciprocal", "Round": "round", "Rsqrt": "rsqrt", "Sign": "sign", "Sin": "sin",
    "Sinh": "sinh", "Sqrt": "sqrt", "Square": "square", "Tan": "tan",
}  # fmt: skip
#: Functions that are also activations by name.
_ACTIVATIONS = {
    "Gelu": "gelu", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Relu": "relu",
    "Relu6": "relu6", "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "silu",
    "Softplus": "softplus", "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip
_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod"}


def function_steps(call: Call) -> list[Step]:
    """The Ops that one call of a ``keras.ops`` function carries out.

    Raises:
        UnreadableError: if there is no rule for this function.
    """
    name = type(call.layer).__name__
    rule = _RULES.get(name)
    if rule is None:
        message = f"there is no rule for the Keras operation {name}"
        raise UnreadableError(message)
    return rule(call)


def _binary(call: Call) -> list[Step]:
    kind = _BINARY[type(call.layer).__name__]
    rank = len(call.outputs[0])
    named = [call.settings[key] for key in ("x1", "x2") if key in call.settings]
    operands = (*call.arguments, *named)
    constants = [item for item in operands if not hasattr(item, "_keras_history")]
    weights = tuple(call.size(np.shape(item), rank) for item in constants)
    if not constants:
        return call.plain(kind)
    first = not hasattr(operands[0], "_keras_history")
    return call.plain(kind, weights=weights, operands="wd" if first else "")


def _unary(call: Call) -> list[Step]:
    return call.plain(_UNARY[type(call.layer).__name__])


def _activation(call: Call) -> list[Step]:
    return activation_steps(_ACTIVATIONS[type(call.layer).__name__], call.outputs[0], 0, "")


def _leaky(call: Call) -> list[Step]:
    slope = float(np.float32(call.layer.negative_slope))
    return call.plain("leaky_relu", ("alpha", slope))


def _clip(call: Call) -> list[Step]:
    low, high = call.layer.x_min, call.layer.x_max
    if low == 0:
        return [Step(op=clip_op(call.outputs[0], float(high)))]
    return call.plain("clip")


def _softmax(call: Call) -> list[Step]:
    rank = len(call.inputs[0])
    axes = call.axes(call.layer.axis, rank)
    kind = "log_softmax" if type(call.layer).__name__ == "LogSoftmax" else "softmax"
    return call.plain(kind, *softmax_attributes(axes, rank))


def _reduce(call: Call) -> list[Step]:
    kind = f"reduce_{_REDUCTIONS[type(call.layer).__name__]}"
    axes = call.axes(call.layer.axis, len(call.inputs[0]))
    keep = int(bool(call.layer.keepdims))
    return call.plain(kind, ("keepdims", keep), ("since", 18), constants=(axes,))


def reshape(call: Call) -> list[Step]:
    """The same values in the sizes of the result."""
    return call.plain("reshape", constants=(call.outputs[0],))


def transpose(call: Call, order: tuple[int, ...]) -> list[Step]:
    """A transposition given in the model's own axes."""
    rank = len(order)
    own = [order[call.written(axis, rank)] for axis in range(rank)]
    return call.plain("transpose", ("perm", tuple(call.neutral(axis, rank) for axis in own)))


def _transpose(call: Call) -> list[Step]:
    rank = len(call.inputs[0])
    layer, name = call.layer, type(call.layer).__name__
    places = np.arange(rank)
    if name == "Swapaxes":
        order = places.copy()
        order[[layer.axis1, layer.axis2]] = order[[layer.axis2, layer.axis1]]
    elif name == "Moveaxis":
        moved = np.moveaxis(np.empty(tuple(range(rank))), layer.source, layer.destination)
        order = np.array(moved.shape)
    else:
        order = places[::-1] if layer.axes is None else np.array(layer.axes) % rank
    return transpose(call, tuple(int(item) for item in order))


def _pad(call: Call) -> list[Step]:
    rank = len(call.inputs[0])
    widths = np.broadcast_to(np.array(call.layer.pad_width), (rank, 2)).tolist()
    own = [widths[call.written(axis, rank)] for axis in range(rank)]
    pads = tuple(int(low) for low, _ in own) + tuple(int(high) for _, high in own)
    return call.plain("pad", ("mode", str(call.layer.mode)), ("since", 13), constants=(pads,))


def _get_item(call: Call) -> list[Step]:
    """``x[a:b, ..., c]`` as a slice, and a reshape where indices take axes away."""
    size = call.inputs[0]
    key = _full_key(call.arguments[1] if len(call.arguments) > 1 else call.settings["key"], size)
    own = tuple(size[call.neutral(axis, len(size))] for axis in range(len(size)))
    starts, ends, axes, steps, middle = [], [], [], [], list(size)
    for axis, (part, length) in enumerate(zip(key, own, strict=True)):
        if isinstance(part, int):
            part = slice(part % length, part % length + 1)
        start, end, step = part.indices(length)
        if axis == 0 and part == slice(None):
            continue  # the batch, whose size is only bound for reading
        count = len(range(start, end, step))
        if axis == 0 or step < 1 or not count:
            message = f"the slice {part} of axis {axis}"
            raise UnreadableError(message)
        if count != length:
            place = call.neutral(axis, len(size))
            middle[place] = count
            starts.append(start)
            ends.append(end)
            axes.append(place)
            steps.append(step)
    out = call.outputs[0]
    constants = (tuple(starts), tuple(ends), tuple(axes), tuple(steps))
    kept = tuple(middle)
    if len(out) == len(kept):
        if not starts:
            return call.plain("identity")
        return call.plain("slice", ("since", 13), constants=constants)
    part_op = Op(
        kind="slice",
        inputs=(size,),
        outputs=(kept,),
        attributes=(("since", 13),),
        constants=constants,
    )
    merge = Op(kind="reshape", inputs=(kept,), outputs=(out,), constants=(out,))
    return [Step(op=part_op, suffix="/slice"), Step(op=merge, reads=("/slice",))]


def _full_key(key: Any, size: tuple[int, ...]) -> tuple[Any, ...]:
    """One slice or index per axis."""
    parts = tuple(key) if isinstance(key, tuple | list) else (key,)
    if any(not (isinstance(p, int | slice) or p is Ellipsis) for p in parts):
        message = f"the index {key!r}: only numbers, slices and ... are followed"
        raise UnreadableError(message)
    if Ellipsis not in parts:
        parts = (*parts, Ellipsis)
    place = parts.index(Ellipsis)
    missing = (slice(None),) * (len(size) - len(parts) + 1)
    return (*parts[:place], *missing, *parts[place + 1 :])


def _split(call: Call) -> list[Step]:
    axis = call.neutral(call.layer.axis, len(call.inputs[0]))
    parts = tuple(size[axis] for size in call.outputs)
    return call.plain("split", ("axis", axis), ("since", 13), constants=(parts,))


def concat(call: Call) -> list[Step]:
    """Tensors joined along one of the model's own axes."""
    return call.plain("concat", ("axis", call.neutral(call.layer.axis, len(call.outputs[0]))))


def _pool(call: Call) -> list[Step]:
    """Windows over positions, padded as much as takes the input to the output."""
    layer, size, out = call.layer, call.inputs[0], call.outputs[0]
    rank = len(size) - 2
    if layer.data_format not in {None, f"channels_{'last' if call.channels_last else 'first'}"}:
        message = "a pooling with channels on another axis than the model's"
        raise UnreadableError(message)
    kernel = _each(layer.pool_size, rank)
    stride = kernel if layer.strides is None else _each(layer.strides, rank)
    kind = "max_pool" if type(layer).__name__ == "MaxPool" else "average_pool"
    return [Step(op=pool_op(kind, size, out, kernel, stride))]


def _each(value: Any, rank: int) -> tuple[int, ...]:
    return (int(value),) * rank if isinstance(value, int) else tuple(map(int, value))


def _resize(call: Call) -> list[Step]:
    layer = call.layer
    if layer.antialias or layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio:
        message = "a resize with antialiasing, cropping or padding"
        raise UnreadableError(message)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(layer.interpolation, "nearest")
    return call.plain("resize", ("mode", mode))


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_ACTIVATIONS, _activation),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **PRODUCT_FUNCTIONS,
    **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims"), reshape),
    **dict.fromkeys(("Transpose", "Swapaxes", "Moveaxis"), _transpose),
    "Clip": _clip,
    "Concatenate": concat,
    "GetItem": _get_item,
    "LeakyRelu": _leaky,
    "LogSoftmax": _softmax,
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    "Pad": _pad,
    "Resize": _resize,
    "Softmax": _softmax,
    "Split": _split,
}
