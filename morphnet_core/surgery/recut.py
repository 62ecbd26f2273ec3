"""Layers with fewer or more channels: the settings that change and the weights that are cut.

Layers are told apart by class name, subclasses read like their base. What has no rule keeps its
settings and, where their sizes stay the same, its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from morphnet_core.surgery.plan import Positions

Array = NDArray[Any]
#: From a weight of the old layer to the one of the new layer.
Cut = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a rule sees of one call of a layer.

    Attributes:
        layer: the old layer.
        read: channels of the first tensor that it reads.
        written: channels of the tensor that it returns.
        channel_axis: axis of the channels in the returned tensor, from the front.
        title: the layer's path, for errors.
    """

    layer: Any
    read: Positions
    written: Positions
    channel_axis: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recut:
    """How to make the new layer.

    Attributes:
        config: settings that change, by key of the layer's ``get_config()``.
        weights: cut of each weight, by attribute of the layer (``cell.kernel`` of what it holds);
            None copies all weights as they are.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Cut] | None = None


def recut(view: View) -> Recut:
    """The rule for a layer's class, applied; where nothing is cut, the layer stays as it is.

    Raises:
        ModelFormatError: if channels of this layer cannot be cut.
    """
    if view.read.whole and view.written.whole:
        return Recut()
    for cls in type(view.layer).__mro__:
        rule = _RULES.get(cls.__name__)
        if rule is not None:
            return rule(view)
    return Recut()


def take(axis: int, positions: Positions) -> Cut:
    """Keep ``positions`` along an axis; where all stay, whatever the axis has.

    A channel that is there more than once has the same weights every time, but in another order:
    what is new computes something of its own, of the right size.
    """
    if positions.whole:
        return _as_it_is
    new = np.flatnonzero(positions.new)

    def cut(weight: Array) -> Array:
        kept = np.moveaxis(np.take(weight, positions.index, axis=axis), axis, 0).copy()
        for place in new:
            order = np.random.default_rng((place, kept[place].size)).permutation(kept[place].size)
            kept[place] = kept[place].reshape(-1)[order].reshape(kept[place].shape)
        return np.moveaxis(kept, 0, axis)

    return cut


def rows(axis: int, positions: Positions) -> Cut:
    """Keep ``positions`` along the axis that is summed over; those that read as zero become so.

    So do channels that are new: they change nothing until they are trained.
    """
    if positions.whole:
        return _as_it_is
    zeroed = positions.zeroed | positions.new

    def cut(weight: Array) -> Array:
        kept = np.moveaxis(np.take(weight, positions.index, axis=axis), axis, 0).copy()
        kept[zeroed] = 0
        return np.moveaxis(kept, 0, axis)

    return cut


def _as_it_is(weight: Array) -> Array:
    return weight


def then(first: Cut, second: Cut) -> Cut:
    """One cut after the other."""
    return lambda weight: second(first(weight))


def whole(size: int) -> Positions:
    """Nothing goes of ``size`` positions."""
    return Positions(size=size, index=np.arange(size), zeroed=np.zeros(size, dtype=np.bool_))


def repeated(positions: Positions, times: int) -> Positions:
    """Positions after each channel became ``times`` channels, side by side."""
    spread = positions.index[:, None] * times + np.arange(times)
    return Positions(
        size=positions.size * times,
        index=spread.reshape(-1),
        zeroed=np.repeat(positions.zeroed, times),
    )


def _kernel(view: View, kernel: Cut, **config: Any) -> Recut:
    """A layer with a kernel and a bias for each returned channel."""
    weights = {"kernel": kernel}
    if view.layer.use_bias:
        weights["bias"] = take(0, view.written)
    return Recut(config=config, weights=weights)


def _conv(view: View) -> Recut:
    if view.layer.groups > 1:
        depthwise = view.layer.groups == view.read.size
        return _depthwise_conv(view) if depthwise else _grouped_conv(view)
    kernel = then(take(-1, view.written), rows(-2, view.read))
    return _kernel(view, kernel, filters=view.written.count)


def _depthwise_conv(view: View) -> Recut:
    """As many groups as channels: nothing is mixed, each channel has its own filters."""
    return _kernel(view, take(-1, view.written), filters=view.written.count, groups=view.read.count)


def _grouped_conv(view: View) -> Recut:
    """Whole groups go, or every group keeps equally many channels."""
    groups = view.layer.groups
    # Channels on another axis all stay, as do then all rows.
    width = view.layer.kernel.shape[-2] * groups
    read = _by_group(view.read if view.read.size == width else whole(width), groups)
    written = _by_group(view.written, groups)
    kept = [g for g in range(groups) if read[g].count or written[g].count]
    sizes = {(read[g].count, written[g].count) for g in kept}
    if len(sizes) != 1 or 0 in next(iter(sizes)):
        message = (
            f"Layer {view.title!r} is a convolution of {groups} groups, which would keep different "
            f"numbers of channels (read and written, by group): {sorted(sizes)}. Keep equally many "
            "in each; find_groups ties them."
        )
        raise ModelFormatError(message)

    def cut(weight: Array) -> Array:
        parts = []
        for group in kept:
            first = group * (view.written.size // groups)
            columns = weight[..., first + written[group].index]
            parts.append(rows(-2, read[group])(columns))
        return np.concatenate(parts, axis=-1)

    return _kernel(view, cut, filters=view.written.count, groups=len(kept))


def _by_group(positions: Positions, groups: int) -> list[Positions]:
    """Positions within each of equally large groups, counted from the group's first."""
    size = positions.size // groups
    parts = []
    for group in range(groups):
        mine = positions.index // size == group
        parts.append(
            Positions(
                size=size,
                index=positions.index[mine] - group * size,
                zeroed=positions.zeroed[mine],
            )
        )
    return parts


