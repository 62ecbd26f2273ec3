"""Draws predicted against measured latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.comparison import Comparison, summarise
from costmodel.errors import InvalidInputError
from costmodel.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    check_picture,
    new_figure,
    plain_grid,
    plain_ticks,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Relative error of the shaded band.
BAND = 0.10


def plot_comparison(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Draw predicted against measured latency, and each network's error with its interval.

    Args:
        comparisons: at least one that has both numbers.
        path: file to write; its suffix chooses the format.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for another suffix, nothing to draw, or a path that cannot be written.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    shown = sorted(
        (item for item in comparisons if item.error is not None),
        key=lambda item: item.measured_ms or 0.0,
    )
    if not shown:
        message = (
            "No network has both a predicted and a measured time, so there is nothing to draw."
        )
        raise InvalidInputError(message)
    figure = new_figure(11.0, max(4.6, 1.9 + 0.30 * len(shown)))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _scatter(left, shown)
    _errors(right, shown)
    first = shown[0]
    found = summarise(shown)
    figure.suptitle(
        f"{first.device.label} ({first.device.provenance})\n"
        f"{_networks(len(shown))}, median |error| {(found.median_error or 0.0) * 100:.1f} %",
        fontsize=11,
    )
    return save(figure, path)


def _scatter(axes: Axes, shown: Sequence[Comparison]) -> None:
    measured = [item.measured_ms or 0.0 for item in shown]
    predicted = [item.predicted_ms or 0.0 for item in shown]
    low, high = min(measured + predicted) / 1.6, max(measured + predicted) * 1.6
    line = [low, high]
    axes.fill_between(
        line,
        [value * (1 - BAND) for value in line],
        [value * (1 + BAND) for value in line],
        color=GREEN,
        alpha=0.15,
        linewidth=0,
        label=f"within {BAND * 100:.0f} %",
    )
    axes.plot(line, line, color=GREY, linewidth=0.8)
    axes.scatter(measured, predicted, s=28, color=BLUE, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlim=line, ylim=line, xlabel="measured in ms", ylabel="predicted in ms")
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis)
    axes.set_aspect("equal")
    plain_grid(axes)
    axes.legend(frameon=False, loc="upper left")
    _label(axes, [item.model for item in shown], measured, predicted, line)


def _label(
    axes: Axes,
    names: Sequence[str],
    x: Sequence[float],
    y: Sequence[float],
    limits: Sequence[float],
) -> None:
    """Write names beside the points, right and left in turn, pushed apart along the axis."""
    decades = (limits[1] / limits[0]) ** (1 / 26)  # one text line of the square, as a factor
    floors = {0: limits[0] * decades**0.5, 1: limits[0] * decades**0.5}
    for number, (name, across, up) in enumerate(zip(names, x, y, strict=True)):
        # Names of points near the right edge go left, where there is room.
        side = 1 if across > limits[1] / decades**5 else number % 2
        height = max(floors[side], up / decades if side == 0 else up * decades)
        floors[side] = height * decades
        right = side == 0
        axes.annotate(
            name,
            xy=(across, up),
            xytext=(across * decades**1.2 if right else across / decades**1.2, height),
            ha="left" if right else "right",
            va="center",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 3},
        )


def _errors(axes: Axes, shown: Sequence[Comparison]) -> None:
    """Signed error of each network; the whisker is the prediction's interval."""
    errors = [(item.error or 0.0) * 100 for item in shown]
    places = range(len(shown))
    below, above = [], []
    for item in shown:
        interval, measured = item.prediction.interval_ms, item.measured_ms or 1.0
        low, high = interval or (item.predicted_ms or 0.0,) * 2
        below.append(((item.predicted_ms or 0.0) - low) / measured * 100)
        above.append((high - (item.predicted_ms or 0.0)) / measured * 100)
    axes.axvspan(-BAND * 100, BAND * 100, color=GREEN, alpha=0.15, linewidth=0)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.errorbar(
        errors,
        list(places),
        xerr=[below, above],
        fmt="o",
        markersize=5,
        color=BLUE,
        ecolor=ORANGE,
        elinewidth=1.2,
        capsize=2.5,
    )
    axes.set_yticks(list(places), [_with_time(item) for item in shown], fontsize=8)
    axes.set(xlabel="error in %, with the prediction's interval")
    whisker = max(above + below)
    # Room for the whiskers, unless they are so long that the errors would vanish beside them.
    reach = max(1.5 * BAND * 100, *(abs(error) + 3 for error in errors), min(1.2 * whisker, 40.0))
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    plain_grid(axes, "x")


def _with_time(item: Comparison) -> str:
    return f"{item.model}  {item.measured_ms:.3g} ms"


def _networks(count: int) -> str:
    return f"{count} networks" if count != 1 else "1 network"
