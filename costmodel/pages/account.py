"""The account: what adds up to a network's time, as one bar that ends at the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bokeh.models import ColumnDataSource, CustomJS, Select

from costmodel.pages.charts import COLOURS, chart, hover
from costmodel.pages.parts import Part
from costmodel.plots.canvas import GREY
from costmodel.report.sheet import ms, percent

#: The parts by the words of ``Prediction.parts_ms`` and ``Comparison.parts_ms``, and what each is.
PARTS = {
    "kernels": "that calculate",
    "moving data": "changes of layout, joins, copies",
    "session": "the fixed cost of a run",
    "whole network": "what networks timed whole say beyond the sum of their kernels",
    "without a price": "layers that nothing could be said of",
    "unexplained": "measured beyond what was predicted",
}
#: From top to bottom.
_ORDER = (*list(PARTS)[:-1], "predicted", "unexplained", "measured")
_SHOW = "bars.data = accounts[cb_obj.value]"


def account(accounts: Mapping[str, Mapping[str, float]], measured: Mapping[str, float]) -> Part:
    """A chart of one network's account, with a control for which.

    Args:
        accounts: by network, its parts in ms; at least one.
        measured: by network, what the clock says, where it was asked.
    """
    first = next(iter(accounts))
    columns = {name: _bars(parts, measured.get(name)) for name, parts in accounts.items()}
    bars = ColumnDataSource(columns[first])
    shown = {name for data in columns.values() for name in data["part"]}
    order = [name for name in _ORDER if name in shown]
    controls = []
    if len(accounts) > 1:
        choose = Select(title="Network", value=first, options=list(accounts), width=260)
        args = {"bars": bars, "accounts": columns}
        choose.js_on_change("value", CustomJS(args=args, code=_SHOW))
        controls.append(choose)
    told = "; ".join(f"{name}: {PARTS[name]}" for name in order if name in PARTS)
    return Part(
        title="What adds up to the clock",
        text=f"Each bar begins where the one above it ends; a bar to the left takes away. {told}.",
        controls=controls,
        plots=[_plot(bars, order)],
    )


def _plot(bars: ColumnDataSource, order: list[str]) -> Any:
    plot = chart(x="ms", y="", height=90 + 34 * len(order), y_range=order[::-1])
    plot.ygrid.grid_line_color = None
    drawn = plot.hbar(
        y="part", left="left", right="right", height=0.62, source=bars, color="colour",
        fill_alpha=0.85, hatch_pattern="hatch", hatch_color="white", hatch_alpha=0.5,
    )  # fmt: skip
    plot.text(
        x="at", y="part", text="label", source=bars, x_offset=6, text_baseline="middle",
        text_font_size="12px",
    )  # fmt: skip
    # Room for the numbers beside the longest bar.
    plot.x_range.range_padding = 0.35
    plot.x_range.range_padding_units = "percent"
    hover(plot, drawn, {"": "@part", "": "@label"})
    return plot


def _bars(parts: Mapping[str, float], measured: float | None) -> dict[str, list[Any]]:
    colours = dict(zip(PARTS, (*COLOURS, GREY), strict=True))
    whole = measured or sum(parts.values())
    found: dict[str, list[Any]] = {
        name: [] for name in ("part", "left", "right", "at", "colour", "hatch", "label")
    }

    def add(name: str, start: float, length: float, colour: str, *, total: bool) -> None:
        share = "" if total else f"  {percent(length / whole if whole else None)}"
        sign = "−" if length < 0 else ""
        values = (
            name, start, start + length, max(start, start + length), colour,
            "right_diagonal_line" if length < 0 or name == "unexplained" else " ",
            f"{sign}{ms(abs(length))} ms{share}",
        )  # fmt: skip
        for column, value in zip(found.values(), values, strict=True):
            column.append(value)

    at = 0.0
    for name in PARTS:
        if name == "unexplained" and name in parts:
            add("predicted", 0.0, at, GREY, total=True)
        if abs(parts.get(name, 0.0)) > 1e-9 * abs(whole):
            add(name, at, parts[name], colours[name], total=False)
            at += parts[name]
    add("predicted" if measured is None else "measured", 0.0, at, GREY, total=True)
    return found
