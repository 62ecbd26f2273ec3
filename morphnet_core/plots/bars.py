"""Bars in pairs: what something was in the seed, and what it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from costmodel.plots.canvas import BLUE, PALE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def paired_bars(
    names: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> tuple[Figure, Axes, NDArray[np.intp]]:
    """A figure with two bars a name, the first name on top; its axes, and where each name is."""
    figure = new_figure(9.0, max(2.6, 1.4 + 0.26 * len(names)))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    axes.barh(places, before, height=0.72, color=PALE, label="seed")
    axes.barh(places, after, height=0.40, color=BLUE, label="now")
    axes.set_yticks(places, [_short(name) for name in names], fontsize=7.5)
    axes.set_ylim(-0.7, len(names) - 0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes, places


def _short(name: str, most: int = 34) -> str:
    """The end of a long name, which is what tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
