"""Which tensors still carry anything of the network's inputs at given group widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.network import Network

Counts = NDArray[np.intp] | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A group's part in one tensor.

    Attributes:
        group: index of the group.
        positions: positions on the channel axis that each of its units has.
    """

    group: int
    positions: int


Members = Mapping[str, tuple[Member, ...]]


def constant_tensors(network: Network, members: Members, counts: Counts) -> dict[str, bool]:
    """For each tensor whether it is empty or depends on none of the network's inputs.

    Args:
        network: layers as written.
        members: by tensor, the groups in it.
        counts: live units per group.
    """
    gone = {
        name: bool(parts) and all(counts[part.group] == 0 for part in parts)
        for name, parts in members.items()
    }
    constant = {name: gone[name] for name in network.inputs}
    for opaque in network.opaque.values():
        constant.update({name: gone[name] for name in opaque.outputs})
    for layer in network.layers:
        fixed = bool(layer.inputs) and all(
            constant.setdefault(name, gone[name]) for name in layer.inputs
        )
        constant.update({name: fixed or gone[name] for name in layer.outputs})
    return constant


def cut_off(network: Network, members: Members, counts: Counts) -> tuple[str, ...]:
    """Outputs of the network, and tensors that unread layers read, which are constants now."""
    constant = constant_tensors(network, members, counts)
    read = [name for opaque in network.opaque.values() for name in opaque.inputs]
    return tuple(name for name in (*network.outputs, *read) if constant[name])
