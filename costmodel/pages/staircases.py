"""Staircases to choose from: what a cost model charges over channels, beside stored rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from costmodel.layouts import block_of
from costmodel.measurement import Measurement
from costmodel.op import Op, Shape
from costmodel.protocols import CostModel
from costmodel.report.table import path_of
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]
_Key = TypeVar("_Key", bound=Hashable)

#: Kernels to choose from, and of each: strides, sizes and input channels; those with most rows.
KERNELS, STRIDES, SIZES, INPUTS = 6, 2, 5, 5
#: Widest layer that is priced, and from where on only every eighth width is.
MOST, DENSE = 512, 64
#: Fewest rows of a kernel.
LEAST_ROWS = 3
#: Input channels of a depthwise convolution, which has as many as it writes.
SAME = "as output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One convolution, its output channels left open.

    Attributes:
        kernel: window, epilogue and the runtime's path.
        stride: such as ``2``.
        size: of the input, such as ``56x56``.
        inputs: input channels, or ``SAME``.
    """

    kernel: str
    stride: str
    size: str
    inputs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What a convolution takes over its output channels.

    Attributes:
        widths: ``(n,)`` output channels, ascending: the right ends of steps.
        price_ms: ``(n,)`` by the cost model.
        low_ms: ``(n,)`` lower ends of the interval.
        high_ms: ``(n,)`` upper ends.
        measured: ``(channels, ms, halves)`` of stored rows; ``halves`` is how far the two halves of
            a row's rounds are apart, NaN where nobody knows.
    """

    widths: NDArray[np.intp]
    price_ms: Floats
    low_ms: Floats
    high_ms: Floats
    measured: tuple[tuple[int, float, float], ...]

    @property
    def envelope_ms(self) -> Floats:
        """``(n,)`` the least that this width or a greater one costs.

        >>> none = np.zeros(3)
        >>> price = np.array([1.0, 3.0, 2.0])
        >>> widths = np.array([8, 16, 24])
        >>> Steps(widths=widths, price_ms=price, low_ms=none, high_ms=none, measured=()).envelope_ms
        array([1., 2., 2.])
        """
        return np.asarray(np.minimum.accumulate(self.price_ms[::-1])[::-1])


def staircases(table: LatencyTable, cost: CostModel) -> dict[Choice, Steps]:
    """Every combination of the kernels, strides, sizes and input channels that have most rows.

    Args:
        table: whose convolutions.
        cost: prices them, in milliseconds; asked once, for all.

    Returns:
        The combinations by kernel, the one with most rows first; empty where no kernel has
        ``LEAST_ROWS``, or nothing has a price.
    """
    by_kernel: dict[str, list[Measurement]] = defaultdict(list)
    for row in table.kernels():
        if _is_plain(row.op):
            by_kernel[_kernel_of(row.op)].append(row)
    ranked = sorted(by_kernel.items(), key=lambda item: (-len(item[1]), item[0]))[:KERNELS]
    plans = [plan for _, rows in ranked if len(rows) >= LEAST_ROWS for plan in _plans(rows)]
    prices = cost.price([op for _, _, ops, _ in plans for op in ops])
    found: dict[Choice, Steps] = {}
    start = 0
    for choice, widths, ops, measured in plans:
        part = slice(start, start := start + len(ops))
        price = prices.values[part]
        known = np.isfinite(price)
        if known.any():
            found[choice] = Steps(
                widths=widths[known],
                price_ms=price[known],
                low_ms=prices.low[part][known],
                high_ms=prices.high[part][known],
                measured=measured,
            )
    return found


_Plan = tuple[Choice, NDArray[np.intp], list[Op], tuple[tuple[int, float, float], ...]]


def _plans(rows: Sequence[Measurement]) -> list[_Plan]:
    """The Ops to price for one kernel."""
    strides = _most(rows, lambda op: op.stride, STRIDES)
    sizes = _most(rows, lambda op: op.spatial_in, SIZES)
    inputs = _most(rows, lambda op: 0 if op.is_depthwise else op.in_channels, INPUTS)
    widest = min(MOST, max(row.op.out_channels for row in rows))
    plans = []
    for stride in sorted(strides):
        base = next(row.op for row in rows if row.op.stride == stride)
        widths = _widths(block_of(base.layout), widest)
        for size in sorted(sizes):
            for into in sorted(inputs):
                choice = Choice(
                    kernel=_kernel_of(base),
                    stride="x".join(map(str, dict.fromkeys(stride))),
                    size="x".join(map(str, size)),
                    inputs=str(into or SAME),
                )
                ops = [_resized(base, size, into or int(width), int(width)) for width in widths]
                plans.append((choice, widths, ops, _measured(rows, stride, size, into)))
    return plans


def _measured(
    rows: Iterable[Measurement], stride: Shape, size: Shape, into: int
) -> tuple[tuple[int, float, float], ...]:
    return tuple(
        sorted(
            (row.op.out_channels, row.latency_ms, row.spread)
            for row in rows
            if (row.op.stride, row.op.spatial_in) == (stride, size)
            and (not into or row.op.in_channels == into)
        )
    )


def _most(rows: Iterable[Measurement], key: Callable[[Op], _Key], count: int) -> list[_Key]:
    return [value for value, _ in Counter(key(row.op) for row in rows).most_common(count)]


def _widths(block: int, widest: int) -> NDArray[np.intp]:
    if block > 1:
        return np.arange(block, widest + block, block)
    return np.unique([*range(1, min(DENSE, widest) + 1), *range(DENSE, widest + 8, 8)])


def _kernel_of(op: Op) -> str:
    words = ["x".join(map(str, op.kernel)), *(f"+{item}" for item in op.epilogue)]
    words += [f"dilated {op.dilation[0]}"] if set(op.dilation) - {1} else []
    path = path_of(op)
    return " ".join(words) + (f", {path}" if path else "")


def _is_plain(op: Op) -> bool:
    """Whether other sizes of this convolution can be written down: one input, or a sum."""
    return (
        op.kind == "conv"
        and bool(op.weights)
        and len(op.weights[0]) > 2
        and len(op.outputs) == 1
        and (op.groups == 1 or op.is_depthwise)
        and len(op.spatial_in) == len(op.kernel) == len(op.stride) == len(op.pads) // 2
        and all(shape == op.outputs[0] for shape in op.inputs[1:])
        and all(shape == op.weights[0][:1] for shape in op.weights[1:])
        and (not op.is_depthwise or op.in_channels == op.out_channels)
    )


def _resized(op: Op, size: Shape, into: int, out: int) -> Op:
    """The same kernel for other sizes."""
    axes = len(size)
    written = tuple(
        max(1, (size[i] + op.pads[i] + op.pads[i + axes] - (op.kernel[i] - 1) * _step(op, i) - 1)
            // op.stride[i] + 1)
        for i in range(axes)
    )  # fmt: skip
    output = _shape(op, out, written)
    return replace(
        op,
        inputs=(_shape(op, into, size), *(output for _ in op.inputs[1:])),
        outputs=(output,),
        weights=((out, into // into if op.is_depthwise else into, *op.kernel),)
        + ((out,),) * (len(op.weights) - 1),
        groups=into if op.is_depthwise else 1,
    )


def _step(op: Op, axis: int) -> int:
    return op.dilation[axis] if op.dilation else 1


def _shape(op: Op, channels: int, size: Shape) -> Shape:
    spatial = (*size, channels) if op.layout == "nhwc" else (channels, *size)
    return (op.batch, *spatial)
