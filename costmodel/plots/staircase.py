"""Draws the staircase of latency over channels, from stored rows and from a cost model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from costmodel.errors import InvalidInputError
from costmodel.layouts import block_of
from costmodel.measurement import Measurement
from costmodel.op import CONV_KINDS, Op, Shape, describe
from costmodel.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    check_picture,
    new_figure,
    plain_grid,
    save,
)
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable

#: Widths at which a staircase is predicted when the table has no family of rows.
MOST_CHANNELS = 256
#: Fewest rows that make a staircase.
MIN_STEPS = 3
#: Which channels of a convolution vary.
OUTPUT, INPUT, BOTH = "output channels", "input channels", "channels, in and out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """Latency of one convolution over its channels.

    Attributes:
        title: the convolution, without the channels that vary.
        axis: which channels vary.
        device: whose numbers these are, with provenance.
        measured: ``(channels, ms)`` of stored rows, channels ascending.
        predicted: by kernel, ``(channels, ms)`` of a cost model, channels ascending: the right
            ends of steps. Which kernel runs at a width is the runtime's choice, which stored rows
            show.
    """

    title: str
    axis: str
    device: str
    measured: tuple[tuple[int, float], ...] = ()
    predicted: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)


def plot_staircase(staircase: Staircase, path: Path) -> Path:
    """Draw latency over channels: stored rows as points, predictions as a line.

    Args:
        staircase: from ``staircase_of_table`` or ``staircase_of_cost``.
        path: file to write; its suffix chooses the format.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for another suffix, nothing to draw, or a path that cannot be written.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    if not staircase.measured and not staircase.predicted:
        message = (
            f"The staircase of {staircase.title!r} has no points, so there is nothing to draw."
        )
        raise InvalidInputError(message)
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    lines = zip(staircase.predicted.items(), (ORANGE, GREEN, GREY), strict=False)
    for (kernel, points), color in lines:
        channels, times = zip(*points, strict=True)
        # A width just above a step's right end needs the next one, so steps rise on their left.
        axes.step(
            (0, *channels),
            (times[0], *times),
            where="pre",
            color=color,
            label=f"predicted, {kernel}" if kernel else "predicted",
            linewidth=1.6,
        )
    if staircase.measured:
        channels, times = zip(*staircase.measured, strict=True)
        between = "none" if staircase.predicted else "-"
        axes.plot(
            channels,
            times,
            linestyle=between,
            linewidth=0.8,
            marker="o",
            markersize=5,
            color=BLUE,
            label="stored rows",
        )
    axes.set(xlabel=staircase.axis, ylabel="latency in ms")
    axes.set_ylim(bottom=0.0)
    axes.set_title(f"{staircase.title}\n{staircase.device}", fontsize=11)
    plain_grid(axes)
    axes.legend(frameon=False, loc="upper left")
    return save(figure, path)


def staircase_of_table(table: LatencyTable, cost: CostModel | None = None) -> Staircase | None:
    """The convolutions with the most rows that differ in channels only.

    Args:
        table: the rows.
        cost: also predicts each width from 1 up, when given.

    Returns:
        None when no ``MIN_STEPS`` rows are of one family.
    """
    families: dict[tuple[str, Op, int], list[Measurement]] = defaultdict(list)
    for row in table.kernels():
        if row.op.kind in CONV_KINDS and row.op.weights:
            for axis, beside in _axes_of(row.op):
                families[axis, _family(row.op), beside].append(row)
    best = max(families, key=lambda key: _steps(key, families[key]), default=None)
    if best is None or _steps(best, families[best]) < MIN_STEPS:
        return None
    axis, _, beside = best
    rows = sorted(families[best], key=lambda row: (_along(axis, row.op), row.latency_ms))
    measured = {_along(axis, row.op): row.latency_ms for row in reversed(rows)}
    bases = {_kernel(row.op): row.op for row in rows}
    lines = {
        kernel: () if cost is None else _predicted(op, axis, max(measured), cost)
        for kernel, op in bases.items()
    }
    return Staircase(
        title=_family_title(rows[-1].op, axis, beside),
        axis=axis,
        device=f"{table.device.label} ({table.device.provenance})",
        measured=tuple(sorted(measured.items())),
        predicted={kernel: points for kernel, points in lines.items() if points},
    )


