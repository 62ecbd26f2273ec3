"""What else dies when channels die: layers that read nothing, and channels that nobody reads."""

from __future__ import annotations

import numpy as np

from morphnet_core.groups.grouping import NOBODY, Alive, Grouping, Units


def cascade(grouping: Grouping, alive: Alive) -> Alive:
    """Let units die that no longer matter, until nothing changes.

    A unit dies when every layer that writes it reads dead channels only, so that it can only be a
    constant, and when everything that reads it writes dead channels only. Frozen groups stay.
    Neither changes what the masked network computes, but for constants on dead channels.

    Args:
        grouping: of the network.
        alive: one truth value per unit; not changed.

    Returns:
        A subset of ``alive`` and the frozen units.
    """
    grouping.check_alive(alive)
    result = alive.copy()
    frozen = grouping.frozen_units
    result[frozen] = True
    reads, writes = _mixer_units(grouping)
    while True:  # every round but the last lets some unit die
        before = int(result.sum())
        result &= frozen | _reached(result, reads, writes)
        result &= frozen | _reached(result, writes, reads)
        if int(result.sum()) == before:
            return result


def _mixer_units(grouping: Grouping) -> tuple[list[Units], list[Units]]:
    """Units that each mixing layer reads, and writes."""
    reads = [
        _units(np.concatenate([grouping.units[name] for name in layer.inputs]))
        for layer in grouping.mixers
    ]
    return reads, [_units(grouping.units[layer.outputs[0]]) for layer in grouping.mixers]


def _units(units: Units) -> Units:
    return np.unique(units[units != NOBODY])


def _reached(alive: Alive, sources: list[Units], targets: list[Units]) -> Alive:
    """Units that a mixing layer joins to a live one of the other side, and those that none joins.

    Of what layers write, those of which some writer reads a live one; the other way round, of what
    they read, those of which some reader writes a live one.
    """
    reached, joined = np.zeros_like(alive), np.zeros_like(alive)
    for source, target in zip(sources, targets, strict=True):
        joined[target] = True
        if alive[source].any():
            reached[target] = True
    return np.asarray(reached | ~joined)
