"""Ops of one device as another device would run them: same work, the other's layout and kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import log1p, prod

import numpy as np
from scipy.spatial import KDTree

from costmodel.costs.features import path_of
from costmodel.kinds import CONV_KINDS
from costmodel.layouts import block_of, logical, physical
from costmodel.op import Op

#: A kind, and of a convolution what its kernels are chosen by beside sizes.
Form = tuple[str | bool, ...]


class Translation:
    """Puts any Op into a device's own words.

    An Op whose execution path the device took stays as it is. Another runs as the device's most
    similar kernel does, by the ratios of their sizes: with its layout, implementation and element
    type, channels filled up to that layout's blocks.

    Args:
        ops: what the device was seen to run.

    >>> from costmodel.op import conv_op
    >>> wide = conv_op(in_channels=32, out_channels=64, size=(8, 8), kernel=(3, 3))
    >>> device = Translation([replace(wide, layout="nchw16c", implementation="blocked")])
    >>> found = device.of(conv_op(in_channels=32, out_channels=24, size=(8, 8), kernel=(3, 3)))
    >>> found.layout, found.outputs, found.implementation
    ('nchw16c', ((1, 32, 8, 8),), 'blocked')
    """

    def __init__(self, ops: Iterable[Op]) -> None:
        self._own: set[tuple[str, str]] = set()
        self._known: dict[Form, list[Op]] = {}
        for op in ops:
            self._own.add((path_of(op, by_name=True), op.dtype))
            for form in dict.fromkeys((_form(op), _form(op)[:1])):
                self._known.setdefault(form, []).append(op)
        self._trees: dict[Form, KDTree] = {}

    def of(self, op: Op) -> Op | None:
        """The Op as the device would run it; None where it was seen to run nothing of its kind."""
        if (path_of(op, by_name=True), op.dtype) in self._own:
            return op
        form = next((form for form in (_form(op), _form(op)[:1]) if form in self._known), None)
        if form is None:
            return None
        if form not in self._trees:
            self._trees[form] = KDTree(np.array([_sizes(known) for known in self._known[form]]))
        like = self._known[form][int(self._trees[form].query(_sizes(op))[1])]
        moved = _in_layout(op, like.layout)
        return replace(moved, implementation=like.implementation, dtype=like.dtype)


def _form(op: Op) -> Form:
    if op.kind not in CONV_KINDS:
        return (op.kind,)
    shape = "depthwise" if op.is_depthwise else "grouped" if op.groups > 1 else "dense"
    return op.kind, shape, prod(op.kernel) > 1, max(op.stride, default=1) > 1


def _sizes(op: Op) -> list[float]:
    """Logarithms of what makes two kernels alike."""
    sizes = (
        op.batch, op.in_channels, op.out_channels, prod(op.spatial_in), prod(op.kernel),
        prod(op.stride), op.groups, op.num_weights, op.num_input_elements, op.num_output_elements,
    )  # fmt: skip
    return [log1p(size) for size in sizes]


def _in_layout(op: Op, layout: str) -> Op:
    """The same work with its tensors in another layout."""
    if layout == op.layout:
        return op
    block = block_of(layout)
    is_conv = op.kind in CONV_KINDS
    # A first layer reads plain channels, fewer than a block, and writes blocks.
    plain_in = is_conv and op.in_channels < block
    return replace(
        op,
        layout=layout,
        inputs=tuple(_moved(shape, op.layout, layout, fill=not plain_in) for shape in op.inputs),
        outputs=tuple(_moved(shape, op.layout, layout) for shape in op.outputs),
        weights=_filled(op, block, plain_in=plain_in) if is_conv and block > 1 else op.weights,
        groups=_up(op.groups, block) if op.is_depthwise else op.groups,
    )


def _moved(shape: tuple[int, ...], old: str, new: str, *, fill: bool = True) -> tuple[int, ...]:
    plain = logical(shape, old)
    return physical(plain, new) if fill or block_of(new) == 1 else plain


def _filled(op: Op, block: int, *, plain_in: bool) -> tuple[tuple[int, ...], ...]:
    """Weights of a convolution whose channels are filled up to blocks."""
    filters = op.filters
    inner = filters[1] if plain_in or op.groups > 1 else _up(filters[1], block)
    renewed = {filters: (_up(filters[0], block), inner, *filters[2:])}
    renewed[filters[:1]] = (_up(filters[0], block),)
    return tuple(renewed.get(shape, shape) for shape in op.weights)


def _up(count: int, block: int) -> int:
    return -(-count // block) * block


def translated(translation: Translation, ops: Sequence[Op]) -> tuple[list[int], list[Op]]:
    """Places of the Ops that have a translation, and the translations."""
    pairs = [(place, translation.of(op)) for place, op in enumerate(ops)]
    found = [(place, op) for place, op in pairs if op is not None]
    return [place for place, _ in found], [op for _, op in found]
