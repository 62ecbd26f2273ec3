"""Whether a unit of channels has a way from a layer that writes it to one that reads it unseen.

A gamma near zero says that a channel is dead only where nothing goes around the normalisation. A
unit of which some way meets no source of the signal cannot be judged by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from costmodel.network import Layer
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.signals.source import Source

Flags = NDArray[np.bool_]
#: Kinds whose result is zero where one operand is.
_PRODUCTS = frozenset({"mul"})


def judging(
    grouping: Grouping, sources: Sequence[Source]
) -> tuple[tuple[Source, ...], dict[int, str]]:
    """The sources less the units that they cannot judge, and these; see ``ways_around``."""
    around = ways_around(grouping, sources)
    if not around:
        return tuple(sources), around
    gone = list(around)
    left = [
        replace(source, units=np.where(np.isin(source.units, gone), NOBODY, source.units))
        for source in sources
    ]
    return tuple(source for source in left if (source.units != NOBODY).any()), around


def ways_around(grouping: Grouping, sources: Sequence[Source]) -> dict[int, str]:
    """Units that some way carries past every source, each with the layer that it leads to.

    Args:
        grouping: of the model.
        sources: where they stand is ``Source.at``; those that do not say are trusted.
    """
    if any(source.at == "" for source in sources):
        return {}
    passed = {source.name for source in sources if source.at == "passes"}
    written = {source.name for source in sources if source.at == "writes"}
    mixers = {layer.outputs[0] for layer in grouping.mixers}
    flags: dict[str, Flags] = {}
    found: dict[int, str] = {}
    for layer in grouping.network.layers:
        origin = layer.origin or layer.name
        reads = [name for name in layer.inputs if name in flags]
        if layer.outputs and layer.outputs[0] in mixers:
            for name in reads:
                for unit in grouping.units[name][flags[name]].tolist():
                    if unit != NOBODY:
                        found.setdefault(unit, origin)
            opened = origin not in written
            flags.update({n: np.full(len(grouping.units[n]), opened) for n in layer.outputs})
            continue
        carried = _carried(grouping, layer, reads, flags)
        if origin in passed:
            carried[:] = False
        flags.update({name: carried[grouping.units[name]] for name in layer.outputs})
    return found


def _carried(
    grouping: Grouping, layer: Layer, reads: Sequence[str], flags: dict[str, Flags]
) -> Flags:
    """``(units + 1,)`` whether a layer that hands channels on hands on a unit unseen."""
    carried = np.zeros(grouping.num_units + 1, dtype=np.bool_)  # the last is nobody's
    for name in reads:
        carried[grouping.units[name][flags[name]]] = True
    if layer.op.kind in _PRODUCTS:
        for name in reads:
            carried[grouping.units[name][~flags[name]]] = False
    carried[NOBODY] = False
    return carried
