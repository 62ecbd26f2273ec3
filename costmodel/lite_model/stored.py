"""How a network as written is stored: orders of axes, and what layers say about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from costmodel.network import Layer
from costmodel.op import Op, Shape, clip_bounds

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of the network as written, as it is stored.

    Attributes:
        index: position in the TensorFlow Lite model.
        axes: per stored axis, the axis of the network as written.
    """

    index: int
    axes: Axes


class Tail:
    """The layers that one operator carries out, from the first to the one that writes for it.

    Args:
        layer: the first.

    Attributes:
        layer: the last.
        order: per axis of what the last writes, the axis of what the first does.
        covers: names of all.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.order: Axes = tuple(range(len(layer.op.outputs[0])))
        self.covers = [layer.name]

    @property
    def name(self) -> str:
        """The tensor that the last layer writes."""
        return self.layer.outputs[0]


def permutation(op: Op) -> Axes:
    """Per axis of what a Transpose writes, the axis of what it reads; reversed where not given."""
    reverse = tuple(range(len(op.inputs[0])))[::-1]
    return tuple(map(int, op.attribute("perm", reverse)))


def plain(rank: int) -> Axes:
    """The order of axes as written."""
    return tuple(range(rank))


def channels_last(rank: int) -> Axes:
    """The order of axes in a deployed model.

    >>> channels_last(4), channels_last(2)
    ((0, 2, 3, 1), (0, 1))
    """
    return (0, *range(2, rank), 1) if rank > 2 else plain(rank)


def permuted(shape: Shape, axes: Axes) -> Shape:
    """Sizes as stored."""
    return tuple(shape[axis] for axis in axes)


def clamp_of(op: Op) -> str:
    """The bounded activation that a layer is, of those that kernels can fuse; empty for others."""
    if op.kind == "relu":
        return "relu"
    if op.kind != "clip" or len(op.inputs) != 1:
        return ""
    low, high = clip_bounds(op)
    known = {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1", (0.0, float("inf")): "relu"}
    # An exporter may write the largest float for no bound.
    return known.get((low, high if high < 3e38 else float("inf")), "")


def stored_constant(op: Op, axes: Axes, position: int) -> Shape:
    """Sizes of a constant that is broadcast, in the order of axes of the data."""
    shape = op.weights[position] if op.weights else ()
    padded = (1,) * (len(axes) - len(shape)) + shape
    return tuple(padded[axis] for axis in axes)


def elements(shape: Shape) -> int:
    """Number of elements."""
    return prod(shape)
