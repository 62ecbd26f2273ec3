"""Blocks: what a network can do without as a whole, such as the branch of a residual sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from morphnet_core.groups.cascade import cascade
from morphnet_core.groups.flow import constant_tensors, cut_off
from morphnet_core.groups.grouping import Alive, Grouping, Units
from morphnet_core.groups.resize import resize

#: Layers that do without an operand which has become a constant, or have it in their weights.
_DOES_WITHOUT = frozenset({"add", "mean", "mul", "sub", "sum"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Groups that die together, and without which every output still depends on the inputs.

    Attributes:
        name: of its first group.
        groups: their indices, ascending.
        layers: origins of the layers that vanish with it, in network order.
    """

    name: str
    groups: tuple[int, ...]
    layers: tuple[str, ...]

    def without(self, grouping: Grouping, alive: Alive) -> Alive:
        """``alive`` without it."""
        left = alive.copy()
        for index in self.groups:
            left[grouping.groups[index].units] = False
        return left


def find_blocks(grouping: Grouping) -> tuple[Block, ...]:
    """Everything that can be taken out of a network as a whole.

    These are branches of sums (a residual block is one), of concatenations, and gates, as far as
    they have channels of their own: a block is all that dies when one group does. One may be part
    of another. Of several that stand beside each other, with nothing else between input and
    output, each is one, though not all of them can go.

    Args:
        grouping: groups of the network; those that must keep channels are in no block.

    Returns:
        Blocks in network order, none twice.
    """
    return tuple({block.groups: block for block in _blocks(grouping)}.values())


def _blocks(grouping: Grouping) -> Iterator[Block]:
    idle = grouping.counts(cascade(grouping, grouping.full())) == 0
    for group in grouping.groups:
        if group.frozen or group.minimum:
            continue
        alive = grouping.full()
        alive[group.units] = False
        counts = grouping.counts(cascade(grouping, alive))
        dead = tuple(int(index) for index in np.flatnonzero((counts == 0) & ~idle))
        needed = any(grouping.groups[index].minimum for index in dead)
        if not dead or needed or not _leaves_nothing(grouping, counts):
            continue
        name = grouping.groups[dead[0]].name
        yield Block(name=name, groups=dead, layers=vanished(grouping, counts))


def _leaves_nothing(grouping: Grouping, counts: Units) -> bool:
    """Whether what is left does without constants, but for what was added or multiplied by."""
    network, members = grouping.network, grouping.members
    if cut_off(network, members, counts):
        return False
    constant = constant_tensors(network, members, counts)
    for layer in network.layers:
        left = [name for name in layer.inputs if constant[name] and grouping.width(name, counts)]
        live = sum(not constant[name] for name in layer.inputs)
        # An average of fewer is divided by fewer: no layer takes a half of two operands' sum.
        does_without = layer.op.kind in _DOES_WITHOUT and (layer.op.kind != "mean" or live == 1)
        if left and live and not does_without:
            return False
    return True


def vanished(grouping: Grouping, counts: Units) -> tuple[str, ...]:
    """Layers that are not there any more at some widths, for lack of channels or of readers.

    Args:
        grouping: of the network.
        counts: units of each group.

    Returns:
        Their origins, in network order; none where nothing would reach an output.
    """
    network = grouping.network
    if cut_off(network, grouping.members, counts):
        return ()
    left = {layer.origin or layer.name for layer in resize(grouping, counts).layers}
    before = dict.fromkeys(layer.origin or layer.name for layer in network.layers)
    return tuple(origin for origin in before if origin not in left)
