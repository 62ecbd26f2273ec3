"""Work that moves values without computing: reshapes, slices, pads, concatenations, resizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.op import Constant
from costmodel.runners.xla.step import Step, Weight, builds
from costmodel.runners.xla.view import View, channels_last, simple


@builds("reshape", "flatten", "squeeze", "unsqueeze")
def reshape(step: Step) -> Sequence[View]:
    """Other sizes for the same values."""
    return [step.x.reshaped(step.op.outputs[0])]


@builds("transpose")
def transpose(step: Step) -> Sequence[View]:
    """Axes in another order; moves nothing until a reader wants them stored so."""
    perm = step.op.attribute("perm", tuple(reversed(range(step.x.rank))))
    return [step.x.transposed(tuple(int(p) for p in perm))]


@builds("concat")
def concat(step: Step) -> Sequence[View]:
    """Tensors joined along one axis, stored as the first is."""
    rank = len(step.op.outputs[0])
    axis = step.op.attribute("axis", 1) % rank
    first = next(item for item in step.operands if isinstance(item, View))
    order = first.order
    arrays = [
        item.view(rank, order).array if isinstance(item, Weight) else step.view(i).stored(order)
        for i, item in enumerate(step.operands)
    ]
    return [simple(jnp.concatenate(arrays, axis=order.index(axis)), order)]


@builds("split")
def split(step: Step) -> Sequence[View]:
    """Pieces of one tensor along one axis."""
    x = step.x.simple(step.x.order)
    axis = step.op.attribute("axis", 0) % x.rank
    sizes = [shape[axis] for shape in step.op.outputs]
    ends = np.cumsum(sizes)
    place = x.axes[axis][0]
    return [
        x.like(lax.slice_in_dim(x.array, int(end) - size, int(end), axis=place))
        for size, end in zip(sizes, ends, strict=True)
    ]


@builds("slice")
def cut(step: Step) -> Sequence[View]:
    """A regular piece of a tensor."""
    x = step.x.simple(step.x.order)
    if step.op.attribute("since", 13) == 1:
        starts, ends = step.op.attribute("starts", ()), step.op.attribute("ends", ())
        axes: Constant | None = step.op.attribute("axes", ())
        steps = None
    else:
        starts, ends = step.constant(1) or (), step.constant(2) or ()
        axes, steps = step.constant(3), step.constant(4)
    axes = axes or tuple(range(len(starts)))
    index: list[Any] = [slice(None)] * x.rank
    for axis, start, end, stride in zip(
        axes, starts, ends, steps or (1,) * len(starts), strict=True
    ):
        place = int(axis) % x.rank
        # Negative bounds count from the end; the least ones stand for "before the first".
        size = x.shape[place]
        stop = None if stride < 0 and end < -size else int(end)
        index[x.axes[place][0]] = slice(int(start), stop, int(stride))
    return [x.like(x.array[tuple(index)])]


@builds("pad")
def pad(step: Step) -> Sequence[View]:
    """A border of one value or of mirrored values."""
    x = step.x.simple(step.x.order)
    pads = [int(p) for p in step.constant(1) or step.op.attribute("pads", ())]
    axes = [int(a) % x.rank for a in step.constant(3) or range(x.rank)]
    widths = [(0, 0, 0)] * x.rank
    for i, axis in enumerate(axes):
        widths[x.axes[axis][0]] = (pads[i], pads[len(axes) + i], 0)
    mode = step.op.attribute("mode", "constant")
    if mode == "constant":
        value = (step.constant(2) or (step.op.attribute("value", 0.0),))[0]
        return [x.like(lax.pad(x.array, np.asarray(value).astype(x.array.dtype), widths))]
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes or any(low < 0 or high < 0 for low, high, _ in widths):
        message = f"{step.op.label}: padding of mode {mode!r} with {pads} is not built."
        raise UnsupportedOpError(message)
    return [x.like(jnp.pad(x.array, [w[:2] for w in widths], mode=modes[mode]))]


@builds("expand")
def expand(step: Step) -> Sequence[View]:
    """A tensor repeated along axes of size 1."""
    shape = step.op.outputs[0]
    x = step.x
    wide = View(array=x.array, axes=((),) * (len(shape) - x.rank) + x.axes)
    order = wide.order
    target = tuple(shape[axis] for axis in order)
    return [simple(jnp.broadcast_to(wide.stored(order), target), order)]


@builds("tile")
def tile(step: Step) -> Sequence[View]:
    """A tensor repeated as a whole."""
    x = step.x.simple(step.x.order)
    repeats = [int(n) for n in step.constant(1) or ()]
    return [x.like(jnp.tile(x.array, [repeats[axis] for axis in x.order]))]


@builds("gather")
def gather(step: Step) -> Sequence[View]:
    """Chosen positions of one axis."""
    data, picked = step.get(0), step.get(1)
    source = step.view(0)
    axis = step.op.attribute("axis", 0) % source.rank
    rank = len(step.op.outputs[0]) - source.rank + 1
    if isinstance(picked, View):
        index = picked.stored(range(picked.rank))
    else:
        values = np.asarray(step.constant(1), dtype=np.int32)
        values = np.where(values < 0, values + source.shape[axis], values)
        index = values.reshape(step.op.outputs[0][axis : axis + rank])
    if isinstance(data, Weight) or rank != 1:
        result = jnp.take(source.stored(range(source.rank)), index, axis=axis)
        return [simple(result, range(result.ndim))]
    x = source.simple(source.order)
    return [x.like(jnp.take(x.array, index, axis=x.axes[axis][0]))]


@builds("depth_to_space", "space_to_depth")
def blocks(step: Step) -> Sequence[View]:
    """Channels to positions or back."""
    (n, c, h, w), b = step.x.shape, step.op.attribute("blocksize", 1)
    if step.op.kind == "space_to_depth":
        cut_up = step.x.reshaped((n, c, h // b, b, w // b, b)).transposed((0, 3, 5, 1, 2, 4))
        return [cut_up.reshaped(step.op.outputs[0])]
    if step.op.attribute("mode", "DCR") == "DCR":
        cut_up = step.x.reshaped((n, b, b, c // b**2, h, w)).transposed((0, 3, 4, 1, 5, 2))
    else:
        cut_up = step.x.reshaped((n, c // b**2, b, b, h, w)).transposed((0, 1, 4, 2, 5, 3))
    return [cut_up.reshaped(step.op.outputs[0])]


@builds("resize")
def resize(step: Step) -> Sequence[View]:
    """Nearest or linear resampling, axis by axis."""
    order = channels_last(step.x.rank) if step.last else tuple(range(step.x.rank))
    x = step.x.simple(order)
    mode = step.op.attribute("mode", "nearest")
    if mode not in {"nearest", "linear"}:
        message = f"{step.op.label}: resampling of mode {mode!r} is not built."
        raise UnsupportedOpError(message)
    array = x.array
    scales = _scales(step)
    for axis, size in enumerate(step.op.outputs[0]):
        if size == step.x.shape[axis] and scales[axis] == 1:
            continue
        place = x.axes[axis][0]
        where = _positions(step, axis, scales[axis])
        array = (
            _nearest(step, array, place, where)
            if mode == "nearest"
            else _linear(array, place, where)
        )
    return [x.like(array)]


def _scales(step: Step) -> list[float]:
    """Scale of every axis, as given or as the sizes say."""
    since = step.op.attribute("since", 13)
    given = step.op.attribute("scales", ())
    if not given and len(step.operands) > 1:
        given = step.constant(1 if since < 11 else 2) or ()
    rank = step.x.rank
    if len(given) == rank:
        return [float(s) for s in given]
    return [o / i for i, o in zip(step.x.shape, step.op.outputs[0], strict=True)]


def _positions(step: Step, axis: int, scale: float) -> NDArray[np.float64]:
    """Where each output position lies on the input's axis."""
    size, wanted = step.x.shape[axis], step.op.outputs[0][axis]
    at = np.arange(wanted, dtype=np.float64)
    old = "asymmetric" if step.op.attribute("since", 13) < 11 else "half_pixel"
    rule = step.op.attribute("coordinate_transformation_mode", old)
    if rule == "asymmetric":
        return np.asarray(at / scale)
    if rule == "align_corners":
        return np.asarray(at * (size - 1) / max(wanted - 1, 1))
    if rule == "half_pixel" or (rule == "pytorch_half_pixel" and wanted > 1):
        return np.asarray((at + 0.5) / scale - 0.5)
    if rule == "pytorch_half_pixel":
        return at * 0.0
    message = f"{step.op.label}: resampling by the rule {rule!r} is not built."
    raise UnsupportedOpError(message)


