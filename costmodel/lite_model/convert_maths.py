"""Products, arithmetic, normalisation and reductions as TensorFlow Lite operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from costmodel.lite_model.convert import Converter
from costmodel.lite_model.convert_gates import hard_swish
from costmodel.lite_model.convert_windows import fold_scales
from costmodel.lite_model.stored import (
    Axes,
    Tail,
    Value,
    clamp_of,
    elements,
    plain,
    stored_constant,
)
from costmodel.network import Layer
from costmodel.op import clip_bounds

_Rule = Callable[[Converter, Layer], None]
_BINARY = {
    "add": "ADD",
    "div": "DIV",
    "max": "MAXIMUM",
    "min": "MINIMUM",
    "mul": "MUL",
    "pow": "POW",
    "sub": "SUB",
    "sum": "ADD",
}
#: Of these, the ones that have a fused activation.
_WITH_ACTIVATION = frozenset({"ADD", "DIV", "MUL", "SUB"})
_UNARY = {
    "abs": "ABS",
    "ceil": "CEIL",
    "cos": "COS",
    "elu": "ELU",
    "exp": "EXP",
    "floor": "FLOOR",
    "gelu": "GELU",
    "hard_swish": "HARD_SWISH",
    "leaky_relu": "LEAKY_RELU",
    "log": "LOG",
    "neg": "NEG",
    "relu": "RELU",
    "round": "ROUND",
    "sigmoid": "LOGISTIC",
    "sin": "SIN",
    "sqrt": "SQRT",
    "tanh": "TANH",
}
_CLAMPS = {"relu": "RELU", "relu6": "RELU6", "relu_n1_to_1": "RELU_N1_TO_1"}
_REDUCTIONS = {"reduce_max": "REDUCE_MAX", "reduce_mean": "MEAN", "reduce_min": "REDUCE_MIN"} | {
    "reduce_sum": "SUM"
}


def _unary(convert: Converter, layer: Layer) -> None:
    code = _UNARY[layer.op.kind]
    options: dict[str, Any] = {}
    if code == "LEAKY_RELU":
        options["alpha"] = layer.op.attribute("alpha", 0.01)
    if code == "GELU" and layer.op.attribute("approximate") == "tanh":
        options["approximate"] = 1
    _elementwise(convert, layer, code, **options)


def _elementwise(convert: Converter, layer: Layer, code: str, **options: Any) -> None:
    """An operator with one input, whatever the order of its axes."""
    data = convert.value(layer)
    convert.carry_out(layer, code, [data.index], data.axes, **options)


def _clip(convert: Converter, layer: Layer) -> None:
    if kind := clamp_of(layer.op):
        _elementwise(convert, layer, _CLAMPS[kind])
        return
    data = convert.value(layer)
    shape, index = convert.shape_of(data.index), data.index
    finite = [
        (c, b)
        for c, b in zip(("MAXIMUM", "MINIMUM"), clip_bounds(layer.op), strict=True)
        if abs(b) < 3e38
    ]
    for code, _ in finite:
        bound = convert.weight(f"{layer.name}/{code.lower()}/bound", ())
        name = f"{layer.name}/{code.lower()}"
        index = convert.emit(code, [index, bound], shape, name=name, covers=[layer.name], scaled=2)
    convert.put(layer.outputs[0], index, data.axes)


def _hard_sigmoid(convert: Converter, layer: Layer) -> None:
    """``relu6(x + 3) / 6``, as Keras writes it."""
    if hard_swish(convert, layer):
        return
    data = convert.value(layer)
    shape, name = convert.shape_of(data.index), layer.outputs[0]
    three = convert.weight(f"{layer.name}/offset", ())
    shifted = convert.emit(
        "ADD", [data.index, three], shape, name=f"{name}/shifted", fused_activation_function=3
    )
    sixth = convert.weight(f"{layer.name}/factor", ())
    convert.carry_out(layer, "MUL", [shifted, sixth], data.axes)


def _softplus(convert: Converter, layer: Layer) -> None:
    """``log(1 + exp(x))``."""
    data = convert.value(layer)
    shape, name = convert.shape_of(data.index), layer.outputs[0]
    index = convert.emit("EXP", [data.index], shape, name=f"{name}/exp")
    one = convert.weight(f"{layer.name}/one", ())
    index = convert.emit("ADD", [index, one], shape, name=f"{name}/sum")
    convert.carry_out(layer, "LOG", [index], data.axes)


def _prelu(convert: Converter, layer: Layer) -> None:
    data = convert.value(layer)
    slope = convert.weight(f"{layer.name}/slope", stored_constant(layer.op, data.axes, 0)[-3:])
    convert.carry_out(layer, "PRELU", [data.index, slope], data.axes)


def _binary(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if hard_swish(convert, layer):
        return
    code = _BINARY[op.kind]
    rank = len(op.outputs[0])
    values = [convert.values[name] for name in layer.inputs]
    axes = next((v.axes for v in values if len(v.axes) == rank), plain(rank))
    reads = [_broadcast(convert, value, axes) for value in values]
    for position in range(len(op.weights)):
        shape = stored_constant(op, axes, position)
        while shape and shape[0] == 1:
            shape = shape[1:]
        reads.append(convert.weight(f"{layer.name}/constant{position}", shape))
    if op.operands.startswith("w"):
        reads.reverse()
    if op.constants and not op.weights:
        raise convert.refusal(layer, "works on whole numbers")
    tail = Tail(layer)
    options: dict[str, Any] = {}
    if code in _WITH_ACTIVATION:
        options["fused_activation_function"] = convert.fused(tail)
    shape = tuple(op.outputs[0][axis] for axis in axes)
    index = reads[0]
    for position, other in enumerate(reads[1:], 1):
        final = position == len(reads) - 1
        index = convert.emit(
            code,
            [index, other],
            shape,
            name=tail.name if final else f"{layer.name}/part{position}",
            covers=tail.covers if final else [],
            scaled=2,
            **(options if final else {}),
        )
    convert.finish(tail, index, axes)


def _broadcast(convert: Converter, value: Value, axes: Axes) -> int:
    """A tensor with as many axes as the result, in its order."""
    rank, own = len(axes), len(value.axes)
    if own == rank:
        return convert.arranged(value, axes)
    index = convert.arranged(value, plain(own))
    shape = (1,) * (rank - own) + convert.shape_of(index)
    target = convert.builder.constant(shape)
    name = f"{convert.builder.tensors[index].name}/wide"
    index = convert.emit("RESHAPE", [index, target], shape, name=name)
    return convert.arranged(Value(index=index, axes=plain(rank)), axes)


def _gemm(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if len(op.inputs) != 1 or not op.weights or op.operands[:1] not in {"", "d"}:
        raise convert.refusal(layer, "needs constant weights on the right")
    if op.attribute("transA"):
        raise convert.refusal(layer, "reads its input transposed")
    taken, given = op.inputs[0][-1], op.outputs[0][-1]
    _fully_connected(convert, layer, taken, given, biased=len(op.weights) > 1)


def _fully_connected(
    convert: Converter, layer: Layer, taken: int, given: int, *, biased: bool
) -> None:
    rank = len(layer.op.outputs[0])
    tail = Tail(layer)
    data = convert.arranged(convert.value(layer), plain(len(layer.op.inputs[0])))
    weight = convert.weight(f"{layer.name}/weight", (given, taken), "FULLY_CONNECTED")
    later = convert.sole_reader(layer)
    if rank == 2:
        fold_scales(convert, tail, given)
        biased = biased or tail.layer is not layer
    elif later is not None and later.op.kind == "add" and later.op.weights == ((given,),):
        convert.extend(tail, [later], tail.order)
        biased = True
    number = convert.fused(tail)
    bias = convert.bias(f"{layer.name}/bias", data, weight, given) if biased else -1
    index = convert.emit(
        "FULLY_CONNECTED",
        [data, weight, *([bias] if biased else [])],
        layer.op.outputs[0],
        name=tail.name,
        covers=tail.covers,
        keep_num_dims=int(rank > 2),
        fused_activation_function=number,
    )
    convert.finish(tail, index, plain(rank))


def _matmul(convert: Converter, layer: Layer) -> None:
    op = layer.op
    right = [len(shape) for shape in op.weights] == [2] and op.operands[:1] in {"", "d"}
    if right and len(op.inputs) == 1:
        _fully_connected(convert, layer, *op.weights[0], biased=False)
        return
    reads = [
        convert.arranged(convert.values[name], plain(len(convert.values[name].axes)))
        for name in layer.inputs
    ]
    reads += [convert.weight(f"{layer.name}/weight", shape) for shape in op.weights]
    if op.operands.startswith("w"):
        reads.reverse()
    convert.carry_out(layer, "BATCH_MATMUL", reads, plain(len(op.outputs[0])))


def _softmax(convert: Converter, layer: Layer) -> None:
    """Along the last stored axis; older operator sets flatten all axes from theirs on."""
    op = layer.op
    rank = len(op.inputs[0])
    old = op.attribute("since", 13) < 13
    axis = op.attribute("axis", 1 if old else -1) % rank
    data = convert.value(layer)
    if old and elements(op.inputs[0][axis + 1 :]) == 1:
        pass  # nothing is flattened but axes of size 1
    elif old and axis != rank - 1:
        raise convert.refusal(layer, f"flattens its axes from {axis} on")
    axes = data.axes
    if (
        axes[-1] != axis
        and elements(tuple(op.inputs[0][a] for a in axes[axes.index(axis) + 1 :])) == 1
    ):
        axes = (*(a for a in axes if a != axis), axis)
    elif axes[-1] != axis:
        axes = (*(a for a in plain(rank) if a != axis), axis)
    index = convert.arranged(data, axes)
    code = "LOG_SOFTMAX" if op.kind == "log_softmax" else "SOFTMAX"
    options: dict[str, Any] = {"beta": 1.0} if code == "SOFTMAX" else {}
    convert.carry_out(layer, code, [index], axes, **options)


def _reduction(convert: Converter, layer: Layer) -> None:
    op = layer.op
    rank = len(op.inputs[0])
    named = op.constants[0] if op.constants else op.attribute("axes", tuple(range(rank)))
    over = {int(axis) % rank for axis in named}
    data = convert.value(layer)
    stored = sorted(data.axes.index(axis) for axis in over)
    kept = bool(op.attribute("keepdims", 1))
    axes = data.axes
    if not kept:
        left = sorted(set(range(rank)) - over)
        axes = tuple(left.index(axis) for axis in data.axes if axis in left)
    convert.carry_out(
        layer,
        _REDUCTIONS[op.kind],
        [data.index, convert.builder.constant(stored)],
        axes,
        keep_dims=int(kept),
    )


RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "clip": _clip,
    "gemm": _gemm,
    "hard_sigmoid": _hard_sigmoid,
    "log_softmax": _softmax,
    "matmul": _matmul,
    "prelu": _prelu,
    "softmax": _softmax,
    "softplus": _softplus,
}
