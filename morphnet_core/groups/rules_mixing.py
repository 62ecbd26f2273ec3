"""Rules for layers that make fresh channels out of what they read: convolutions and products."""

from __future__ import annotations

import numpy as np

from morphnet_core.groups.tracer import Channels, Rule, Tracer, UnfollowedError, Visit


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


MIXING: dict[str, Rule] = {
    "conv": _conv,
    "conv_transpose": _conv,
    "gemm": _product,
    "matmul": _product,
}
