"""A morph's section: the seed and what became of it, in milliseconds and in channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import ColumnDataSource, Span

from costmodel.pages.charts import GREY, chart, hover, names_beside
from costmodel.pages.parts import Key, Part, Section
from costmodel.pages.records import MorphRecord
from costmodel.plots.canvas import BLUE, GREEN, ORANGE
from costmodel.report.sheet import facts, percent, quantity, signed_percent

#: Bars of one chart; of more layers, the dearest are shown.
MOST = 60
_PAIR = (Key("■", GREY, "seed"), Key("■", BLUE, "now"))


def morph_section(record: MorphRecord) -> Section:
    """What a network was, and what it is.

    Args:
        record: of the folder that ``morphnet train`` wrote.
    """
    unit = record.unit
    reached = record.predicted if record.measured_ms is None else record.measured_ms
    how = "predicted only" if record.measured_ms is None else "measured"
    table = facts(
        record.network,
        {
            "target": quantity(record.target, unit),
            "seed": quantity(record.seed, unit),
            "now": f"{quantity(reached, unit)} ({how})",
            "of the seed": percent(reached / record.seed if record.seed else None),
            "off the target": signed_percent(
                reached / record.target - 1.0 if record.target else None
            ),
            "predicted": quantity(record.predicted, unit),
            "device": record.device,
            **{name: f"{value:.4g}" for name, value in record.metrics.items() if value is not None},
            "time": ", ".join(f"{name} {spent:.0f} s" for name, spent in record.seconds.items()),
        },
    )
    changed = {name: pair for name, pair in record.groups.items() if pair[0] != pair[1]}
    parts = [_rounds(record)]
    if record.layers:
        dear = sorted(record.layers, key=lambda name: -max(record.layers[name]))[:MOST]
        shown = {name: pair for name, pair in record.layers.items() if name in set(dear)}
        left = len(record.layers) - len(shown)
        parts.append(
            Part(
                title="Where the time goes, before and after",
                text=f"Predicted {unit} of each layer as it is executed, in the network's order."
                + (f" {left} cheaper layers are not shown." if left else ""),
                legend=_PAIR,
                plots=[_pairs(shown, f"predicted {unit}")],
            )
        )
    if changed:
        parts.append(
            Part(
                title="Channels, before and after",
                text=f"{len(changed)} of {len(record.groups)} groups of layers "
                f"{'have' if len(changed) > 1 else 'has'} another width.",
                legend=_PAIR,
                plots=[_pairs(dict(list(changed.items())[:MOST]), "channels")],
            )
        )
    return Section(kind="Morph", title=record.network, facts=[table], parts=parts)


def _rounds(record: MorphRecord) -> Part:
    """The seed and every network that was built, against the target."""
    names = ["seed", *(f"round {number}" for number in range(1, len(record.rounds) + 1))]
    predicted = ColumnDataSource(
        {"name": names[1:], "value": [item.predicted for item in record.rounds]}
    )
    timed = [
        (name, item.measured_ms)
        for name, item in zip(names[1:], record.rounds, strict=True)
        if item.measured_ms is not None
    ]
    measured = ColumnDataSource(
        {"name": [name for name, _ in timed], "value": [value for _, value in timed]}
    )
    seed = ColumnDataSource({"name": names[:1], "value": [record.seed]})
    plot = chart(x=record.unit, y="", height=120 + 34 * len(names), y_range=names[::-1])
    plot.ygrid.grid_line_color = None
    plot.hbar(y="name", right="value", height=0.6, source=seed, color=GREY)
    bars = plot.hbar(
        y="name", right="value", height=0.6, source=predicted, color=BLUE, fill_alpha=0.7,
    )  # fmt: skip
    hover(plot, bars, {"predicted": "@value{0.000}"})
    if timed:
        dots = plot.scatter(
            "value", "name", source=measured, size=13, marker="diamond", color=ORANGE,
        )  # fmt: skip
        hover(plot, dots, {"measured": "@value{0.000} ms"})
    plot.add_layout(
        Span(location=record.target, dimension="height", line_color=GREEN, line_width=2,
             line_dash="dashed")
    )  # fmt: skip
    plot.x_range.start = 0.0
    return Part(
        title="Toward the target",
        text="The seed, and each network that was chosen, and timed where a device was at hand.",
        legend=[
            Key("■", GREY, "seed"),
            Key("■", BLUE, "predicted"),
            *([Key("◆", ORANGE, "measured")] if timed else []),
            Key("╎", GREEN, f"target: {quantity(record.target, record.unit)}"),
        ],
        plots=[plot],
    )


def _pairs(values: Mapping[str, Sequence[float]], axis: str) -> Any:
    """Two bars a name: what it was, and what it is."""
    names, span = names_beside(list(values))
    source = ColumnDataSource(
        {
            "name": list(values),
            "short": names,
            "before": [before for before, _ in values.values()],
            "after": [after for _, after in values.values()],
        }
    )
    plot = chart(x=axis, y="", height=110 + 20 * len(names), y_range=span)
    plot.ygrid.grid_line_color = None
    plot.x_range.start = 0
    wide = plot.hbar(
        y="short", right="before", height=0.78, source=source, color=GREY, fill_alpha=0.45,
        line_alpha=0.6,
    )  # fmt: skip
    plot.hbar(y="short", right="after", height=0.42, source=source, color=BLUE)
    hover(plot, wide, {"": "@name", "seed": "@before{0.[0000]}", "now": "@after{0.[0000]}"})
    return plot
