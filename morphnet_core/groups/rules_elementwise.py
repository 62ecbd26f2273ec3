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
    *("abs", "cast", "ceil", "celu", "clip", "dropout", "elu", "erf", "exp", "floor", "gelu"),
    *("hard_shrink", "hard_sigmoid", "hard_swish", "hard_tanh", "identity", "leaky_relu", "log"),
    *("log_sigmoid", "mish", "neg", "reciprocal", "relu", "rsqrt", "selu", "sigmoid", "sign"),
    *("soft_shrink", "softplus", "softsign", "sqrt", "square", "squareplus", "tanh"),
    *("tanh_shrink", "thresholded_relu", "quick_gelu"),
)
#: Several operands, broadcast against each other.
JOINING = ("add", "sub", "mul", "div", "sum", "max", "min", "mean", "pow")
#: Windows over positions, one channel at a time.
WINDOWS = (
    *("max_pool", "average_pool", "lp_pool", "adaptive_max_pool", "adaptive_average_pool"),
    *("global_average_pool", "global_max_pool", "global_lp_pool"),
)


def _same(_: Tracer, visit: Visit) -> tuple[Channels, ...]:
    first = visit.inputs[0]
    return (first,) * len(visit.op.outputs)


def _same_on_axis_1(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Weights per channel, or windows over positions: both take axis 1 for the channels."""
    if visit.inputs[0].axis != 1:
        message = "it takes another axis for the channels"
        raise UnfollowedError(message)
    return _same(tracer, visit)


def _join(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Tie operands one to one; an operand of one channel is broadcast over those of the others."""
    op, network = visit.op, tracer.network
    rank = len(op.outputs[0])
    followed, places, beside = [], set(), set()
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
    axes = visit.op.attribute("axes", (visit.op.attribute("axis", -1),))
    if read.axis in {int(axis) % rank for axis in axes}:
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
    **dict.fromkeys((*WINDOWS, "batch_norm", "instance_norm"), _same_on_axis_1),
    **dict.fromkeys(("softmax", "log_softmax", "hardmax"), _over_channels),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalise),
    **dict.fromkeys(("group_norm", "unit_norm", "lrn", "lp_normalization"), _always_frozen),
    "prelu": _same,
}