def _conv_transpose(view: View) -> Recut:
    kernel = then(take(-2, view.written), rows(-1, view.read))
    return _kernel(view, kernel, filters=view.written.count)


def _dense(view: View) -> Recut:
    kernel = then(take(1, view.written), rows(0, view.read))
    return _kernel(view, kernel, units=view.written.count)


def _depthwise(view: View) -> Recut:
    """Each channel has its own filters: with a channel go all of them, or as many of every one.

    The latter where all channels stay, that is where there is but one, or where the channels that
    can be cut lie on another axis of what is read.
    """
    channels = view.layer.kernel.shape[-2]
    if channels > 1 and (not view.read.whole or view.written.whole):
        return _kernel(view, take(-2, view.read))
    kept = _by_group(view.written, channels)[0]
    kernel = then(take(-1, kept), rows(-2, view.read) if channels == 1 else _as_it_is)
    read = view.read.count if channels == 1 else 1  # more than one where the network is widened
    return _kernel(view, kernel, depth_multiplier=kept.count // max(1, read))


def _separable(view: View) -> Recut:
    middle = repeated(view.read, view.layer.depth_multiplier)
    weights = {
        "depthwise_kernel": take(-2, view.read),
        "pointwise_kernel": then(take(-1, view.written), rows(-2, middle)),
    }
    if view.layer.use_bias:
        weights["bias"] = take(0, view.written)
    return Recut(config={"filters": view.written.count}, weights=weights)


def _along_axes(*names: str) -> Callable[[View], Recut]:
    """A layer whose named weights have the axes of its setting ``axis``; those it lacks are None.

    They are cut where the channels are among these axes, and stay where they are not.
    """

    def rule(view: View) -> Recut:
        rank = len(view.layer.output.shape)
        axes = view.layer.axis if isinstance(view.layer.axis, list | tuple) else [view.layer.axis]
        own = [int(axis) % rank for axis in axes]
        if view.channel_axis not in own:
            return Recut()
        found = [name for name in names if getattr(view.layer, name, None) is not None]
        cut = take(own.index(view.channel_axis), view.read)
        return Recut(weights=dict.fromkeys(found, cut))

    return rule


def _group_norm(view: View) -> Recut:
    """Whole groups go: every group that stays keeps its statistics."""
    per = view.read.size // view.layer.groups
    groups, rest = divmod(view.read.count, per)
    parts = [len(np.unique(part.index)) for part in _by_group(view.read, view.layer.groups)]
    if view.layer.groups > 1 and (rest or set(parts) - {0, per}):
        message = (
            f"Layer {view.title!r} normalises over {view.layer.groups} groups of channels, whose "
            "statistics change with every channel that goes. Cut whole groups; find_groups ties "
            "their channels."
        )
        raise ModelFormatError(message)
    config = {"groups": groups} if view.layer.groups > 1 else {}
    return replace(_along_axes("gamma", "beta")(view), config=config)


def _prelu(view: View) -> Recut:
    shared = view.layer.shared_axes or []
    axis = view.channel_axis
    if axis in shared:
        return Recut()
    return Recut(weights={"alpha": take(axis - 1, view.read)})


def _rescaling(view: View) -> Recut:
    """Scale and offset are settings; as vectors they are cut along the channels."""
    changed = {}
    from_end = view.channel_axis - len(view.layer.output.shape)
    for key in ("scale", "offset"):
        value = np.asarray(getattr(view.layer, key))
        if value.ndim >= -from_end and value.shape[from_end] == view.read.size > 1:
            changed[key] = np.take(value, view.read.index, axis=from_end).tolist()
    return Recut(config=changed)


def _reshape(view: View) -> Recut:
    target = list(view.layer.target_shape)
    axis = view.channel_axis - 1
    if not view.written.whole and target[axis] != -1:
        target[axis] = view.written.count
    return Recut(config={"target_shape": tuple(target)})


def _recurrent(view: View) -> Recut:
    """What the first cell reads of a step; units stay."""
    cell = view.layer.cell
    cells = {f"cell.cells.{i}": item for i, item in enumerate(getattr(cell, "cells", ()))}
    weights: dict[str, Cut] = {}
    for path, item in (cells or {"cell": cell}).items():
        names = ("kernel", "recurrent_kernel", "bias")
        found = [name for name in names if getattr(item, name, None) is not None]
        weights.update({f"{path}.{name}": _as_it_is for name in found})
    weights[f"{next(iter(cells), 'cell')}.kernel"] = rows(0, view.read)
    return Recut(weights=weights)


def _bidirectional(view: View) -> Recut:
    parts = {}
    for name in ("forward_layer", "backward_layer"):
        inner = recut(replace(view, layer=getattr(view.layer, name)))
        parts.update({f"{name}.{key}": cut for key, cut in (inner.weights or {}).items()})
    return Recut(weights=parts)


def _einsum_dense(view: View) -> Recut:
    """A product of one axis with a matrix, written as an einsum."""
    left, _, right = view.layer.equation.replace(" ", "").partition("->")
    kernel = left.partition(",")[2]
    written = next(letter for letter in kernel if letter in right)
    place, from_end = kernel.index(written), right.index(written) - len(right)
    shape = list(view.layer.partial_output_shape)
    shape[from_end] = view.written.count
    weights = {"kernel": then(take(place, view.written), rows(1 - place, view.read))}
    if view.layer.bias is not None:
        follows = written in view.layer.bias_axes
        weights["bias"] = take(from_end, view.written) if follows else _as_it_is
    return Recut(config={"output_shape": tuple(shape)}, weights=weights)


_RULES: dict[str, Callable[[View], Recut]] = {
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), _recurrent),
    **{f"Conv{n}D": _conv for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": _conv_transpose for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _depthwise for n in (1, 2)},
    **{f"SeparableConv{n}D": _separable for n in (1, 2)},
    "Bidirectional": _bidirectional,
    "BatchNormalization": _along_axes("gamma", "beta", "moving_mean", "moving_variance"),
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _along_axes("gamma", "beta"),
    "PReLU": _prelu,
    "RMSNormalization": _along_axes("scale"),
    "Rescaling": _rescaling,
    "Reshape": _reshape,
}
