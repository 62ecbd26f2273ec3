"""Grouping: which channels of a network live and die together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import Shape

Alive = NDArray[np.bool_]
Units = NDArray[np.intp]
#: Entry of ``Grouping.units`` for positions that are nobody's channel, such as padded zeros.
NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Units that stand in the same places of the same tensors, so that each costs the same.

    Attributes:
        name: origin of the first layer that writes its channels, unique within the grouping; of an
            input of the network, its name.
        start: first unit.
        size: number of units.
        producers: origins of the layers that write fresh channels of it, in network order.
        frozen: why all of it must stay; empty when it may shrink.
        minimum: channels that it keeps at least.
        multiple: what its width is rounded up to a multiple of.
    """

    name: str
    start: int
    size: int
    producers: tuple[str, ...] = ()
    frozen: str = ""
    minimum: int = 0
    multiple: int = 1

    @property
    def units(self) -> slice:
        """Its units as a slice of an array over all units."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A group's part in one tensor.

    Attributes:
        group: index of the group.
        positions: positions on the channel axis that each of its units has.
    """

    group: int
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The channel groups of a network.

    Attributes:
        network: what was grouped.
        groups: in network order, each with its own contiguous range of units.
        units: by tensor, the unit of each position on its channel axis; ``NOBODY`` where none.
        axes: by tensor, the channel axis: 1 unless the network itself turns its tensors.
        sizes: by tensor, its size.
        members: by tensor, the groups in it; a tensor's width is the sum over them.
        mixers: layers that make fresh channels out of all channels that they read.
        num_units: units of all groups.
        notes: layers through which channels could not be followed, each with the reason.
    """

    network: Network
    groups: tuple[ChannelGroup, ...]
    units: Mapping[str, Units]
    axes: Mapping[str, int]
    sizes: Mapping[str, Shape]
    members: Mapping[str, tuple[Member, ...]]
    mixers: tuple[Layer, ...]
    num_units: int
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def group_of(self) -> Units:
        """Index of the group of each unit."""
        return np.repeat(np.arange(len(self.groups)), [group.size for group in self.groups])

    @property
    def by_name(self) -> Mapping[str, ChannelGroup]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    @property
    def share_prunable(self) -> float:
        """Share of the channels written by the network's layers that may be cut, 0 to 1."""
        frozen = np.repeat([bool(group.frozen) for group in self.groups], self._group_sizes())
        total, free = 0, 0
        for layer in self.mixers:
            units = self.units[layer.outputs[0]]
            total += len(units)
            free += int((~frozen[units]).sum())
        return free / total if total else 0.0

    def _group_sizes(self) -> list[int]:
        return [group.size for group in self.groups]

    def full(self) -> Alive:
        """Every unit alive."""
        return np.ones(self.num_units, dtype=np.bool_)

    def kept(self, tensor: str, alive: Alive) -> Units:
        """Positions on a tensor's channel axis that stay; those of nobody always do.

        Raises:
            InvalidInputError: if the network has no such tensor, or ``alive`` another length.
        """
        self.check_alive(alive)
        if tensor not in self.units:
            message = f"The network {self.network.name!r} has no tensor {tensor!r}."
            raise InvalidInputError(message)
        units = self.units[tensor]
        return np.flatnonzero((units == NOBODY) | alive[units])

    def counts(self, alive: Alive) -> Units:
        """Alive units per group."""
        self.check_alive(alive)
        sums = np.concatenate([[0], np.cumsum(alive)])
        starts = np.array([group.start for group in self.groups], dtype=np.intp)
        ends = starts + np.array(self._group_sizes(), dtype=np.intp)
        return np.asarray(sums[ends] - sums[starts], dtype=np.intp)

    def width(self, tensor: str, counts: Sequence[int] | Units) -> int:
        """Length of a tensor's channel axis when groups have these many units."""
        members = self.members[tensor]
        nobody = len(self.units[tensor]) - sum(
            item.positions * self.groups[item.group].size for item in members
        )
        return nobody + sum(item.positions * int(counts[item.group]) for item in members)

    def check_alive(self, alive: Alive) -> None:
        """Raise ``InvalidInputError`` unless ``alive`` is one truth value per unit."""
        if np.shape(alive) != (self.num_units,) or np.asarray(alive).dtype != np.bool_:
            message = (
                f"alive must be {self.num_units} truth values, one per unit. Received: "
                f"{np.shape(alive)} of {np.asarray(alive).dtype}. Begin with grouping.full()."
            )
            raise InvalidInputError(message)