def _nearest(step: Step, array: Any, place: int, where: NDArray[np.float64]) -> Any:
    old = "floor" if step.op.attribute("since", 13) < 11 else "round_prefer_floor"
    rules: dict[str, Callable[..., NDArray[np.float64]]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    rounding = rules[step.op.attribute("nearest_mode", old)]
    size = array.shape[place]
    index = np.clip(rounding(where), 0, size - 1).astype(np.int32)
    times = len(index) // size
    if times and np.array_equal(index, np.repeat(np.arange(size), times)):
        # Whole repeats are what deployed programs write: a broadcast, no gather.
        shape = array.shape
        wide = jnp.broadcast_to(
            jnp.expand_dims(array, place + 1), (*shape[: place + 1], times, *shape[place + 1 :])
        )
        return wide.reshape(*shape[:place], size * times, *shape[place + 1 :])
    return jnp.take(array, index, axis=place)


def _linear(array: Any, place: int, where: NDArray[np.float64]) -> Any:
    size = array.shape[place]
    inside = np.clip(where, 0, size - 1)
    low = np.floor(inside).astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * array.ndim
    shape[place] = len(where)
    part = (inside - low).reshape(shape).astype(np.float32).astype(array.dtype)
    left, right = (jnp.take(array, index, axis=place) for index in (low, high))
    return left * (1 - part) + right * part
