"""One Op at other widths: sizes of weights, groups, and constants that name channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from costmodel.network import Layer
from costmodel.op import Constant, Op, Shape
from morphnet_core.groups.grouping import NOBODY, Grouping, Units
from morphnet_core.groups.rules_mixing import RECURRENT, einsum_places
from morphnet_core.groups.rules_shape import axis_of, channel_slice

#: Kinds whose weights lie along axis 1 wherever the channels are.
_ALONG_AXIS_1 = frozenset({"batch_norm", "instance_norm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A layer's Op and what becomes of the sizes around it."""

    grouping: Grouping
    counts: Units
    layer: Layer
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    @property
    def op(self) -> Op:
        """The Op as it was."""
        return self.layer.op

    @property
    def axis(self) -> int:
        """Channel axis of the first input."""
        return self.grouping.axes[self.layer.inputs[0]]

    def span(self, units: Units) -> int:
        """How many positions a run of units has at the new widths."""
        mine = units[units != NOBODY]
        sizes = self.grouping.full_counts
        places = np.bincount(self.grouping.group_of[mine], minlength=len(sizes))
        return int(len(units) - len(mine) + round(float((places / sizes * self.counts).sum())))


def resized_op(
    grouping: Grouping,
    counts: Units,
    layer: Layer,
    inputs: tuple[Shape, ...],
    outputs: tuple[Shape, ...],
) -> Op:
    """The Op of a layer at new widths.

    Args:
        grouping: of the network.
        counts: units per group.
        layer: as it was.
        inputs: new sizes of all that it reads.
        outputs: new sizes of what it writes and somebody reads.
    """
    change = _Change(grouping=grouping, counts=counts, layer=layer, inputs=inputs, outputs=outputs)
    op = replace(layer.op, inputs=inputs, outputs=outputs)
    return _RULES.get(op.kind, _per_channel)(change, op)


def _per_channel(change: _Change, op: Op) -> Op:
    """Weights along the channels, as normalisations and scalings have them."""
    rank, axis = len(op.outputs[0]), change.grouping.axes[change.layer.outputs[0]]
    old, new = change.op.outputs[0][axis], op.outputs[0][axis]
    over = op.attribute("axes", ())
    if op.kind in _ALONG_AXIS_1 and axis != 1:
        return op

    def fitted(shape: Shape) -> Shape:
        # Along the axes named, or the channels alone, or broadcast from the last axis on.
        place = 0 if len(shape) == 1 and axis == 1 else axis - (rank - len(shape))
        if len(over) == len(shape):
            place = over.index(axis) if axis in over else -1
        if not 0 <= place < len(shape) or shape[place] != old:
            return shape
        return (*shape[:place], new, *shape[place + 1 :])

    return replace(op, weights=tuple(fitted(shape) for shape in op.weights))


def _group_norm(change: _Change, op: Op) -> Op:
    """Whole groups come and go; weights are per channel, or per group as ONNX had them once."""
    old, new = change.op.outputs[0][1], op.outputs[0][1]
    before = int(op.attribute("num_groups", 1))
    after = before * new // old if before > 1 else before
    lengths = {before: after, old: new}
    return replace(
        op,
        weights=tuple((lengths.get(shape[0], shape[0]),) for shape in op.weights),
        attributes=tuple(
            (key, after if key == "num_groups" else value) for key, value in op.attributes
        ),
    )


