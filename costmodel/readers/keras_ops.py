"""Turns one Keras layer with known sizes into Ops, in the neutral channels-first order.

Layers are told apart by the name of their Keras class, so this file needs no Keras. A subclass
reads like its base unless it computes something of its own (``keras_own``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from costmodel.op import Op, Shape
from costmodel.readers.keras_activations import (
    Step,
    UnreadableError,
    activation,
    activation_steps,
    clip_op,
    function_name,
)
from costmodel.readers.keras_call import Call, pool_op, window_fields
from costmodel.readers.keras_functions import concat, function_steps, reshape, transpose
from costmodel.readers.keras_norms import NORM_RULES
from costmodel.readers.keras_own import keras_class, own_mathematics
from costmodel.readers.keras_products import PRODUCT_RULES
from costmodel.readers.keras_recurrent import RECURRENT_RULES

#: Layers that do nothing when a network is run rather than trained.
IDENTITY = frozenset(
    {"ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"}
    | {"Identity", "Masking", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"}
    | {"StochasticDepth"}
    # Changes to pictures that are made while a model is trained.
    | {"RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"}
    | {"RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur"}
    | {"RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomRotation"}
    | {"RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom"}
)
_MERGES = {
    "Add": "add", "Average": "mean", "Maximum": "max", "Minimum": "min", "Multiply": "mul",
    "Subtract": "sub", "Divide": "div",
}  # fmt: skip
#: Attributes as an exported file has them.
_GEMM = (("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0))


def layer_steps(call: Call) -> list[Step]:
    """The Ops that one call of a Keras layer or operation carries out, each reading the one before.

    Args:
        call: the layer, the neutral sizes around it, and what it was called with.

    Returns:
        Steps in order; the last one writes what the layer returns.

    Raises:
        UnreadableError: if there is no rule for this layer.
    """
    layer, title = call.layer, type(call.layer).__name__
    base = keras_class(layer)
    names = [cls.__name__ for cls in base.__mro__] if base is not None else []
    is_layer = "Layer" in names
    rules = (_MANY_RULES, _CALL_RULES, _RULES)
    name = next((name for name in names if any(name in found for found in rules)), None)
    single = is_layer and name not in _MANY_RULES
    if not call.inputs or not call.outputs or (single and len(call.outputs) != 1):
        message = f"{title} with {len(call.inputs)} inputs and {len(call.outputs)} outputs"
        raise UnreadableError(message)
    if not is_layer and base is type(layer):
        return function_steps(call)
    if not is_layer or name is None:
        message = f"there is no rule for the Keras layer {title}"
        raise UnreadableError(message)
    _check_own(call, name)
    if name in _MANY_RULES:
        return _MANY_RULES[name](call)
    if name in _CALL_RULES:
        return _CALL_RULES[name](call)
    return _RULES[name](layer, call.inputs, call.outputs[0])


def _check_own(call: Call, name: str) -> None:
    """Raise ``UnreadableError`` unless a layer's class and settings mean what its rule does."""
    size = call.inputs[0]
    ordered = getattr(call.layer, "data_format", None)
    if ordered is not None and len(size) > 2 and name not in IDENTITY | {"Flatten"}:
        last = ordered == "channels_last"
        if last != call.channels_last:
            message = f"it works on {ordered} in a model that keeps its channels elsewhere"
            raise UnreadableError(message)
    own = own_mathematics(call.layer, call.own_size(size))
    if own:
        raise UnreadableError(own)


def _layer_fields(layer: Any, size: Shape, out: Shape) -> dict[str, Any]:
    sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
    return window_fields(size, out, *map(tuple, sizes))


def _conv_op(
    size: Shape, out: Shape, filters: Shape, fields: dict[str, Any], *, bias: bool, **more: Any
) -> Op:
    """A convolution with filters, and a bias for each channel that it writes or none."""
    weights = (filters, (out[1],)) if bias else (filters,)
    return Op(**{"kind": "conv", **more}, inputs=(size,), outputs=(out,), weights=weights, **fields)


