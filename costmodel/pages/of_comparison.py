"""The section of comparisons: predicted against measured, and what each time is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import BoxAnnotation, ColumnDataSource, Span, Whisker

from costmodel.comparison import summarise
from costmodel.pages.account import account
from costmodel.pages.charts import GREY, chart, hover, identity, names_beside
from costmodel.pages.grid import Column, grid
from costmodel.pages.parts import Key, Part, Section
from costmodel.pages.records import ComparisonRecord
from costmodel.plots.canvas import BLUE, GREEN, ORANGE
from costmodel.report.comparison import summary_sheet
from costmodel.report.sheet import Sheet, facts, percent, signed_percent

_COLUMNS = (
    Column(name="model", title="network", width=220),
    Column(name="predicted", title="predicted ms", kind="ms", width=105),
    Column(name="low", title="from", kind="ms", width=80),
    Column(name="high", title="to", kind="ms", width=80),
    Column(name="measured", title="measured ms", kind="ms", width=105),
    Column(name="median", title="median ms", kind="ms", width=90),
    Column(name="error", title="error", kind="percent", width=75),
    Column(name="at_pace", title="at this pace", kind="percent", width=95),
    Column(name="repeats", title="repeats", kind="percent", width=75),
    Column(name="uncalibrated", title="plain sum, ms", kind="ms", width=105),
    Column(name="priced", title="priced", kind="percent", width=70),
    Column(name="status", title="status", width=80),
)


def comparison_section(records: Sequence[ComparisonRecord], title: str) -> Section:
    """Predicted against measured.

    Args:
        records: at least one.
        title: what they are together, a file's name for instance.
    """
    known = [item for item in records if item.error is not None]
    source = _source(records)
    found = grid(source, _COLUMNS, rows="networks")
    parts = [_scatter(known), _errors(known)] if known else []
    parts.append(
        Part(
            title="Networks",
            text="repeats: how far the two halves of the measuring rounds are apart; no smaller "
            "error means much.",
            controls=found.controls,
            plots=[found.table],
        )
    )
    accounts = {item.model: item.parts_ms for item in records if item.parts_ms}
    if accounts:
        measured = {item.model: item.measured_ms for item in records if item.measured_ms}
        parts.insert(0, account(accounts, measured))
    first = records[0]
    device = facts(
        title,
        {
            "measured on": first.measured_on,
            "predicted for": first.predicted_for or "",
            "cost model": first.cost,
            "error": signed_percent(first.error) if len(records) == 1 else "",
        },
        _notes(records),
    )
    sheets: list[Sheet] = [device]
    if len(records) > 1:
        sheets.append(summary_sheet(records))
    return Section(kind="Comparison", title=title, facts=sheets, parts=parts)


def _notes(records: Sequence[ComparisonRecord]) -> list[str]:
    notes = [
        f"{item.model} has no measured time: {item.status}, {item.reason}."
        for item in records
        if item.measured_ms is None
    ]
    return notes + [
        f"{item.model}: {len(item.unpriced)} layers have no price."
        for item in records
        if item.unpriced
    ]


def _source(records: Sequence[ComparisonRecord]) -> ColumnDataSource:
    def column(name: str) -> Any:
        values = [getattr(item, name) for item in records]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    intervals = [item.interval_ms or (np.nan, np.nan) for item in records]
    return ColumnDataSource(
        {
            "model": [item.model for item in records],
            "status": [item.status for item in records],
            "predicted": column("predicted_ms"),
            "measured": column("measured_ms"),
            "median": column("median_ms"),
            "error": column("error"),
            "at_pace": column("error_at_pace"),
            "repeats": column("repeatability"),
            "uncalibrated": column("uncalibrated_ms"),
            "priced": column("priced_share"),
            "low": np.array([low for low, _ in intervals]),
            "high": np.array([high for _, high in intervals]),
        }
    )


def _scatter(known: Sequence[ComparisonRecord]) -> Part:
    source = _source(known)
    data = source.data
    summary = summarise(known)
    plot = chart(x="measured ms", y="predicted ms", log=True)
    # A logarithm of 0 would leave the whole bar out: it goes down past the chart's edge instead.
    source.data["from"] = np.where(data["low"] > 0, data["low"], data["predicted"] / 1e6)
    every = np.concatenate([data["measured"], data["predicted"]])
    keys = identity(plot, float(every.min()) / 1.4, float(every.max()) * 1.4, summary.repeatability)
    whisker = Whisker(
        base="measured", lower="from", upper="high", source=source, line_color=ORANGE,
        line_width=1.5, level="underlay",
    )  # fmt: skip
    for head in (whisker.lower_head, whisker.upper_head):
        head.size, head.line_color = 8, ORANGE
    plot.add_layout(whisker)
    drawn = plot.scatter(
        "measured", "predicted", source=source, size=10, color=BLUE, fill_alpha=0.8,
    )  # fmt: skip
    hover(plot, drawn, _WORDS)
    told = f"median |error| {percent(summary.median_error)}, worst "
    told += f"{signed_percent(summary.worst_error)} ({summary.worst_model})"
    return Part(
        title="Predicted against measured",
        text=f"{len(known)} network{'s' if len(known) > 1 else ''}: {told}; in the interval: "
        f"{percent(summary.in_interval, 0)}.",
        legend=[Key("●", BLUE, "a network"), Key("┃", ORANGE, "its interval"), *keys],
        plots=[plot],
    )


_WORDS = {
    "": "@model",
    "predicted": "@predicted{0.000} ms (@low{0.000} to @high{0.000})",
    "measured": "@measured{0.000} ms",
    "error": "@error{+0.0 %}",
    "repeats": "@repeats{0.0 %}",
}


def _errors(known: Sequence[ComparisonRecord]) -> Part:
    """Each network's error and interval, both as shares of what was measured."""
    ranked = sorted(known, key=lambda item: item.measured_ms or 0.0)
    source = _source(ranked)
    data = source.data
    names, span = names_beside([item.model for item in ranked])
    source.data["short"] = names
    for name, of in (("error100", "predicted"), ("low100", "low"), ("high100", "high")):
        source.data[name] = (np.asarray(data[of]) / np.asarray(data["measured"]) - 1.0) * 100.0
    plot = chart(x="error in %", y="", height=110 + 22 * len(ranked), y_range=span)
    plot.ygrid.grid_line_color = None
    plot.add_layout(
        BoxAnnotation(left=-10, right=10, fill_color=GREEN, fill_alpha=0.15, level="underlay")
    )
    plot.add_layout(Span(location=0, dimension="height", line_color=GREY))
    plot.segment("low100", "short", "high100", "short", source=source, color=ORANGE, line_width=2)
    drawn = plot.scatter("error100", "short", source=source, size=10, color=BLUE)
    hover(plot, drawn, _WORDS)
    return Part(
        title="Errors",
        text="Above 0 is predicted too slow; the fastest network is on top.",
        legend=[
            Key("●", BLUE, "error"),
            Key("━", ORANGE, "the prediction's interval"),
            Key("▒", GREEN, "10 % to either side"),
        ],
        plots=[plot],
    )