def staircase_of_cost(
    cost: CostModel, base: Op, device: str, most: int = MOST_CHANNELS
) -> Staircase:
    """What a cost model charges for one convolution over its output channels.

    Args:
        cost: prices in milliseconds.
        base: a convolution; its own output channels do not matter. A depthwise one is widened as
            a whole.
        device: whose numbers these are.
        most: greatest number of channels.

    Raises:
        InvalidInputError: if ``base`` is no convolution, or the cost model has no price for it.
    """
    if base.kind not in CONV_KINDS:
        message = f"A staircase needs a convolution. Received: {base.label!r}."
        raise InvalidInputError(message)
    axis = BOTH if base.is_depthwise else OUTPUT
    found = _predicted(base, axis, most, cost)
    if not found:
        message = f"The cost model {cost.name!r} has no price for {base.label!r} at any width."
        raise InvalidInputError(message)
    return Staircase(
        title=_family_title(base, axis, base.in_channels),
        axis=axis,
        device=device,
        predicted={_kernel(base): found},
    )


def _axes_of(op: Op) -> tuple[tuple[str, int], ...]:
    """Which channels of a convolution may vary, and how many the others are."""
    if op.is_depthwise:
        return ((BOTH, 0),)
    found = [(OUTPUT, op.in_channels), (INPUT, op.out_channels)]
    return (*found, (BOTH, 0)) if op.in_channels == op.out_channels else tuple(found)


def _along(axis: str, op: Op) -> int:
    return op.in_channels if axis == INPUT else op.out_channels


def _steps(key: tuple[str, Op, int], rows: Sequence[Measurement]) -> int:
    return len({_along(key[0], row.op) for row in rows})


def _family(op: Op) -> Op:
    """What convolutions share that differ in channels alone, blocked or not."""
    return replace(
        op,
        # The kernel's name and layout follow from the channels: both belong to one staircase.
        implementation="",
        layout="",
        inputs=((op.batch, *op.spatial_in), *((),) * (len(op.inputs) - 1)),
        outputs=((op.batch, *op.spatial_out),),
        weights=((*op.kernel, len(op.weights)),),
        groups=-1 if op.is_depthwise else op.groups,
    )


def _family_title(op: Op, axis: str, beside: int) -> str:
    kind, window, *rest = describe(op).split()
    fixed = {OUTPUT: f", {beside} input channels,", INPUT: f", {beside} output channels,", BOTH: ""}
    rest = [word for word in rest if "->" not in word and not word.startswith("nchw")]
    return " ".join([kind, window + fixed[axis], *rest])


def _predicted(base: Op, axis: str, most: int, cost: CostModel) -> tuple[tuple[int, float], ...]:
    block = block_of(base.layout)
    widths = [w for w in range(block, most + block, block) if _divides(base, axis, w)]
    prices = cost.price([_widened(base, axis, width) for width in widths])
    pairs = zip(widths, (float(value) for value in prices.values), strict=True)
    return tuple((width, value) for width, value in pairs if isfinite(value))


def _divides(base: Op, axis: str, width: int) -> bool:
    return base.is_depthwise or (axis == OUTPUT and width % base.groups == 0) or base.groups == 1


def _widened(base: Op, axis: str, width: int) -> Op:
    """The same kernel for ``width`` channels, whole blocks of them in a blocked layout."""
    out = width if axis != INPUT else base.out_channels
    into = width if axis != OUTPUT else base.in_channels
    groups = into if base.is_depthwise else base.groups
    shapes: list[Shape] = [(out, into // groups, *base.kernel)]
    shapes += [(out,) for _ in base.weights[1:]]
    return replace(
        base,
        inputs=tuple(
            _with_channels(base, shape, into if i == 0 else out)
            for i, shape in enumerate(base.inputs)
        ),
        outputs=(_with_channels(base, base.outputs[0], out),),
        weights=tuple(shapes),
        groups=groups,
    )


def _with_channels(op: Op, shape: Shape, channels: int) -> Shape:
    if op.layout == "nhwc":
        return (*shape[:-1], channels)
    return (shape[0], channels, *shape[2:])


def _kernel(op: Op) -> str:
    """The runtime's kernel and layout; empty where it does not say."""
    name = op.implementation.rpartition(":")[2]
    return f"{name} {op.layout}".strip() if name or op.layout != "nchw" else ""
