"""Rules for layers that make fresh channels out of what they read: convolutions and products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morphnet_core.groups.tracer import (
    Channels,
    Rule,
    Tracer,
    UnfollowedError,
    Visit,
    channels,
    origin_of,
)


def _constant_weight(visit: Visit) -> tuple[int, ...]:
    if len(visit.inputs) != 1 or not visit.op.weights:
        message = "its weights are computed rather than constant"
        raise UnfollowedError(message)
    return visit.op.weights[0]


def _conv(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    _constant_weight(visit)
    op, read = visit.op, visit.inputs[0]
    out = op.outputs[0][1]
    groups = op.groups
    if groups < 1 or out % groups or (read.axis == 1 and len(read.ids) % groups):
        message = f"its {groups} groups do not divide its channels"
        raise UnfollowedError(message)
    if read.axis != 1:
        tracer.freeze(read.ids, f"{visit.layer.name} slides its window along the channels")
    elif groups > 1 and groups == len(read.ids):
        # Depthwise: each channel has filters of its own, side by side.
        if op.kind == "conv_transpose" and out != groups:
            message = "it is a transposed depthwise convolution with a multiplier"
            raise UnfollowedError(message)
        return (Channels(ids=np.repeat(read.ids, out // groups)),)
    elif groups > 1:
        tie_groups(tracer, read, groups)
    ids = tracer.produce(visit, out)
    if groups > 1:
        tie_groups(tracer, Channels(ids=ids), groups)
    return (Channels(ids=ids),)


def tie_groups(tracer: Tracer, read: Channels, groups: int) -> None:
    """Tie position j of every group, so that all groups keep equally many channels."""
    rows = read.ids.reshape(groups, -1)
    for row in rows[1:]:
        tracer.tie(rows[0], row)


def _product(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    weight = _constant_weight(visit)
    op, read = visit.op, visit.inputs[0]
    if op.operands.startswith("w") or len(weight) != 2 or op.attribute("transA", 0):
        message = "it is a product of another form than channels times a matrix"
        raise UnfollowedError(message)
    last = len(op.inputs[0]) - 1
    if read.axis != last:
        tracer.freeze(read.ids, f"{visit.layer.name} sums along another axis than the channels")
    return (Channels(ids=tracer.produce(visit, op.outputs[0][last]), axis=last),)


def _recurrent(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Cells mix what they read of a step with all their own units: only the former may go."""
    _constant_weight(visit)
    op, read, network = visit.op, visit.inputs[0], tracer.network
    rank = len(op.inputs[0])
    if network.own_axis(read.axis, rank) != rank - 1:
        tracer.freeze(read.ids, f"{visit.layer.name} steps along the channels")
    axes = [network.neutral_axis(len(size) - 1, len(size)) for size in op.outputs]
    reason = f"{visit.layer.name} is recurrent: each of its units reads all the others"
    ids = tracer.produce(visit, channels(op.outputs[0], axes[0]))
    tracer.freeze(ids, reason)
    others = [
        Channels(ids=tracer.source(origin_of(visit.layer), channels(size, axis), reason), axis=axis)
        for size, axis in zip(op.outputs[1:], axes[1:], strict=True)
    ]
    return (Channels(ids=ids, axis=axes[0]), *others)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumPlaces:
    """Where the channels are in an einsum of a tensor and a matrix.

    Attributes:
        read: axis of the tensor that is summed over.
        written: axis of the result that the matrix brings in.
        rows: the matrix's axis of what is read.
        columns: its other axis.
    """

    read: int
    written: int
    rows: int
    columns: int


def einsum_places(equation: str) -> EinsumPlaces | None:
    """The axes of an einsum that multiplies one axis by a matrix; None for any other.

    >>> einsum_places("abc,cd->abd")
    EinsumPlaces(read=2, written=2, rows=0, columns=1)
    >>> einsum_places("abc,cde->abde") is None
    True
    """
    left, _, right = equation.replace(" ", "").partition("->")
    data, _, kernel = left.partition(",")
    if len(kernel) != 2 or "." in equation or len(set(data)) != len(data):
        return None
    summed = [letter for letter in kernel if letter in data and letter not in right]
    fresh = [letter for letter in kernel if letter in right and letter not in data]
    if len(summed) != 1 or len(fresh) != 1:
        return None
    if set(right) - {fresh[0]} != set(data) - {summed[0]} or len(set(right)) != len(right):
        return None
    return EinsumPlaces(
        read=data.index(summed[0]),
        written=right.index(fresh[0]),
        rows=kernel.index(summed[0]),
        columns=kernel.index(fresh[0]),
    )


def _einsum(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    _constant_weight(visit)
    op, read = visit.op, visit.inputs[0]
    places = einsum_places(str(op.attribute("equation", "")))
    if places is None or len(op.weights) != 1 or op.operands.startswith("w"):
        message = "it is an einsum of another form than one axis times a matrix"
        raise UnfollowedError(message)
    if read.axis != places.read:
        tracer.freeze(read.ids, f"{visit.layer.name} sums along another axis than the channels")
    ids = tracer.produce(visit, op.outputs[0][places.written])
    return (Channels(ids=ids, axis=places.written),)


#: Recurrent layers: weights of the step's channels stand first.
RECURRENT = ("gru", "lstm", "rnn")

MIXING: dict[str, Rule] = {
    **dict.fromkeys(RECURRENT, _recurrent),
    "einsum": _einsum,
    "conv": _conv,
    "conv_transpose": _conv,
    "gemm": _product,
    "matmul": _product,
}
