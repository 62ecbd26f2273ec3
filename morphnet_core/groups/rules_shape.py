"""Rules for layers that move values without working on them: concatenation, slices, reshapes."""

from __future__ import annotations

from math import prod

import numpy as np

from costmodel.op import Op, Shape
from morphnet_core.groups.tracer import (
    Channels,
    Ids,
    Rule,
    Tracer,
    UnfollowedError,
    Visit,
    channels,
)

#: Largest tensor whose values are followed through a reshape one by one.
_LARGEST = 1 << 24


def _concat(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    op = visit.op
    rank = len(op.outputs[0])
    axis = axis_of(op) % rank
    own = {read.axis for read in visit.inputs}
    if len(own) != 1:
        message = "its operands keep their channels on different axes"
        raise UnfollowedError(message)
    channel_axis = own.pop()
    if axis != channel_axis:
        for read in visit.inputs[1:]:
            tracer.tie(read.ids, visit.inputs[0].ids)
        return (visit.inputs[0],)
    parts = [
        visit.inputs[slot.index].ids
        if slot.letter == "d"
        else tracer.fresh(channels(slot.shape, axis))
        for slot in op.slots()
    ]
    return (Channels(ids=np.concatenate(parts), axis=axis),)


def axis_of(op: Op) -> int:
    """The ``axis`` attribute; the first axis where there is none."""
    return op.attribute("axis", 0)


def _slice(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, op = visit.inputs[0], visit.op
    window = channel_slice(op, read.axis)
    if window is not None:
        start, stop, step = window.indices(len(read.ids))
        tracer.measure(read.ids[:start])
        if step != 1:
            tracer.measure(read.ids[:stop])
            tracer.freeze(read.ids, f"{visit.layer.name} takes every {step}th channel")
        return (Channels(ids=read.ids[window], axis=read.axis),)
    if op.inputs[0][read.axis] != op.outputs[0][read.axis]:
        message = "which channels it takes is not known"
        raise UnfollowedError(message)
    return (read,)


def channel_slice(op: Op, axis: int) -> slice | None:
    """What a slicing Op takes of its channel axis; None where it leaves that axis alone."""
    if len(op.constants) < 2:
        return None
    starts, ends = op.constants[0], op.constants[1]
    rank = len(op.inputs[0])
    axes = op.constants[2] if len(op.constants) > 2 else tuple(range(len(starts)))
    steps = op.constants[3] if len(op.constants) > 3 else (1,) * len(starts)
    for start, end, place, step in zip(starts, ends, axes, steps, strict=True):
        if int(place) % rank == axis:
            return slice(int(start), int(end), int(step))
    return None


def _split(_: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, op = visit.inputs[0], visit.op
    axis = axis_of(op) % len(op.inputs[0])
    if axis != read.axis:
        return (read,) * len(op.outputs)
    ends = np.cumsum([size[axis] for size in op.outputs])
    parts = np.split(read.ids, ends[:-1])
    return tuple(Channels(ids=part, axis=axis) for part in parts)


def _pad(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, op = visit.inputs[0], visit.op
    if op.inputs[0][read.axis] == op.outputs[0][read.axis]:
        return (read,)
    rank = len(op.inputs[0])
    pads = op.constants[0] if op.constants else op.attribute("pads", ())
    mode = op.attribute("mode", "constant")
    if len(pads) != 2 * rank or mode != "constant":
        message = "which channels it adds is not known"
        raise UnfollowedError(message)
    before, after = int(pads[read.axis]), int(pads[read.axis + rank])
    if min(before, after) < 0:
        message = "it takes channels away by a negative padding"
        raise UnfollowedError(message)
    head = tracer.fresh(before)
    tracer.measure(head)
    ids = np.concatenate([head, read.ids, tracer.fresh(after)])
    return (Channels(ids=ids, axis=read.axis),)


def _transpose(_: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, op = visit.inputs[0], visit.op
    order = op.attribute("perm", tuple(reversed(range(len(op.inputs[0])))))
    places = [int(axis) for axis in order]
    if read.axis not in places:
        message = "the order of its axes is not known"
        raise UnfollowedError(message)
    return (Channels(ids=read.ids, axis=places.index(read.axis)),)


def _resize(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, network = visit.inputs[0], tracer.network
    before, after = len(visit.op.inputs[0]), len(visit.op.outputs[0])
    # More axes come in front, in the model's own order.
    own = network.own_axis(read.axis, before) + after - before
    axis = network.neutral_axis(own, after)
    if channels(visit.op.outputs[0], axis) != len(read.ids):
        message = "it changes the number of channels"
        raise UnfollowedError(message)
    return (Channels(ids=read.ids, axis=axis),)


def _reduce(_: Tracer, visit: Visit) -> tuple[Channels, ...]:
    read, op = visit.inputs[0], visit.op
    rank = len(op.inputs[0])
    axes = op.constants[0] if op.constants else op.attribute("axes", tuple(range(rank)))
    chosen = {int(axis) % rank for axis in axes}
    if read.axis in chosen:
        message = "it reduces the channels to one value"
        raise UnfollowedError(message)
    if len(op.outputs[0]) == rank:
        return (read,)
    gone = sum(axis < read.axis for axis in chosen)
    return (Channels(ids=read.ids, axis=read.axis - gone),)


def _reshape(tracer: Tracer, visit: Visit) -> tuple[Channels, ...]:
    """Follow every value to where it goes.

    Where values of several channels meet at one position of the new channel axis they are tied:
    what is left after such a set goes is again a whole block, in the same order.
    """
    read, op = visit.inputs[0], visit.op
    before, after = op.inputs[0], op.outputs[0]
    if prod(before) > _LARGEST or prod(before) != prod(after) or len(after) < 2:
        message = "what its reshape does to the channels is not known"
        raise UnfollowedError(message)
    last = tracer.network.channels_last
    view = [1] * len(before)
    view[read.axis] = len(read.ids)
    values = np.broadcast_to(read.ids.reshape(view), before)
    if last:
        values = np.moveaxis(values, 1, -1)
    values = values.reshape((after[0], *after[2:], after[1]) if last else after)
    if last:
        values = np.moveaxis(values, -1, 1)
    for axis in (1, *(other for other in range(len(after)) if other != 1)):
        found = _constant_but_along(values, axis)
        if found is not None:
            return (Channels(ids=found, axis=axis),)
    return (_tied(tracer, values, after),)


def _constant_but_along(values: Ids, axis: int) -> Ids | None:
    """Values along an axis if they are the same everywhere else."""
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    first = rows[:, :1]
    return np.ascontiguousarray(first[:, 0]) if bool((rows == first).all()) else None


def _tied(tracer: Tracer, values: Ids, after: Shape) -> Channels:
    if after[1] < 2:
        message = "its reshape mixes channels with positions"
        raise UnfollowedError(message)
    for axis in range(len(after)):
        same = values.take([0], axis=axis)
        if axis != 1 and bool((values == same).all()):
            values = same
    rows = np.moveaxis(values, 1, 0).reshape(after[1], -1)
    first = np.ascontiguousarray(rows[:, 0])
    tracer.tie(np.repeat(first, rows.shape[1]), rows.ravel())
    return Channels(ids=first)


SHAPE: dict[str, Rule] = {
    **dict.fromkeys(("reshape", "flatten", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("resize", "expand"), _resize),
    **dict.fromkeys(
        ("reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduce
    ),
    "concat": _concat,
    "pad": _pad,
    "slice": _slice,
    "split": _split,
    "transpose": _transpose,
}
