"""Normalisations that nothing before them takes in, as TensorFlow Lite operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from costmodel.lite_model.convert import Converter
from costmodel.lite_model.stored import Axes, Tail, stored_constant
from costmodel.network import Layer
from costmodel.op import Op, Shape


def _batch_norm(convert: Converter, layer: Layer) -> None:
    """With nothing before it to go into: a product and a sum per channel."""
    op = layer.op
    data = convert.value(layer)
    shape = convert.shape_of(data.index)
    channels = op.inputs[0][1]
    tail, name = Tail(layer), layer.outputs[0]
    number = convert.fused(tail)
    size = tuple(channels if axis == 1 else 1 for axis in data.axes)
    while size and size[0] == 1:
        size = size[1:]
    scale = convert.weight(f"{layer.name}/scale", size)
    shift = convert.weight(f"{layer.name}/shift", size)
    product = convert.emit("MUL", [data.index, scale], shape, name=f"{name}/product", scaled=2)
    index = convert.emit(
        "ADD",
        [product, shift],
        shape,
        name=tail.name,
        covers=tail.covers,
        scaled=2,
        fused_activation_function=number,
    )
    convert.finish(tail, index, data.axes)


def _normalisation(convert: Converter, layer: Layer) -> None:
    """Mean and variance over some axes, then a scale and a shift, as TensorFlow writes it."""
    op, name = layer.op, layer.outputs[0]
    data = convert.value(layer)
    rank, shape = len(op.inputs[0]), convert.shape_of(data.index)
    first = op.attribute("axis", -1) % rank
    over = range(2, rank) if op.kind == "instance_norm" else range(first, rank)
    stored = convert.builder.constant(sorted(data.axes.index(axis) for axis in over))
    small = tuple(1 if axis in over else n for axis, n in zip(data.axes, shape, strict=True))
    weights = [
        convert.weight(f"{layer.name}/weight{i}", _channel_size(op, i, data.axes))
        for i in range(len(op.weights))
    ]
    emit = convert.emit
    mean = emit("MEAN", [data.index, stored], small, name=f"{name}/mean", keep_dims=1)
    spread = emit("SQUARED_DIFFERENCE", [data.index, mean], shape, name=f"{name}/square", scaled=2)
    variance = emit("MEAN", [spread, stored], small, name=f"{name}/variance", keep_dims=1)
    epsilon = convert.weight(f"{layer.name}/epsilon", ())
    variance = emit("ADD", [variance, epsilon], small, name=f"{name}/sum", scaled=2)
    factor = emit("RSQRT", [variance], small, name=f"{name}/rsqrt")
    wide = _wider(small, convert.shape_of(weights[0])) if weights else small
    if weights:
        factor = emit("MUL", [factor, weights[0]], wide, name=f"{name}/factor", scaled=2)
    offset = emit("MUL", [mean, factor], wide, name=f"{name}/offset", scaled=2)
    if len(weights) > 1:
        offset = emit("SUB", [weights[1], offset], wide, name=f"{name}/shift", scaled=2)
    scaled = emit("MUL", [data.index, factor], shape, name=f"{name}/scaled", scaled=2)
    index = emit("ADD", [scaled, offset], shape, name=name, covers=[layer.name], scaled=2)
    convert.put(name, index, data.axes)


def _channel_size(op: Op, position: int, axes: Axes) -> Shape:
    """Sizes of a scale: of channels in instance normalisation, of the last axes in layer's."""
    if op.kind == "instance_norm":
        shape: Shape = tuple(op.inputs[0][1] if axis == 1 else 1 for axis in axes)
    else:
        shape = stored_constant(op, axes, position)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _wider(first: Shape, second: Shape) -> Shape:
    """Sizes of what two broadcast tensors give."""
    padded = (1,) * (len(first) - len(second)) + second
    return tuple(map(max, first, padded))


def _lrn(convert: Converter, layer: Layer) -> None:
    numbers = {
        name: layer.op.attribute(name, default)
        for name, default in (("size", 1), ("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    }
    data = convert.value(layer)
    axes = (0, *range(2, len(data.axes)), 1)
    index = convert.arranged(data, axes)
    convert.carry_out(
        layer,
        "LOCAL_RESPONSE_NORMALIZATION",
        [index],
        axes,
        radius=int(numbers["size"] - 1) // 2,
        alpha=numbers["alpha"] / numbers["size"],
        beta=numbers["beta"],
        bias=numbers["bias"],
    )


RULES: Mapping[str, Callable[[Converter, Layer], None]] = {
    "batch_norm": _batch_norm,
    "instance_norm": _normalisation,
    "layer_norm": _normalisation,
    "lrn": _lrn,
}