def _conv(change: _Change, op: Op) -> Op:
    old_in, new_in = change.op.inputs[0][1], op.inputs[0][1]
    new_out = op.outputs[0][1]
    depthwise = change.op.groups > 1 and change.op.groups == old_in
    groups = max(1, new_in) if depthwise else op.groups
    first, *rest = op.weights
    if op.kind == "conv":
        first = (new_out, new_in // groups, *first[2:])
    else:
        first = (new_in, new_out // groups, *first[2:])
    return replace(op, weights=(first, *((new_out,) for _ in rest)), groups=groups)


def _product(_: _Change, op: Op) -> Op:
    (rows, columns), *rest = op.weights
    read, write = op.inputs[0][-1], op.outputs[0][-1]
    turned = bool(op.attribute("transB", 0))
    rows, columns = (write, read) if turned else (read, write)
    bias = tuple((*shape[:-1], write) if shape and shape[-1] != 1 else shape for shape in rest)
    return replace(op, weights=((rows, columns), *bias))


def _einsum(_: _Change, op: Op) -> Op:
    places = einsum_places(str(op.attribute("equation", "")))
    if places is None:
        return op
    sizes = [0, 0]
    sizes[places.rows] = op.inputs[0][places.read]
    sizes[places.columns] = op.outputs[0][places.written]
    return replace(op, weights=(tuple(sizes), *op.weights[1:]))


def _recurrent(change: _Change, op: Op) -> Op:
    """Weights of a step's channels, which lie along the last axis in ONNX, the first in Keras."""
    first, *rest = op.weights
    old, new = (sizes[change.axis] for sizes in (change.op.inputs[0], op.inputs[0]))
    place = len(first) - 1 if first[-1] == old else 0
    return replace(op, weights=((*first[:place], new, *first[place + 1 :]), *rest))


def _sized(change: _Change, op: Op) -> Op:
    """Constants that are the size of the result, as reshapes and resizes have them."""
    old, new = change.op.outputs[0], op.outputs[0]
    sizes = {len(old): (old, new)}

    def fitted(values: Constant) -> Constant:
        before, after = sizes.get(len(values), ((), ()))
        pairs = zip(values, before, after, strict=False)
        return tuple(b if v == a else v for v, a, b in pairs) if before else values

    # Scales are as many as sizes and may equal one: 1.0 is no single channel.
    fresh = tuple(
        fitted(values) if dtype.startswith("int") else values
        for values, dtype in zip(op.constants, op.constant_types, strict=True)
    )
    return replace(op, constants=fresh)


def _slice(change: _Change, op: Op) -> Op:
    axis = change.axis
    window = channel_slice(change.op, axis)
    if window is None:
        return op
    units = change.grouping.units[change.layer.inputs[0]]
    start, _, step = window.indices(len(units))
    rank = len(op.inputs[0])
    axes = op.constants[2] if len(op.constants) > 2 else tuple(range(len(op.constants[0])))
    place = [int(item) % rank for item in axes].index(axis)
    begin = change.span(units[:start])
    starts, ends = list(op.constants[0]), list(op.constants[1])
    starts[place], ends[place] = begin, begin + step * op.outputs[0][axis]
    return replace(op, constants=(tuple(starts), tuple(ends), *op.constants[2:]))


def _split(_: _Change, op: Op) -> Op:
    axis = axis_of(op) % len(op.inputs[0])
    if not op.constants:
        return op
    return replace(op, constants=(tuple(size[axis] for size in op.outputs), *op.constants[1:]))


def _pad(change: _Change, op: Op) -> Op:
    axis, rank = change.axis, len(op.inputs[0])
    if not op.constants or len(op.constants[0]) != 2 * rank:
        return op
    pads = list(op.constants[0])
    if not pads[axis] and not pads[axis + rank]:
        return op
    units = change.grouping.units[change.layer.outputs[0]]
    before = change.span(units[: int(pads[axis])])
    pads[axis] = before
    pads[axis + rank] = op.outputs[0][axis] - before - op.inputs[0][axis]
    return replace(op, constants=(tuple(pads), *op.constants[1:]))


_RULES: dict[str, Callable[[_Change, Op], Op]] = {
    **dict.fromkeys(RECURRENT, _recurrent),
    "conv": _conv,
    "conv_transpose": _conv,
    "einsum": _einsum,
    "expand": _sized,
    "gemm": _product,
    "group_norm": _group_norm,
    "matmul": _product,
    "pad": _pad,
    "reshape": _sized,
    "resize": _sized,
    "slice": _slice,
    "split": _split,
}
