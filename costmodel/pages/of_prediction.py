"""A prediction's section: its total, what adds up to it, its layers and their kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource
from bokeh.transform import factor_cmap

from costmodel.op import Op
from costmodel.pages.account import account
from costmodel.pages.charts import BARS, COLOURS, GREY, SORTS, chart, hover, sort_of, sorts_shown
from costmodel.pages.grid import Column, grid, pick_together
from costmodel.pages.of_table import roofline_chart
from costmodel.pages.parts import Part, Section
from costmodel.pages.rates import rate_of
from costmodel.pages.records import LayerRecord, PredictionRecord
from costmodel.report.prediction import SOURCES
from costmodel.report.sheet import Sheet, facts, ms, percent
from costmodel.report.table import path_of

_LAYERS = (
    Column(name="name", title="layer", width=210),
    Column(name="label", title="kernel", width=270),
    Column(name="measured", title="ms", kind="ms", width=80),
    Column(name="low", title="from", kind="ms", width=80),
    Column(name="high", title="to", kind="ms", width=80),
    Column(name="share", title="share", kind="percent", width=70),
    Column(name="basis", title="price", width=95),
    Column(name="covers", title="carries out", width=230),
    Column(name="note", title="note", width=260),
)
_KERNELS = (
    Column(name="label", title="kernel", width=270),
    Column(name="times", title="times", kind="number", width=65),
    Column(name="each", title="ms each", kind="ms", width=85),
    Column(name="together", title="ms together", kind="ms", width=100),
    Column(name="basis", title="price", width=95),
    Column(name="path", title="path", width=190),
    Column(name="digest", title="digest", width=150),
)


def prediction_section(record: PredictionRecord, rows: Sequence[ColumnDataSource] = ()) -> Section:
    """What a network will take.

    Args:
        record: the prediction.
        rows: kernels of tables on the same page: what is picked here is picked there.
    """
    parts: list[Part] = []
    if record.parts_ms:
        parts.append(account({record.model: record.parts_ms}, {}))
    if record.ops:
        parts += _layers(record.ops, rows)
    if record.unpriced:
        parts.append(Part(title="Without a price", sheets=[_unpriced(record)]))
    return Section(kind="Prediction", title=record.model, facts=[_facts(record)], parts=parts)


def _facts(record: PredictionRecord) -> Sheet:
    interval = record.interval_ms
    counts = Counter(layer.basis for layer in record.ops)
    known = len(record.ops), len(record.ops) + len(record.unpriced)
    return facts(
        record.model,
        {
            "predicted": f"{ms(record.predicted_ms)} ms"
            + (f", scaled from {percent(record.priced_share)} of the time" * record.scaled),
            "interval": f"{ms(interval[0])} to {ms(interval[1])} ms" if interval else "",
            "sum of layers": f"{ms(record.uncalibrated_ms)} ms",
            "calibration": record.calibration or "none",
            "device": f"{record.device} ({record.provenance})" if record.device else "",
            "cost model": record.cost,
            "layers": f"{record.source}: {SOURCES.get(record.source, '')}",
            "prices": ", ".join(f"{count} {basis}" for basis, count in counts.most_common()),
            "covers": f"{known[0]} of {known[1]} layers"
            + (f", {percent(record.priced_share)} of the time" * (record.priced_share is not None)),
        },
    )


def _unpriced(record: PredictionRecord) -> Sheet:
    return Sheet(
        title="In no total",
        columns=("layer", "work", "share of time", "reason"),
        rows=tuple(
            (item.name, item.op, percent(item.share), item.reason)
            for item in sorted(record.unpriced, key=lambda item: -(item.share or 0.0))
        ),
        align="llrl",
    )


def _layers(layers: Sequence[LayerRecord], rows: Sequence[ColumnDataSource]) -> list[Part]:
    source = _layer_source(layers)
    kernels = _kernel_source(layers)
    pick_together(source, kernels, "digest")
    for other in rows:
        pick_together(kernels, other, "digest")
    of_layers = grid(source, _LAYERS, rows="layers")
    of_kernels = grid(kernels, _KERNELS, rows="kernels")
    parts = [
        Part(
            title="Layers in their order",
            text="What each kernel takes, in the order in which they run, with its interval.",
            legend=sorts_shown(source, BARS),
            plots=[_in_order(source, len(layers))],
        ),
        Part(
            title="Layers",
            text="Pick layers to see their kernels below, in the charts, and in the table where it "
            "is on this page.",
            controls=of_layers.controls,
            plots=[of_layers.table],
        ),
        Part(
            title="Kernels",
            text="Layers that do the same work are one kernel. Pick one to see its layers above.",
            controls=of_kernels.controls,
            plots=[of_kernels.table],
        ),
    ]
    if np.isfinite(np.asarray(source.data["gmacs"])).any():
        text = "Predicted multiply-adds a second over multiply-adds a byte."
        plot = roofline_chart(source, None, view=of_layers.view)
        parts.append(Part(title="Roofline", text=text, legend=sorts_shown(source), plots=[plot]))
    return parts


def _layer_source(layers: Sequence[LayerRecord]) -> ColumnDataSource:
    rates = [rate_of(layer.kernel, layer.predicted_ms) for layer in layers]
    return ColumnDataSource(
        {
            "place": list(range(1, len(layers) + 1)),
            "name": [layer.name for layer in layers],
            "label": [layer.kernel.label for layer in layers],
            "sort": [sort_of(layer.kernel) for layer in layers],
            "digest": [layer.kernel.digest for layer in layers],
            "measured": np.array([layer.predicted_ms for layer in layers]),
            "low": np.array([layer.interval_ms[0] for layer in layers]),
            "high": np.array([layer.interval_ms[1] for layer in layers]),
            "share": np.array([np.nan if layer.share is None else layer.share for layer in layers]),
            "basis": [layer.basis for layer in layers],
            "covers": [", ".join(layer.covers) for layer in layers],
            "note": [layer.note for layer in layers],
            "gmacs": np.array([rate.gmacs for rate in rates]),
            "intensity": np.array([rate.intensity for rate in rates]),
        }
    )


def _kernel_source(layers: Sequence[LayerRecord]) -> ColumnDataSource:
    of_kernel: dict[Op, list[LayerRecord]] = {}
    for layer in layers:
        of_kernel.setdefault(layer.kernel, []).append(layer)
    ranked = sorted(of_kernel.items(), key=lambda item: -sum(one.predicted_ms for one in item[1]))
    return ColumnDataSource(
        {
            "label": [op.label for op, _ in ranked],
            "times": [len(found) for _, found in ranked],
            "each": np.array([found[0].predicted_ms for _, found in ranked]),
            "together": np.array([sum(one.predicted_ms for one in found) for _, found in ranked]),
            "basis": [found[0].basis for _, found in ranked],
            "path": [path_of(op) for op, _ in ranked],
            "digest": [op.digest for op, _ in ranked],
        }
    )


def _in_order(source: ColumnDataSource, count: int) -> Any:
    plot = chart(x="kernel, in the order of execution", y="ms", height=320)
    plot.y_range.start = 0.0
    plot.xgrid.grid_line_color = None
    drawn = plot.vbar(
        x="place", top="measured", width=0.9, source=source,
        color=factor_cmap("sort", COLOURS, SORTS), fill_alpha=0.85, line_width=0,
        nonselection_fill_alpha=0.2,
    )  # fmt: skip
    if count <= 300:
        plot.segment("place", "low", "place", "high", source=source, color=GREY, line_width=1)
    plot.x_range.range_padding = 0.01
    hover(
        plot, drawn, {"": "@name", "kernel": "@label", "ms": "@measured{0.0000}",
                      "share": "@share{0.0 %}", "price": "@basis"},
    )  # fmt: skip
    return plot
