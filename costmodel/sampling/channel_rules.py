"""How each type of ONNX node passes channels on, and which of its operands they size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx

from costmodel.op import Shape
from costmodel.sampling.channels import Channels, Edit, Ids, Rule, Tracer
from costmodel.sampling.constants import attributes_of, axes_of, target_shape

#: Largest tensor whose elements are followed through a reshape one by one.
_MAX_RESHAPE = 1 << 24

_PASS = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid"),
    *("HardSwish", "Tanh", "Clip", "Exp", "Log", "Sqrt", "Abs", "Neg", "Erf", "Softplus"),
    *("Softsign", "Gelu", "Mish", "Identity", "Dropout", "Cast", "Floor", "Ceil", "Reciprocal"),
)
_JOIN = ("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Pow", "PRelu")
_SPATIAL = (
    *("MaxPool", "AveragePool", "LpPool", "LRN"),
    *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
)
_REDUCE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")


def _same(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    return tracer.of(node.input[0])


def _spatial(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    found = tracer.of(node.input[0])
    return found if found is not None and found.axis == 1 else None


def _conv(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    weight = tracer.constant(node.input[1])
    source = tracer.of(node.input[0])
    groups = attributes_of(node).get("group", 1)
    transposed = node.op_type == "ConvTranspose"
    if source is not None and source.axis != 1:
        return None
    if groups == 1:
        if source is not None:
            tracer.take(index, 1, 0 if transposed else 1, source.ids)
        out_axis = 1 if transposed else 0
        count = weight.shape[out_axis]
        out = tracer.produce(node.output[0], count=count, axis=1, rank=weight.ndim)
        tracer.take(index, 1, out_axis, out.ids)
    elif source is not None and groups == len(source.ids) and not transposed:
        repeat = weight.shape[0] // len(source.ids)  # each channel has as many filters of its own
        ids = np.repeat(source.ids, repeat)
        out = Channels(axis=1, rank=weight.ndim, ids=ids)
        tracer.take(index, 1, 0, ids)
        tracer.note(Edit(node=index, operand=0, axis=0, ids=source.ids, form="groups"))
    else:
        return None
    _bias(tracer, index, node, 2, out.ids)
    return out


def _bias(tracer: Tracer, index: int, node: onnx.NodeProto, operand: int, ids: Ids) -> None:
    """The optional bias of a producer; a bias that is computed keeps all channels."""
    if len(node.input) <= operand or not node.input[operand]:
        return
    name = node.input[operand]
    if not tracer.is_constant(name):
        tracer.tie(ids, tracer.frozen(len(ids)))
        return
    shape = tracer.constant(name).shape
    if shape and shape[-1] == len(ids) and prod(shape) == len(ids):
        tracer.take(index, operand, len(shape) - 1, ids)
    elif prod(shape) != 1:
        tracer.tie(ids, tracer.frozen(len(ids)))


def _gemm(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    attributes = attributes_of(node)
    source = tracer.of(node.input[0])
    weight = tracer.constant(node.input[1])
    transposed = int(attributes.get("transB", 0) == 1)
    if source is not None and (attributes.get("transA", 0) or source.axis != 1):
        return None
    if source is not None:
        tracer.take(index, 1, transposed, source.ids)
    count = weight.shape[1 - transposed]
    out = tracer.produce(node.output[0], count=count, axis=1, rank=2)
    tracer.take(index, 1, 1 - transposed, out.ids)
    _bias(tracer, index, node, 2, out.ids)
    return out


def _matmul(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    weight = tracer.constant(node.input[1])
    source = tracer.of(node.input[0])
    rank = source.rank if source is not None else len(tracer.shape(node.input[0]))
    if weight.ndim != 2 or (source is not None and source.axis != rank - 1):
        return None
    if source is not None:
        tracer.take(index, 1, 0, source.ids)
    out = tracer.produce(node.output[0], count=weight.shape[1], axis=rank - 1, rank=rank)
    tracer.take(index, 1, 1, out.ids)
    return out


def _norm(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None or source.axis != 1:
        return None
    for operand in range(1, len(node.input)):
        tracer.take(index, operand, 0, source.ids)
    return source


def _join(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    """Element-wise kernels of several operands, with broadcasting."""
    active = [name for name in node.input if name and not tracer.is_constant(name)]
    found = [tracer.of(name) for name in active]
    followed = [item for item in found if item is not None]
    if not followed or len(followed) != len(active):
        return None
    if len({item.axis - item.rank for item in followed}) != 1:
        return None
    widest = max(followed, key=lambda item: len(item.ids))
    for item in followed:
        if len(item.ids) == len(widest.ids):
            tracer.tie(item.ids, widest.ids)
        elif len(item.ids) != 1:
            return None
    from_end = widest.axis - widest.rank
    for operand, name in enumerate(node.input):
        if name and tracer.is_constant(name):
            shape = tracer.constant(name).shape
            if len(shape) >= -from_end and shape[from_end] != 1:
                tracer.take(index, operand, len(shape) + from_end, widest.ids)
    rank = max(item.rank for item in followed)
    return Channels(axis=rank + from_end, rank=rank, ids=widest.ids)


def _concat(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    found = [tracer.of(name) for name in node.input]
    followed = [item for item in found if item is not None]
    if not followed or len({(item.axis, item.rank) for item in followed}) != 1:
        return None
    axis, rank = followed[0].axis, followed[0].rank
    joined = attributes_of(node)["axis"]
    if not isinstance(joined, int):
        return None
    if joined % rank == axis:
        parts = [
            item.ids if item is not None else tracer.frozen(_length(tracer, name, axis))
            for name, item in zip(node.input, found, strict=True)
        ]
        return Channels(axis=axis, rank=rank, ids=np.concatenate(parts))
    if len(followed) != len(found):
        return None
    for item in followed[1:]:
        tracer.tie(item.ids, followed[0].ids)
    return followed[0]


def _length(tracer: Tracer, name: str, axis: int) -> int:
    shape = tracer.constant(name).shape if tracer.is_constant(name) else tracer.shape(name)
    return shape[axis]


def _pad(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None or (len(node.input) > 3 and node.input[3]):
        return None
    written = attributes_of(node).get("pads")
    pads = list(written) if written is not None else tracer.constant(node.input[1]).tolist()  # type: ignore[call-overload]
    before, after = int(pads[source.axis]), int(pads[source.axis + source.rank])
    if not before and not after:
        return source
    if written is not None or min(before, after) < 0:
        return None
    head, tail = tracer.free(before), tracer.free(after)
    for ids, place in ((head, source.axis), (tail, source.axis + source.rank)):
        if len(ids):
            tracer.note(Edit(node=index, operand=1, axis=place, ids=ids, form="count"))
    ids = np.concatenate([head, source.ids, tail])
    return Channels(axis=source.axis, rank=source.rank, ids=ids)


def _resize(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None or "axes" in attributes_of(node):
        return None
    if len(node.input) > 3 and node.input[3]:
        if int(tracer.constant(node.input[3])[source.axis]) != len(source.ids):
            return None
        edit = Edit(node=index, operand=3, axis=source.axis, ids=source.ids, form="count")
        tracer.note(edit)
        return source
    scales = attributes_of(node).get("scales")
    values = scales if scales is not None else tracer.constant(node.input[-1])
    return source if float(values[source.axis]) == 1.0 else None  # type: ignore[index]


def _slice(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None:
        return None
    attributes = attributes_of(node)
    if "starts" in attributes:
        starts: Sequence[int] = attributes["starts"]  # type: ignore[assignment]
        axes = attributes.get("axes", range(len(starts)))
    elif len(node.input) > 3 and node.input[3]:
        axes = tracer.constant(node.input[3]).tolist()
    else:
        axes = range(tracer.constant(node.input[1]).size)
    touched = {int(a) % source.rank for a in axes}  # type: ignore[attr-defined]
    return None if source.axis in touched else source


def _transpose(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None:
        return None
    perm = attributes_of(node).get("perm", range(source.rank)[::-1])
    axis = list(perm).index(source.axis)  # type: ignore[call-overload]
    return Channels(axis=axis, rank=source.rank, ids=source.ids)


def _reduce(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None:
        return None
    inputs = [tracer.constant(name) for name in node.input[1:]]
    gone = {a % source.rank for a in axes_of(node, [np.zeros(0), *inputs])}
    if source.axis in gone:
        return None
    if attributes_of(node).get("keepdims", 1):
        return source
    axis = source.axis - sum(a < source.axis for a in gone)
    return Channels(axis=axis, rank=source.rank - len(gone), ids=source.ids)


def _reshape(tracer: Tracer, index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None or attributes_of(node).get("allowzero", 0):
        return None
    target = tracer.constant(node.input[1]).tolist()
    found = _follow(source, tracer.shape(node.input[0]), target)
    if found is not None and target[found.axis] > 0:
        tracer.note(Edit(node=index, operand=1, axis=found.axis, ids=found.ids, form="count"))
    elif found is not None and target[found.axis] == 0 and found.axis != source.axis:
        return None
    return found


def _flatten(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None:
        return None
    shape = tracer.shape(node.input[0])
    axis = attributes_of(node).get("axis", 1)
    if not isinstance(axis, int):
        return None
    split = axis % (len(shape) + 1) if axis >= 0 else axis % len(shape)
    return _follow(source, shape, (prod(shape[:split]), prod(shape[split:])))


def _squeeze(tracer: Tracer, _index: int, node: onnx.NodeProto) -> Channels | None:
    source = tracer.of(node.input[0])
    if source is None:
        return None
    shape = tracer.shape(node.input[0])
    axes = axes_of(node, [np.zeros(0), *(tracer.constant(name) for name in node.input[1:])])
    if node.op_type == "Squeeze":
        gone = {a % len(shape) for a in axes}
        target = [size for i, size in enumerate(shape) if i not in gone]
    else:
        new = {a % (len(shape) + len(axes)) for a in axes}
        rest = iter(shape)
        target = [1 if i in new else next(rest) for i in range(len(shape) + len(axes))]
    return _follow(source, shape, target)


def _follow(source: Channels, shape: Shape, target: Sequence[int]) -> Channels | None:
    """Channels after a reshape; None where they no longer lie along one axis."""
    sizes = target_shape(shape, target)
    if prod(shape) > _MAX_RESHAPE or shape[source.axis] != len(source.ids):
        return None
    lanes = [1] * len(shape)
    lanes[source.axis] = -1
    places = np.arange(len(source.ids), dtype=np.int32).reshape(lanes)
    moved = np.broadcast_to(places, shape).reshape(sizes)
    for axis in range(len(sizes)):
        line = moved[tuple(slice(None) if a == axis else slice(1) for a in range(len(sizes)))]
        if sizes[axis] >= len(source.ids) and np.array_equal(np.broadcast_to(line, sizes), moved):
            return Channels(axis=axis, rank=len(sizes), ids=source.ids[line.ravel()])
    return None


#: Rule of every type of node that channels can be followed through.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_PASS, _same),
    **dict.fromkeys(_SPATIAL, _spatial),
    **dict.fromkeys(_JOIN, _join),
    **dict.fromkeys(_REDUCE, _reduce),
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _norm,
    "InstanceNormalization": _norm,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "Slice": _slice,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _squeeze,
}
