"""Grouping: which channels of a network live and die together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import Shape
from morphnet_core.groups.flow import Counts, Member, cut_off

Alive = NDArray[np.bool_]
Units = NDArray[np.intp]
Scores = NDArray[np.floating]
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
        normalisations: whether channels under a normalisation over them were let go, which
            changes what is left.
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
    normalisations: bool = False

    @property
    def group_of(self) -> Units:
        """Index of the group of each unit."""
        return np.repeat(np.arange(len(self.groups)), self.full_counts)

    @property
    def full_counts(self) -> Units:
        """``(groups,)`` units of each group, all alive."""
        return np.array([group.size for group in self.groups], dtype=np.intp)

    @property
    def by_name(self) -> Mapping[str, ChannelGroup]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    @property
    def share_prunable(self) -> float:
        """Share of the channels written by the network's layers that may be cut, 0 to 1."""
        free = [self.free_units(layer.outputs[0]) != NOBODY for layer in self.mixers]
        return float(np.concatenate(free).mean()) if free else 0.0

    @property
    def frozen_units(self) -> Alive:
        """``(units,)`` which units must stay because their group must."""
        frozen = [bool(group.frozen) for group in self.groups]
        return np.repeat(np.array(frozen, dtype=np.bool_), self.full_counts)

    def free_units(self, tensor: str) -> Units:
        """Unit of each position on a tensor's channel axis; ``NOBODY`` where it stays anyway."""
        units = self.units[tensor]
        return np.where(np.append(self.frozen_units, True)[units], NOBODY, units)

    def groups_at(self, layer: Layer) -> set[int]:
        """Groups in what a layer reads and writes."""
        names = (*layer.inputs, *layer.outputs)
        return {item.group for name in names for item in self.members.get(name, ())}

    def before_and_after(self, counts: Counts) -> dict[str, list[int]]:
        """By group: its units with nothing cut, and of ``counts``."""
        pairs = zip(self.groups, counts, strict=True)
        return {group.name: [group.size, int(count)] for group, count in pairs}

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
        return np.asarray(sums[starts + self.full_counts] - sums[starts], dtype=np.intp)

    def living(self, alive: Alive) -> Alive:
        """All units of the groups that have any alive: where a choice of widths begins."""
        return np.asarray((self.counts(alive) > 0)[self.group_of])

    def width(self, tensor: str, counts: Counts) -> int:
        """Length of a tensor's channel axis when groups have these many units."""
        members = self.members[tensor]
        nobody = len(self.units[tensor]) - sum(
            item.positions * self.groups[item.group].size for item in members
        )
        return nobody + sum(item.positions * int(counts[item.group]) for item in members)

    def allowed(self, alive: Alive, order: Scores | None = None) -> Alive:
        """The nearest units at least ``alive`` that keep to what each group must.

        Frozen groups stay whole; a group that lives has its minimum and a width that is a
        multiple, rounded up; groups without which nothing would reach the outputs get units back.

        Args:
            alive: one truth value per unit; not changed.
            order: score per unit: of dead units the highest come back first; else the first.

        Raises:
            InvalidInputError: if ``alive`` or ``order`` is not one value per unit.
        """
        self.check_alive(alive)
        scores = -np.arange(self.num_units, dtype=np.float64) if order is None else order
        if np.shape(scores) != (self.num_units,):
            message = f"order must be {self.num_units} numbers. Received: {np.shape(scores)}."
            raise InvalidInputError(message)
        result = alive.copy()
        for group in self.groups:
            if group.frozen or group.minimum or result[group.units].any():
                self._grow(result, group, scores)
        dead = [group for group in self.groups if not result[group.units].any()]
        dead.sort(key=lambda group: -float(np.max(scores[group.units])))
        revived = []
        for group in dead:
            if not self._cut_off(result):
                break
            self._grow(result, group, scores)
            revived.append(group)
        for group in reversed(revived):  # what came back before the group that was needed
            result[group.units] = False
            if self._cut_off(result):
                self._grow(result, group, scores)
        return result

    def _cut_off(self, alive: Alive) -> bool:
        return bool(cut_off(self.network, self.members, self.counts(alive)))

    @staticmethod
    def _grow(alive: Alive, group: ChannelGroup, scores: Scores) -> None:
        """Give a group units back until it has as many as it must."""
        own = alive[group.units]
        wanted = max(int(own.sum()), group.minimum, 1)
        wanted = group.size if group.frozen else -(-wanted // group.multiple) * group.multiple
        ranks = np.argsort(-scores[group.units], kind="stable")
        back = ranks[~own[ranks]][: max(0, min(wanted, group.size) - int(own.sum()))]
        own[back] = True

    def check_alive(self, alive: Alive) -> None:
        """Raise ``InvalidInputError`` unless ``alive`` is one truth value per unit."""
        if np.shape(alive) != (self.num_units,) or np.asarray(alive).dtype != np.bool_:
            message = (
                f"alive must be {self.num_units} truth values, one per unit. Received: "
                f"{np.shape(alive)} of {np.asarray(alive).dtype}. Begin with grouping.full()."
            )
            raise InvalidInputError(message)
