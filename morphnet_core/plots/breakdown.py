"""Draws where the milliseconds go, layer by layer, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costmodel.figures import quantity
from costmodel.plots.canvas import check_picture, paired_bars, save
from morphnet_core.pricing import Pricer

#: Layers that have a bar of their own; all others share one.
MOST_LAYERS = 24
OTHERS, SESSION, MOVES = "all others", "session", "conversions"


def breakdown(pricer: Pricer, counts: Sequence[int] | NDArray[np.intp]) -> dict[str, float]:
    """Cost of every layer of a network as it would be executed, in the pricer's unit.

    Args:
        pricer: of the seed network, with a cost model (not a closed form such as ``"flops"``).
        counts: ``(groups,)`` channels of each group.

    Returns:
        By layer as written: a kernel counts for the first layer that it carries out. Kernels that
        only change a layout are ``conversions``; the cost of a run itself is ``session``.

    Raises:
        InvalidInputError: for a target in closed form, whose layers are not kernels.
    """
    found: dict[str, float] = {}
    for layer, cost in pricer.layers(np.asarray(counts, dtype=np.intp)):
        moves = not layer.covers and layer.op.kind.startswith("reorder")
        name = MOVES if moves else (*layer.covers, layer.op.kind)[0]
        found[name] = found.get(name, 0.0) + cost
    return found


def plot_breakdown(pricer: Pricer, counts: Sequence[int] | NDArray[np.intp], path: Path) -> Path:
    """Draw what each layer costs in the seed and now, in the order of the network.

    Args:
        pricer: of the seed network, with a cost model.
        counts: ``(groups,)`` channels now.
        path: file to write; its suffix chooses the format.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for another suffix, a path that cannot be written, or a closed form.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    before, after = breakdown(pricer, pricer.grouping.full_counts), breakdown(pricer, counts)
    names = _shown(before, after)
    sides = ([_of(costs, name, names) for name in names] for costs in (before, after))
    figure, axes, _ = paired_bars(names, *sides)
    axes.set(xlabel=f"predicted {pricer.unit}")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    ends = (quantity(sum(costs.values()), pricer.unit) for costs in (before, after))
    totals = " to ".join(ends)
    axes.set_title(f"{pricer.grouping.network.name}: {totals}", fontsize=10)
    return save(figure, path)


def _shown(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """The dearest layers in the network's order, then what is no layer, then all others."""
    every = dict.fromkeys((*before, *after))
    apart = [name for name in (MOVES, SESSION) if name in every]
    layers = [name for name in every if name not in apart]
    dear = sorted(layers, key=lambda n: -max(before.get(n, 0.0), after.get(n, 0.0)))[:MOST_LAYERS]
    rest = [OTHERS] if len(layers) > len(dear) else []
    return [name for name in layers if name in set(dear)] + rest + apart


def _of(costs: Mapping[str, float], name: str, shown: Sequence[str]) -> float:
    if name != OTHERS:
        return costs.get(name, 0.0)
    return sum(cost for other, cost in costs.items() if other not in shown)
