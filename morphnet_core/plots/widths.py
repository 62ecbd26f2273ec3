"""Draws channels before and after, with the edges of the plateaus of latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.figures import quantity
from costmodel.plots.canvas import GREY, ORANGE, check_picture, paired_bars, save
from morphnet_core.pricing import Pricer

#: Edges of a group that are drawn at most; more would be a grey bar.
_MOST_EDGES = 40


def plot_widths(pricer: Pricer, counts: Sequence[int] | NDArray[np.intp], path: Path) -> Path:
    """Draw every group's channels in the seed and now.

    Ticks are the widths that are worth having: the widest of each plateau, the other groups as in
    the seed.

    Args:
        pricer: of the seed network.
        counts: ``(groups,)`` channels now.
        path: file to write; its suffix chooses the format.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for another suffix, a path that cannot be written, or counts of others.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    now = np.asarray(counts, dtype=np.intp)
    cost = pricer.at_counts(now)
    shown = [
        (number, group)
        for number, group in enumerate(pricer.grouping.groups)
        if not group.frozen or now[number] != group.size
    ]
    if not shown:
        message = f"Nothing in {pricer.grouping.network.name!r} can change its width."
        raise InvalidInputError(message)
    full = [group.size for _, group in shown]
    kept = [int(now[number]) for number, _ in shown]
    figure, axes, places = paired_bars([group.name for _, group in shown], full, kept)
    edges = [
        (edge, place)
        for (number, _), place in zip(shown, places, strict=True)
        for edge in _thinned(pricer.candidate_widths(number))
    ]
    axes.scatter(
        [edge for edge, _ in edges],
        [place for _, place in edges],
        marker="|",
        s=46,
        linewidths=0.9,
        color=ORANGE,
        label="edges of plateaus",
        zorder=3,
    )
    for place, before, after in zip(places, full, kept, strict=True):
        axes.annotate(
            f"{after} of {before}",
            xy=(max(before, after), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=GREY,
        )
    axes.set(xlabel="channels", xlim=(0, 1.16 * max(*full, *kept)))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False, fontsize=8)  # fmt: skip
    axes.set_title(
        f"{pricer.grouping.network.name}: {quantity(pricer.seed, pricer.unit)} to "
        f"{quantity(cost, pricer.unit)}",
        fontsize=10,
    )
    return save(figure, path)


def _thinned(widths: Sequence[int]) -> Sequence[int]:
    return widths[:: max(1, -(-len(widths) // _MOST_EDGES))]
