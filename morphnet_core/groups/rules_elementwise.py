"""Rules for layers that work on each channel for itself, and for normalisations."""

from __future__ import annotations

import numpy as np

from morphnet_core.groups.tracer import (
    Channels,
    Rule,
    Tracer,
    UnfollowedError,
    Visit,
    has_channels,
)

#: One operand, each value for itself.
UNARY = (
    *("abs", "acos", "asin", "atan", "cast", "ceil", "celu", "clip", "cos", "cosh", "dropout"),
    *("elu", "erf", "exp", "floor", "gelu", "hard_shrink", "hard_sigmoid", "hard_swish"),
    *("hard_tanh", "identity", "is_inf", "is_na_n", "leaky_relu", "log", "log_sigmoid", "mish"),
    *("neg", "not", "quick_gelu", "reciprocal", "relu", "round", "rsqrt", "selu", "shrink"),
    *("sigmoid", "sign", "sin", "sinh", "soft_shrink", "softplus", "softsign", "sqrt", "square"),
    *("squareplus", "tan", "tanh", "tanh_shrink", "thresholded_relu"),
)
#: Several operands, broadcast against each other.
JOINING = (
    *("add", "sub", "mul", "div", "sum", "max", "min", "mean", "pow", "mod", "where"),
    *("and", "or", "xor", "equal", "greater", "greater_or_equal", "less", "less_or_equal"),
)
#: Windows over positions, one channel at a time.
WINDOWS = (
    *("max_pool", "average_pool", "lp_pool", "adaptive_max_pool", "adaptive_average_pool"),
    *("global_average_pool", "global_max_pool", "global_lp_pool"),
)


def _same(_: Tracer, visit: Visit) -> tuple[Channels, ...]:
    first = visit.inputs[0]
    return (first,) * len(visit.op.outputs)


def _same_on_axis_1(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Windows over positions, and statistics of them, take axis 1 for the channels."""
    if visit.inputs[0].axis != 1:
        message = "it takes another axis for the channels"
        raise UnfollowedError(message)
    return _same(tracer, visit)


def _join(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Tie operands one to one; an operand of one channel is broadcast over those of the others."""
    op, network = visit.op, tracer.network
    rank = len(op.outputs[0])
    followed: list[Channels] = []
    places: set[int] = set()
    beside: set[int] = set()
    for read, size in zip(visit.inputs, op.inputs, strict=True):
        if has_channels(size, read.axis):
            followed.append(read)
            # Operands are lined up from their last axes on, in the model's own order.
            places.add(network.own_axis(read.axis, len(size)) - len(size))
        else:
            beside.update(size)
    if len(places) != 1:
        message = "its operands keep their channels on different axes"
        raise UnfollowedError(message)
    (from_end,) = places
    if from_end == -1 and beside - {1}:
        message = "an operand without channels has a value for each of them"
        raise UnfollowedError(message)
    axis = network.neutral_axis(rank + from_end, rank)
    width = op.outputs[0][axis]
    widest = next((read.ids for read in followed if len(read.ids) == width), followed[0].ids)
    for read in followed:
        if len(read.ids) == len(widest):
            tracer.tie(read.ids, widest)
        else:
            reason = f"{visit.layer.name} broadcasts it over the channels of another tensor"
            tracer.freeze(read.ids, reason)
    if len(widest) != width:
        tracer.freeze(widest, f"{visit.layer.name} broadcasts it over its own weights")
        widest = np.repeat(widest, width)
    return (Channels(ids=widest, axis=axis),)


def _over_channels(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Layers whose every output depends on all channels of a position."""
    read, rank = visit.inputs[0], len(visit.op.inputs[0])
    flat = visit.op.attribute("since", 13) < 13  # then all from one axis on are one
    first = int(visit.op.attribute("axis", 1 if flat else -1)) % rank
    if read.axis == first or (flat and read.axis > first):
        tracer.freeze(read.ids, f"{visit.layer.name} works across all channels of a position")
    return _same(tracer, visit)


def _normalise(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Layer and RMS normalisation: their statistics change when a channel goes."""
    read, rank = visit.inputs[0], len(visit.op.inputs[0])
    # As ONNX writes it: from one axis to the last.
    start = visit.op.attribute("axis", rank)
    first = start % rank if start != rank else rank
    over = read.axis in visit.op.attribute("axes", ()) or read.axis >= first
    if over and not tracer.normalisations:
        _freeze_norm(tracer, visit)
    return _same(tracer, visit)


def _unit_norm(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Every value over the norm along some axes, without weights that could make up for one."""
    read, rank = visit.inputs[0], len(visit.op.inputs[0])
    axes = visit.op.attribute("axes", (visit.op.attribute("axis", -1),))
    if read.axis in {int(axis) % rank for axis in axes}:
        _freeze_norm(tracer, visit)
    return _same(tracer, visit)


def _group_norm(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Channels of one group share statistics, so that they go together or not at all."""
    read, groups = visit.inputs[0], int(visit.op.attribute("num_groups", 1))
    if read.axis != 1 or groups < 2 or len(read.ids) % groups:
        return _always_frozen(tracer, visit)
    rows = read.ids.reshape(groups, -1)
    for column in rows.T[1:]:
        tracer.tie(rows[:, 0], column)
    return _same(tracer, visit)


def _always_frozen(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    _freeze_norm(tracer, visit)
    return _same(tracer, visit)


def _freeze_norm(tracer: Tracer, visit: Visit) -> None:
    name = visit.layer.name
    reason = f"{name} normalises over channels, so that each depends on all the others"
    tracer.freeze(visit.inputs[0].ids, reason, name)


ELEMENTWISE: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(JOINING, _join),
    **dict.fromkeys((*WINDOWS, "instance_norm"), _same_on_axis_1),
    # Its weights lie along axis 1: along the channels they follow them, else they stay.
    "batch_norm": _same,
    **dict.fromkeys(("softmax", "log_softmax", "hardmax"), _over_channels),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalise),
    **dict.fromkeys(("unit_norm", "lp_normalization"), _unit_norm),
    "group_norm": _group_norm,
    "lrn": _always_frozen,
    "prelu": _same,
}
