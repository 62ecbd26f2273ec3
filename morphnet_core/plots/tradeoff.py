"""Draws accuracy against measured latency, one line per method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costmodel.errors import InvalidInputError
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

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)
_MARKERS = "os^Dv*P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One trained network, or the mean of several that differ in their seed.

    Attributes:
        method: how its widths were chosen; networks of one method are joined by a line.
        ms: measured latency, milliseconds.
        accuracy: percent.
        error: half of an interval of the accuracy; 0 for none.
    """

    method: str
    ms: float
    accuracy: float
    error: float = 0.0


def plot_tradeoff(
    networks: Sequence[Trained],
    path: Path,
    *,
    title: str = "",
) -> Path:
    """Draw what networks are worth for the time that they take.

    Args:
        networks: at least one.
        path: file to write; its suffix chooses the format.
        title: above the picture.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for no networks, another suffix, or a path that cannot be written.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    if not networks:
        message = "There is no network to draw. Give at least one Trained."
        raise InvalidInputError(message)
    figure = new_figure(7.0, 4.6)
    axes = figure.subplots()
    for number, method in enumerate(dict.fromkeys(item.method for item in networks)):
        own = sorted((item for item in networks if item.method == method), key=lambda i: i.ms)
        axes.errorbar(
            [item.ms for item in own],
            [item.accuracy for item in own],
            yerr=[item.error for item in own],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5.5,
            linewidth=1.1,
            capsize=2.5,
            label=method,
        )
    axes.set(xlabel="measured latency in ms", ylabel="accuracy in %", title=title)
    plain_grid(axes)
    axes.legend(frameon=False, fontsize=8)
    return save(figure, path)
