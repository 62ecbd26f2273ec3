"""The account: what adds up to a network's time, as one bar in steps that ends at the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bokeh.models import ColumnDataSource, CustomJS, FactorRange, Select

from costmodel.pages.charts import COLOURS, GREY, chart, hover
from costmodel.pages.parts import Key, Part
from costmodel.report.sheet import ms, percent

#: The parts by the words of ``Prediction.parts_ms`` and ``Comparison.parts_ms``, and what each is.
PARTS = {
    "kernels": "kernels that calculate",
    "moving data": "kernels that only move data: changes of layout, joins, copies",
    "session": "the fixed cost of a run",
    "whole network": "what networks timed whole say beyond the sum of their kernels",
    "without a price": "layers that nothing could be said of",
    "unexplained": "what the clock says beyond the prediction",
}
_COLOURS = dict(zip(PARTS, (*COLOURS, GREY), strict=True))
_SHOW = """
bars.data = accounts[cb_obj.value]
rows.factors = Array.from(bars.data.name).reverse()
"""


def account(accounts: Mapping[str, Mapping[str, float]], measured: Mapping[str, float]) -> Part:
    """A chart of one network's account, with a control for which.

    Args:
        accounts: by network, its parts in ms; at least one.
        measured: by network, what the clock says, where it was asked.
    """
    first = next(iter(accounts))
    columns = {name: _bars(parts, measured.get(name)) for name, parts in accounts.items()}
    bars = ColumnDataSource(columns[first])
    rows = FactorRange(factors=columns[first]["name"][::-1])
    controls = []
    if len(accounts) > 1:
        choose = Select(title="Network", value=first, options=list(accounts), width=260)
        args = {"bars": bars, "rows": rows, "accounts": columns}
        choose.js_on_change("value", CustomJS(args=args, code=_SHOW))
        controls.append(choose)
    met = {name for parts in accounts.values() for name, spent in parts.items() if spent}
    return Part(
        title="What adds up to the clock",
        text="Each bar begins where the one above it ends; one that is hatched takes away.",
        controls=controls,
        legend=[Key("■", _COLOURS[name], told) for name, told in PARTS.items() if name in met],
        plots=[_plot(bars, rows, max(len(data["name"]) for data in columns.values()))],
    )


def _plot(bars: ColumnDataSource, rows: FactorRange, most: int) -> Any:
    plot = chart(x="ms", y="", height=80 + 44 * most, y_range=rows)
    plot.ygrid.grid_line_color = None
    plot.x_range.start = 0.0
    drawn = plot.hbar(
        y="name", left="left", right="right", height=0.62, source=bars, color="colour",
        fill_alpha=0.85, hatch_pattern="hatch", hatch_color="white", hatch_alpha=0.5,
    )  # fmt: skip
    hover(plot, drawn, {"": "@name"})
    return plot


def _bars(parts: Mapping[str, float], measured: float | None) -> dict[str, list[Any]]:
    """Columns of one network's bars, from top to bottom."""
    whole = sum(parts.values()) if measured is None else measured
    found: dict[str, list[Any]] = {key: [] for key in ("name", "left", "right", "colour", "hatch")}

    def add(name: str, start: float, end: float, share: str = "") -> None:
        sign = "-" if end < start else ""
        found["name"].append(f"{name}\n{sign}{ms(abs(end - start))} ms{share}")
        found["left"].append(start)
        found["right"].append(end)
        found["colour"].append(_COLOURS.get(name, GREY))
        found["hatch"].append("right_diagonal_line" if end < start else " ")

    at = 0.0
    for name in PARTS:
        if name == "unexplained" and name in parts:
            add("predicted", 0.0, at)
        spent = parts.get(name, 0.0)
        if spent:
            add(name, at, at + spent, f" ({percent(spent / whole)})")
            at += spent
    add("predicted" if measured is None else "measured", 0.0, at)
    return found
