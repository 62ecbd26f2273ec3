"""The staircase explorer: one chart, and four controls that choose the convolution it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS, Select

from costmodel.pages.charts import chart, hover
from costmodel.pages.parts import Key, Part
from costmodel.pages.staircases import Choice, Steps
from costmodel.plots.canvas import BLUE, GREEN, ORANGE

#: What the controls are called, in the order in which they narrow the choice.
CONTROLS = {
    "kernel": "Kernel",
    "stride": "Stride",
    "size": "Input size",
    "inputs": "Input channels",
}
_BETWEEN = " | "
#: Shows another convolution; the kernel's own strides, sizes and channels are offered for it.
_SHOW = """
const [kernel, ...others] = controls
others.forEach((control, place) => {
  const known = offers[kernel.value][place]
  if (!known.includes(control.value)) { control.value = known[0] }
  control.options = known
})
const chosen = steps[controls.map((control) => control.value).join(between)]
if (chosen != null) { line.data = chosen.line; points.data = chosen.points }
"""


def explorer(found: Mapping[Choice, Steps], device: str) -> Part:
    """A chart of one staircase, with controls for which.

    Args:
        found: by choice, at least one.
        device: whose numbers these are.
    """
    start = max(found, key=lambda choice: len({m[0] for m in found[choice].measured}))
    offers = _offers(found)
    values = [getattr(start, name) for name in CONTROLS]
    options = [list(offers), *offers[start.kernel]]
    controls = [
        Select(title=title, value=value, options=options[place], width=150 + 100 * (not place))
        for place, (title, value) in enumerate(zip(CONTROLS.values(), values, strict=True))
    ]
    line = ColumnDataSource(_line(found[start]))
    points = ColumnDataSource(_points(found[start]))
    show = CustomJS(
        args={
            "controls": controls,
            "offers": offers,
            "between": _BETWEEN,
            "steps": {
                _BETWEEN.join(getattr(choice, name) for name in CONTROLS): {
                    "line": _line(steps),
                    "points": _points(steps),
                }
                for choice, steps in found.items()
            },
            "line": line,
            "points": points,
        },
        code=_SHOW,
    )
    for control in controls:
        control.js_on_change("value", show)
    return Part(
        title="Staircase over channels",
        text="What one convolution takes as its output channels grow, by the regression and by the "
        "rows that were timed. The envelope is the least that this width or any greater one costs: "
        f"only widths at the right end of its steps are worth having. {device}.",
        controls=controls,
        legend=[
            Key("●", ORANGE, "measured, up to where its halves differ"),
            Key("━", BLUE, "predicted"),
            Key("▒", BLUE, "90 % interval"),
            Key("╌", GREEN, "envelope"),
        ],
        plots=[_plot(line, points)],
    )


def _plot(line: ColumnDataSource, points: ColumnDataSource) -> Any:
    plot = chart(x="output channels", y="ms")
    plot.y_range.start = 0.0
    plot.varea_step(
        "width", "low", "high", source=line, step_mode="before",
        fill_color=BLUE, fill_alpha=0.18,
    )  # fmt: skip
    drawn = plot.step(
        "width", "price", source=line, mode="before",
        color=BLUE, line_width=2,
    )  # fmt: skip
    plot.step(
        "width", "envelope", source=line, mode="before",
        color=GREEN, line_width=2, line_dash="dashed",
    )  # fmt: skip
    timed = plot.scatter(
        "width", "measured", source=points, size=10, marker="circle",
        color=ORANGE, fill_alpha=0.8,
    )  # fmt: skip
    plot.segment("width", "low", "width", "high", source=points, line_width=2, color=ORANGE)
    hover(
        plot, drawn, {"channels": "@width", "predicted": "@price{0.0000} ms",
                      "interval": "@low{0.0000} to @high{0.0000} ms"},
    )  # fmt: skip
    hover(plot, timed, {"channels": "@width", "measured": "@measured{0.0000} ms"})
    return plot


def _line(steps: Steps) -> dict[str, Any]:
    """A staircase as columns; it begins on the left with its first step."""
    edges = np.concatenate([[0], steps.widths])

    def from_left(values: Any) -> Any:
        return np.concatenate([values[:1], values]).astype(np.float32)

    return {
        "width": edges.astype(np.int32),
        "price": from_left(steps.price_ms),
        "low": from_left(steps.low_ms),
        "high": from_left(steps.high_ms),
        "envelope": from_left(steps.envelope_ms),
    }


def _points(steps: Steps) -> dict[str, Sequence[float]]:
    """Stored rows as columns; a bar reaches as far as the halves of their rounds are apart."""
    halves = [item if isfinite(item) else 0.0 for _, _, item in steps.measured]
    times = [time for _, time, _ in steps.measured]
    return {
        "width": [width for width, _, _ in steps.measured],
        "measured": times,
        "low": times,
        "high": [time * (1 + half) for time, half in zip(times, halves, strict=True)],
    }


def _offers(found: Iterable[Choice]) -> dict[str, list[list[str]]]:
    """By kernel, what the other three controls offer."""
    offers: dict[str, list[dict[str, None]]] = {}
    for choice in found:
        known = offers.setdefault(choice.kernel, [{}, {}, {}])
        for place, name in enumerate(("stride", "size", "inputs")):
            known[place][getattr(choice, name)] = None
    return {kernel: [list(values) for values in known] for kernel, known in offers.items()}
