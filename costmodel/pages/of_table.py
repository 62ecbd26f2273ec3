"""A table's section: the device, its rows against their predictions, its staircases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource

from costmodel.audit import repeatability
from costmodel.measurement import Measurement
from costmodel.op import CONV_KINDS, Op
from costmodel.pages.charts import (
    COLOURS,
    GREY,
    MARKS,
    SORTS,
    chart,
    hover,
    identity,
    marks,
    sort_of,
    sorts_shown,
)
from costmodel.pages.explorer import explorer
from costmodel.pages.grid import Column, Grid, grid
from costmodel.pages.parts import Key, Part, Section
from costmodel.pages.rates import Roofs, rate_of, roofs
from costmodel.pages.staircases import staircases
from costmodel.pages.subjects import Tabled
from costmodel.protocols import CostModel, HoldsOut
from costmodel.report.sheet import percent
from costmodel.report.table import path_of, table_sheets
from costmodel.scoring import Accuracy
from costmodel.table import LatencyTable

_KERNEL_COLUMNS = (
    Column(name="label", title="kernel", width=300),
    Column(name="measured", title="measured ms", kind="ms", width=110),
    Column(name="left_out", title="if left out, ms", kind="ms", width=125),
    Column(name="error", title="error", kind="percent", width=75),
    Column(name="repeats", title="repeats", kind="percent", width=75),
    Column(name="gmacs", title="GMAC/s", kind="number", width=80),
    Column(name="intensity", title="MAC/byte", kind="number", width=85),
    Column(name="status", title="status", width=70),
    Column(name="path", title="path", width=170),
    Column(name="digest", title="digest", width=150),
)


def table_section(subject: Tabled) -> tuple[Section, ColumnDataSource]:
    """What a table holds, and how well its cost model does on it.

    Args:
        subject: the table, and a cost model that prices staircases and says what each row would be
            priced at if it were not there.

    Returns:
        The section, and its kernels, whose column ``digest`` names them.
    """
    table, cost = subject.table, subject.cost
    device, *sheets = table_sheets(table)
    rows = table.kernels()
    source = _source(rows, cost)
    found = grid(source, _KERNEL_COLUMNS, rows="kernels")
    parts = [
        *_against(table, source, found),
        Part(
            title="Kernels",
            text="Every row of the table. What is picked here is picked in the charts, and the "
            "other way round; a filter holds for both.",
            controls=found.controls,
            plots=[found.table],
        ),
        *_staircases(table, cost),
        *_roofline(rows, source, found),
        Part(
            title="Coverage",
            text="What the rows span. A network whose layers lie far outside is extrapolated.",
            legend=[key for key in sorts_shown(source) if key.text in SORTS[:2]],
            plots=_coverage(rows),
            sheets=sheets,
        ),
    ]
    return Section(kind="Table", title=subject.title, facts=[device], parts=parts), source


def _source(rows: Sequence[Measurement], cost: CostModel | None) -> ColumnDataSource:
    left_out: Mapping[Op, float] = {}
    if cost is not None and isinstance(cost, HoldsOut):
        left_out = cost.held_out()
    rates = [rate_of(row.op, row.latency_ms) for row in rows]
    measured = np.array([row.latency_ms for row in rows])
    predicted = np.array([left_out.get(row.op, nan) for row in rows])
    return ColumnDataSource(
        {
            "label": [row.op.label for row in rows],
            "sort": [sort_of(row.op) for row in rows],
            "path": [path_of(row.op) for row in rows],
            "digest": [row.op.digest for row in rows],
            "status": [row.status for row in rows],
            "measured": measured,
            "left_out": predicted,
            "error": predicted / measured - 1.0,
            "repeats": np.array([row.spread for row in rows]),
            "gmacs": np.array([rate.gmacs for rate in rates]),
            "intensity": np.array([rate.intensity for rate in rates]),
        }
    )


def _against(table: LatencyTable, source: ColumnDataSource, found: Grid) -> list[Part]:
    """Measured rows against what they would be predicted at."""
    measured, predicted = (np.asarray(source.data[name]) for name in ("measured", "left_out"))
    known = np.isfinite(predicted)
    if not known.any():
        return []
    repeats = repeatability(table)
    accuracy = Accuracy.of(predicted[known], measured[known])
    plot = chart(x="measured ms", y="predicted ms, the row left out", log=True)
    both = np.concatenate([measured[known], predicted[known]])
    band = repeats.mape if repeats.rows else None
    keys = identity(plot, both.min() / 1.3, both.max() * 1.3, band)
    drawn = marks(plot, source, "measured", "left_out", view=found.view)
    times = {"measured": "@measured{0.0000} ms", "if left out": "@left_out{0.0000} ms"}
    shares = {"error": "@error{+0.0 %}", "repeats": "@repeats{0.0 %}"}
    hover(plot, drawn, {"": "@label"} | times | shares)
    ceiling = "how well rows repeat is not known"
    if band is not None:
        ceiling = f"rows repeat within {percent(band)} on average, which no prediction can beat"
    return [
        Part(
            title="Predicted against measured",
            text=f"Each kernel predicted as if its own row were not in the table: median |error| "
            f"{percent(accuracy.median)}, {percent(accuracy.within_10, 0)} within 10 %; {ceiling}.",
            legend=[*sorts_shown(source), *keys],
            plots=[plot],
        )
    ]


def _staircases(table: LatencyTable, cost: CostModel | None) -> list[Part]:
    if cost is None:
        return []
    found = staircases(table, cost)
    return [explorer(found, table.device.label)] if found else []


def _roofline(rows: Sequence[Measurement], source: ColumnDataSource, found: Grid) -> list[Part]:
    limits = roofs(rows)
    if limits is None:
        return []
    plot = roofline_chart(source, limits, view=found.view)
    return [
        Part(
            title="Roofline",
            text="Multiply-adds a second over multiply-adds a byte. The roofs are the best that "
            f"any row reached, not a data sheet: {limits.gmacs:.4g} GMAC/s ({limits.fastest}) and "
            f"{limits.gbytes:.4g} GB/s ({limits.widest}). What lies under the slope is bound by "
            "memory, what lies under the flat part by arithmetic; what lies far below both is "
            "slow for another reason.",
            legend=[*sorts_shown(source), Key("╌", GREY, "best of any row")],
            plots=[plot],
        )
    ]


def roofline_chart(source: ColumnDataSource, limits: Roofs | None, *, view: Any = None) -> Any:
    """Rows of a source in a roofline plot.

    Args:
        source: with ``intensity``, ``gmacs``, ``sort``, ``label`` and ``measured``.
        limits: roofs to draw; None for none.
        view: which rows; None for all.
    """
    plot = chart(x="multiply-adds a byte", y="GMAC/s", log=True)
    if limits is not None:
        x = np.asarray(source.data["intensity"])
        x = x[np.isfinite(x)]
        least, ridge = x.min() / 1.3, limits.gmacs / limits.gbytes
        most = max(x.max(), ridge) * 1.3
        left = min(least, ridge / 2)
        plot.line(
            [left, ridge, most],
            [left * limits.gbytes, limits.gmacs, limits.gmacs],
            color=GREY,
            line_width=2,
            line_dash="dashed",
        )
    options = {} if view is None else {"view": view}
    drawn = marks(plot, source, "intensity", "gmacs", **options)
    hover(
        plot,
        drawn,
        {"": "@label", "ms": "@measured{0.0000}", "GMAC/s": "@gmacs{0.0}",
         "MAC/byte": "@intensity{0.0}"},
    )  # fmt: skip
    return plot


def _coverage(rows: Sequence[Measurement]) -> list[Any]:
    """Channels of the convolutions, larger where several rows have the same."""
    ops = [row.op for row in rows if row.op.kind in CONV_KINDS and row.op.spatial_in]
    if not ops:
        return []
    plot = chart(x="input channels", y="output channels", log=True)
    for sort, colour, mark in list(zip(SORTS, COLOURS, MARKS, strict=True))[:2]:
        of_sort = (op for op in ops if sort_of(op) == sort)
        counts = Counter((op.in_channels, op.out_channels) for op in of_sort)
        source = ColumnDataSource(
            {
                "into": [into for into, _ in counts],
                "out": [out for _, out in counts],
                "rows": list(counts.values()),
                "size": [5.0 + 2.0 * min(count, 9) for count in counts.values()],
            }
        )
        if counts:
            drawn = plot.scatter(
                "into", "out", source=source, size="size", marker=mark, color=colour,
                fill_alpha=0.35, line_alpha=0.8,
            )  # fmt: skip
            hover(plot, drawn, {"channels": "@into -> @out", "rows": "@rows"})
    return [plot]
