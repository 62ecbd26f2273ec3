"""Charts: plots that look alike, in any colour scheme and at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import (
    ColumnDataSource,
    FactorRange,
    HoverTool,
    LogTicker,
    PrintfTickFormatter,
    Range1d,
)
from bokeh.plotting import figure
from bokeh.transform import factor_cmap, factor_mark

from costmodel.kinds import MATMUL_KINDS, MOVES
from costmodel.op import CONV_KINDS, Op
from costmodel.pages.parts import Key
from costmodel.plots.canvas import BLUE, GREEN, ORANGE

#: The last of Okabe and Ito's colours that is seen on white and on black.
PURPLE = "#CC79A7"
#: A grey that is as far from white as from a dark page.
GREY = "#7d7d7d"
#: Sorts of kernels; each has a colour and, for those who see few colours, a mark of its own.
SORTS = ("convolutions", "depthwise", "matrix products", "moving data", "others")
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
MARKS = ("circle", "triangle", "square", "diamond", "x")
SIGNS = ("●", "▲", "■", "◆", "✕")
#: Signs of bars.
BARS = ("■",) * len(SORTS)
#: Height of a chart, and greatest width of one that is best about square, in pixels.
HEIGHT, SQUARE = 420, 720
#: Characters of a name beside an axis.
_NAME = 22


def sort_of(op: Op) -> str:
    """Which of ``SORTS`` a kernel is.

    >>> sort_of(Op(kind="reorder_input")), sort_of(Op(kind="gemm"))
    ('moving data', 'matrix products')
    """
    if op.kind in CONV_KINDS:
        return SORTS[1] if op.is_depthwise else SORTS[0]
    if op.kind in MATMUL_KINDS or "matmul" in op.kind:
        return SORTS[2]
    return SORTS[3] if op.kind in MOVES else SORTS[4]


def chart(*, x: str, y: str, log: bool = False, height: int = HEIGHT, **options: Any) -> Any:
    """An empty chart.

    Args:
        x: title of the axis, with its unit.
        y: likewise.
        log: whether both axes are logarithmic.
        height: in pixels.
        **options: of Bokeh's ``figure``.
    """
    scale = {"x_axis_type": "log", "y_axis_type": "log"} if log else {}
    found = figure(
        height=height,
        sizing_mode="stretch_width",
        x_axis_label=x,
        y_axis_label=y,
        # The page is seen through: what is painted over an edge leaves a line of the old scheme.
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        tools="pan,box_zoom,wheel_zoom,tap,save,reset",
        toolbar_location="above",
        # A finger that scrolls the page must not move the plot: zooming is asked for.
        active_drag=None,
        active_scroll=None,
        **scale,
        **options,
    )
    found.toolbar.logo = None
    if log:
        for axis in found.axis:
            axis.ticker = LogTicker(mantissas=[1, 2, 5], desired_num_ticks=7)
            axis.formatter = PrintfTickFormatter(format="%g")
    return found


def hover(plot: Any, renderer: Any, fields: Mapping[str, str]) -> None:
    """Say more about what the pointer is on.

    Args:
        plot: with the renderer.
        renderer: whose marks.
        fields: by word, Bokeh's name of a field and its format, such as ``@ms{0.000}``.
    """
    plot.add_tools(HoverTool(renderers=[renderer], tooltips=list(fields.items())))


def marks(plot: Any, source: ColumnDataSource, x: str, y: str, **options: Any) -> Any:
    """Rows of a source as marks by their sort; needs a column ``sort``."""
    return plot.scatter(
        x,
        y,
        source=source,
        size=7,
        fill_alpha=0.55,
        line_alpha=0.9,
        nonselection_fill_alpha=0.12,
        nonselection_line_alpha=0.12,
        marker=factor_mark("sort", MARKS, SORTS),
        color=factor_cmap("sort", COLOURS, SORTS),
        **options,
    )


def sorts_shown(source: ColumnDataSource, signs: Sequence[str] = SIGNS) -> list[Key]:
    """The legend of ``marks``: the sorts that a source has."""
    known = set(source.data["sort"])
    every = zip(SORTS, COLOURS, signs, strict=True)
    return [Key(sign, colour, sort) for sort, colour, sign in every if sort in known]


def identity(plot: Any, low: float, high: float, repeats: float | None) -> list[Key]:
    """Draw where predicted equals measured, and the band within which measuring repeats itself.

    Args:
        plot: with measured times across and predicted ones up.
        low: least of both.
        high: greatest.
        repeats: relative half width of the band; None to draw none.

    Returns:
        The legend of both.
    """
    ends = [low, high]
    plot.max_width = SQUARE
    plot.x_range = Range1d(low, high)
    plot.y_range = Range1d(low, high)
    if repeats is not None:
        plot.varea(
            x=ends,
            y1=[end * (1 - repeats) for end in ends],
            y2=[end * (1 + repeats) for end in ends],
            fill_color=GREEN,
            fill_alpha=0.25,
        )
    plot.line(ends, ends, color=GREY, line_width=1.2)
    keys = [Key("/", GREY, "predicted = measured")]
    if repeats is not None:
        keys.append(Key("▒", GREEN, f"measuring repeats within {repeats * 100:.1f} %"))
    return keys


def names_beside(names: Sequence[str]) -> tuple[list[str], FactorRange]:
    """Short, unequal names for an axis of names, and the axis's range, first name on top."""
    shown: dict[str, None] = {}
    for name in names:
        short = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
        number = 2
        while short in shown:
            short = f"{short.rpartition(' #')[0] or short} #{number}"
            number += 1
        shown[short] = None
    found = list(shown)
    return found, FactorRange(factors=found[::-1])