def _finish(layer: Any, op: Op) -> list[Step]:
    """``op`` and the activation that the layer was given as an argument."""
    return [Step(op=op), *activation(getattr(layer, "activation", None), op.outputs[0], "")]


def _conv(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    size = inputs[0]
    filters = (out[1], size[1] // layer.groups, *layer.kernel_size)
    fields = _layer_fields(layer, size, out)
    op = _conv_op(size, out, filters, fields, bias=layer.use_bias, groups=layer.groups)
    if layer.padding == "causal":  # everything before the first value
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        op = replace(op, pads=(reach, 0))
    return _finish(layer, op)


def _depthwise_op(layer: Any, size: Shape, out: Shape, *, bias: bool) -> Op:
    fields = _layer_fields(layer, size, out)
    return _conv_op(size, out, (out[1], 1, *layer.kernel_size), fields, bias=bias, groups=size[1])


def _depthwise(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    return _finish(layer, _depthwise_op(layer, inputs[0], out, bias=layer.use_bias))


def _separable(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    middle = (out[0], inputs[0][1] * layer.depth_multiplier, *out[2:])
    first = _depthwise_op(layer, inputs[0], middle, bias=False)
    ones = (1,) * len(out[2:])
    filters = (out[1], middle[1], *ones)
    fields = window_fields(middle, out, ones, ones, ones)
    second = _conv_op(middle, out, filters, fields, bias=layer.use_bias)
    pointwise = Step(op=second, suffix="/pointwise", reads=("",))
    return [Step(op=first), pointwise, *activation(layer.activation, out, "/pointwise")]


def _conv_transpose(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    size = inputs[0]
    filters = (size[1], out[1], *layer.kernel_size)
    # The padding of the convolution whose gradient this is: from the output back to the input.
    fields = _layer_fields(layer, out, size)
    op = _conv_op(size, out, filters, fields, bias=layer.use_bias, kind="conv_transpose")
    return _finish(layer, op)


def _dense(call: Call) -> list[Step]:
    layer, size, out = call.layer, call.inputs[0], call.outputs[0]
    bias = ((out[1],),) if layer.use_bias else ()
    if len(out) > 2:
        if not call.channels_last:
            message = f"Dense on {len(out)} axes in a model that keeps channels first"
            raise UnreadableError(message)
        # The same matrix at every position: a convolution whose window is one position.
        ones = (1,) * (len(out) - 2)
        filters = (out[1], size[1], *ones)
        fields = window_fields(size, out, ones, ones, ones)
        return _finish(layer, _conv_op(size, out, filters, fields, bias=layer.use_bias))
    weights = ((size[1], out[1]), *bias)
    op = Op(kind="matmul", inputs=(size,), outputs=(out,), weights=weights)
    if bias:
        op = replace(op, kind="gemm", attributes=_GEMM)
    return _finish(layer, op)


def _single(value: float) -> float:
    """``value`` as a file stores it, in 32 bits."""
    return float(np.float32(value))


def _plain(
    kind: str, inputs: tuple[Shape, ...], out: Shape, *attributes: tuple[str, Any]
) -> list[Step]:
    op = Op(kind=kind, inputs=inputs, outputs=(out,), attributes=attributes)
    return [Step(op=op, reads=tuple(range(len(inputs))))]


def _activation_layer(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    name = function_name(layer.activation)
    if name == "linear":
        return _plain("identity", inputs, out)
    return activation_steps(name, out, 0, "")


def _relu(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    top, slope = getattr(layer, "max_value", None), getattr(layer, "negative_slope", 0.0)
    if getattr(layer, "threshold", 0.0) or (slope and top is not None):
        message = "ReLU with a threshold, or with both a slope and a top"
        raise UnreadableError(message)
    if top is not None:
        return [Step(op=clip_op(out, float(top)))]
    if slope:
        return _plain("leaky_relu", inputs, out, ("alpha", _single(slope)))
    return _plain("relu", inputs, out)


def _pool(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    kind = "max_pool" if "Max" in type(layer).__name__ else "average_pool"
    kernel, stride = tuple(layer.pool_size), tuple(layer.strides)
    return [Step(op=pool_op(kind, inputs[0], out, kernel, stride))]


def _adaptive(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    """Windows of uneven sizes."""
    kind = "max" if "Max" in type(layer).__name__ else "average"
    return _plain(f"adaptive_{kind}_pool", inputs, out)


def _global_pool(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    kind = "global_max_pool" if "Max" in type(layer).__name__ else "global_average_pool"
    pooled = (*inputs[0][:2], *(1 for _ in inputs[0][2:]))
    first = Op(kind=kind, inputs=inputs, outputs=(pooled,))
    if pooled == out:
        return [Step(op=first)]
    axes = tuple(range(2, len(pooled)))
    squeeze = Op(
        kind="squeeze",
        inputs=(pooled,),
        outputs=(out,),
        constants=(axes,),
        attributes=(("since", 13),),
    )
    return [Step(op=first), Step(op=squeeze, suffix="/squeeze", reads=("",))]


def _merge(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    kind = next(_MERGES[c.__name__] for c in type(layer).__mro__ if c.__name__ in _MERGES)
    if kind not in {"add", "mul"} or len(inputs) <= 2:
        return _plain(kind, inputs, out)
    # Keras adds three or more one after the other.
    steps = [Step(op=Op(kind=kind, inputs=inputs[:2], outputs=(out,)), reads=(0, 1))]
    for index, extra in enumerate(inputs[2:], start=2):
        op = Op(kind=kind, inputs=(out, extra), outputs=(out,))
        steps.append(Step(op=op, suffix=f"/{index}", reads=(steps[-1].suffix, index)))
    return steps


def _pad(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    padding = layer.padding if isinstance(layer.padding[0], tuple | list) else (layer.padding,)
    begin = (0, 0, *(int(low) for low, _ in padding))
    end = (0, 0, *(int(high) for _, high in padding))
    op = Op(
        kind="pad",
        inputs=inputs,
        outputs=(out,),
        attributes=(("since", 13),),
        constants=(begin + end,),
    )
    return [Step(op=op)]


def _crop(_: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    return _plain("slice", inputs, out)


def _center_crop(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    """The middle of a picture; one that is too small is enlarged first."""
    if any(length < wanted for length, wanted in zip(inputs[0], out, strict=True)):
        return _resize(layer, inputs, out)
    return _crop(layer, inputs, out)


def _resize(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(
        getattr(layer, "interpolation", ""), "nearest"
    )
    return _plain("resize", inputs, out, ("mode", mode))


def _flatten(call: Call) -> list[Step]:
    size, out = call.inputs[0], call.outputs[0]
    if call.channels_last or len(size) < 3 or call.layer.data_format == "channels_last":
        return reshape(call)
    # Keras then flattens in the channels-last order all the same.
    order = (0, *range(2, len(size)), 1)
    turned = tuple(size[axis] for axis in order)
    first = Op(kind="transpose", inputs=(size,), outputs=(turned,), attributes=(("perm", order),))
    second = Op(kind="reshape", inputs=(turned,), outputs=(out,), constants=(out,))
    return [Step(op=first, suffix="/transpose"), Step(op=second, reads=("/transpose",))]


def _permute(call: Call) -> list[Step]:
    return transpose(call, (0, *(int(axis) for axis in call.layer.dims)))


def _each_step(call: Call) -> list[Step]:
    """TimeDistributed: its layer once over the steps of all sequences, which become one batch."""
    size, out = (call.own_size(item) for item in (call.inputs[0], call.outputs[0]))
    if len(call.inputs) > 1 or len(size) < 3 or hasattr(call.layer.layer, "_nodes_by_depth"):
        message = "TimeDistributed of a model, or over tensors without steps"
        raise UnreadableError(message)
    apart, together = (call.neutral_size((item[0] * item[1], *item[2:])) for item in (size, out))
    inner = replace(call, layer=call.layer.layer, inputs=(apart,), outputs=(together,))
    before = Op(kind="reshape", inputs=call.inputs, outputs=(apart,), constants=(apart,))
    after = Op(kind="reshape", inputs=(together,), outputs=call.outputs, constants=call.outputs)
    steps = [_inside(step, "/step", "/apart") for step in layer_steps(inner)]
    found = [
        Step(op=before, suffix="/apart"),
        *steps,
        Step(op=after, reads=(steps[-1].suffix,)),
    ]
    return [replace(step, frozen="it works inside TimeDistributed") for step in found]


def _inside(step: Step, suffix: str, source: str) -> Step:
    """A step of an inner layer; what that reads first is the step ``source``."""
    reads = tuple(f"{suffix}{ref}" if isinstance(ref, str) else source for ref in step.reads)
    return replace(step, suffix=f"{suffix}{step.suffix}", reads=reads)


def _wrapped(call: Call) -> list[Step]:
    """SpectralNormalization: a network that is not trained runs the layer inside alone."""
    steps = layer_steps(replace(call, layer=call.layer.layer))
    return [replace(step, frozen="it works inside SpectralNormalization") for step in steps]


def _rescale(layer: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    scale = Op(kind="mul", inputs=inputs, outputs=(out,), weights=((),))
    if not np.any(layer.offset):
        return [Step(op=scale)]
    offset = Op(kind="add", inputs=(out,), outputs=(out,), weights=((),))
    return [Step(op=scale), Step(op=offset, suffix="/offset", reads=("",))]


def _standardise(_: Any, inputs: tuple[Shape, ...], out: Shape) -> list[Step]:
    """Less the mean, over the deviation: constants per channel."""
    weights = ((1, out[1], *(1 for _ in out[2:])),)
    shift = Op(kind="add", inputs=inputs, outputs=(out,), weights=weights)
    scale = Op(kind="mul", inputs=(out,), outputs=(out,), weights=weights)
    return [Step(op=shift, suffix="/shift"), Step(op=scale, reads=("/shift",))]


def _fixed(kind: str) -> Callable[[Any, tuple[Shape, ...], Shape], list[Step]]:
    return lambda _, inputs, out: _plain(kind, inputs, out)


_RULES: dict[str, Callable[[Any, tuple[Shape, ...], Shape], list[Step]]] = {
    **{f"Conv{n}D": _conv for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": _conv_transpose for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _depthwise for n in (1, 2)},
    **{f"SeparableConv{n}D": _separable for n in (1, 2)},
    **{f"{k}Pooling{n}D": _pool for k in ("Max", "Average") for n in (1, 2, 3)},
    **{f"Global{k}Pooling{n}D": _global_pool for k in ("Max", "Average") for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": _pad for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _resize for n in (1, 2, 3)},
    **{f"Adaptive{k}Pooling{n}D": _adaptive for k in ("Max", "Average") for n in (1, 2, 3)},
    **{f"Cropping{n}D": _crop for n in (1, 2, 3)},
    **dict.fromkeys(_MERGES, _merge),
    **dict.fromkeys(IDENTITY, _fixed("identity")),
    "CenterCrop": _center_crop,
    "Activation": _activation_layer,
    "ELU": _fixed("elu"),
    "LeakyReLU": _relu,
    "Normalization": _standardise,
    "ReLU": _relu,
    "RepeatVector": _fixed("expand"),
    "Rescaling": _rescale,
    "Resizing": _resize,
}
#: Rules that need more than sizes: axes, or what the layer was called with.
_CALL_RULES: dict[str, Callable[[Call], list[Step]]] = {
    **NORM_RULES,
    "Concatenate": concat,
    "Dense": _dense,
    "Flatten": _flatten,
    "Permute": _permute,
    "Reshape": reshape,
}
#: Rules for layers that may read or write several tensors.
_MANY_RULES: dict[str, Callable[[Call], list[Step]]] = {
    **PRODUCT_RULES,
    **RECURRENT_RULES,
    "SpectralNormalization": _wrapped,
    "TimeDistributed": _each_step,
}
