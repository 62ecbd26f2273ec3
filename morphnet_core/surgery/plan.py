"""What a cut makes of every tensor of the network: which positions stay, which read as zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.op import Shape
from morphnet_core.groups import Grouping
from morphnet_core.groups.flow import constant_tensors

Integers = NDArray[np.intp]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """The channel axis of one tensor before and after.

    Attributes:
        size: channels before.
        index: old position of each new one; an expanded channel appears several times.
        zeroed: for each new position, whether whoever mixes channels must read it as zero.
    """

    size: int
    index: Integers
    zeroed: Booleans

    @property
    def count(self) -> int:
        """Channels after."""
        return len(self.index)

    @property
    def new(self) -> Booleans:
        """For each new position, whether an earlier one stands for the same old channel."""
        found = np.ones(self.count, dtype=np.bool_)
        found[np.unique(self.index, return_index=True)[1]] = False
        return found

    @property
    def whole(self) -> bool:
        """Whether nothing changes."""
        return np.array_equal(self.index, np.arange(self.size)) and not self.zeroed.any()

    def same(self, other: Positions) -> bool:
        """Whether both keep the same positions and zero the same ones.

        What stays whole is the same at any size: it is another axis than that of the weights.
        """
        if self.whole and other.whole:
            return True
        return np.array_equal(self.index, other.index) and np.array_equal(self.zeroed, other.zeroed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What removed channels still added, as numbers that their readers add instead.

    Attributes:
        offsets: by path of a layer, ``(channels,)`` what is added before its activation.
        means: by path of a layer without a bias, the paths of the normalisations whose mean takes
            the offset; a layer that is in ``offsets`` alone gets a bias.
    """

    offsets: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Plan:
    """How often each unit of channels is there afterwards.

    Attributes:
        dead: ``(units,)`` which units go.
        fold: what their readers add instead; nothing until somebody has found out.
        adds: whether a branch of which only a constant is left still adds that; else it adds
            nothing.

    Args:
        grouping: groups of the model that is cut.
        copies: how often each unit is there in the new network: 0 dead, 1 kept, more when the
            network grows.

    Raises:
        InvalidInputError: unless ``copies`` has one entry from 0 for every unit.
    """

    def __init__(self, grouping: Grouping, copies: Integers) -> None:
        if copies.shape != (grouping.num_units,) or (copies < 0).any():
            message = (
                f"Expected how often each of the {grouping.num_units} units of channels is kept, "
                f"but got an array of shape {copies.shape}. Make it from this model's grouping."
            )
            raise InvalidInputError(message)
        self.grouping = grouping
        self.dead: Booleans = copies == 0
        self.fold = Fold()
        self.adds = True
        self._copies = copies.copy()
        self._outputs = _outputs_by_call(grouping)

    def outputs(self, origin: str, call: int) -> tuple[str, ...]:
        """Names in the network of what one call of a layer returns.

        Raises:
            ModelFormatError: if the network has no such call.
        """
        try:
            return self._outputs[origin, call]
        except KeyError:
            message = (
                f"The grouping knows no call {call} of layer {origin!r}, so it is of another "
                "model. Find the groups of this very model, or leave the grouping out."
            )
            raise ModelFormatError(message) from None

    def size(self, tensor: str) -> Shape:
        """Old size of a tensor as the model keeps it, for a batch of 1."""
        size = self.grouping.sizes[tensor]
        if len(size) < 3 or not self.grouping.network.channels_last:
            return size
        return (size[0], *size[2:], size[1])

    def axis(self, tensor: str) -> int:
        """Channel axis of a tensor as the model keeps it, from the front."""
        rank = len(self.grouping.sizes[tensor])
        return self.grouping.network.own_axis(self.grouping.axes[tensor], rank)

    def is_gone(self, tensor: str) -> bool:
        """Whether a tensor had channels and has none left; one without channels never goes."""
        units = self.grouping.units[tensor]
        return bool(len(units)) and not self.positions(tensor).count

    def constants(self) -> frozenset[str]:
        """Tensors that are the same for every input of the network, or have no channels left."""
        grouping = self.grouping
        counts = grouping.counts(self._copies > 0)
        found = constant_tensors(grouping.network, grouping.members, counts)
        return frozenset(name for name, constant in found.items() if constant)

    def dead_channels(self, tensor: str) -> Booleans:
        """Which channels of a tensor go, or stay and are read as zero."""
        units = self.grouping.units[tensor]
        return np.asarray((units >= 0) & self.dead[units])

    def positions(self, tensor: str) -> Positions:
        """What becomes of a tensor's channel axis."""
        units = self.grouping.units[tensor]
        copies = np.where(units < 0, 1, self._copies[units])
        # What one channel became side by side, as by a depth multiplier, is copied as a whole.
        ends = [*(np.flatnonzero(np.diff(units)) + 1), len(units)]
        runs = zip([0, *ends[:-1]], ends, strict=True) if len(units) else ()
        parts = [np.tile(np.arange(begin, end), copies[begin]) for begin, end in runs]
        index = np.concatenate([np.zeros(0, dtype=np.intp), *parts]).astype(np.intp)
        kept = units[index]
        return Positions(size=len(units), index=index, zeroed=(kept >= 0) & self.dead[kept])

    def revive(self, tensor: str) -> bool:
        """Keep the first unit of a dead tensor after all; whoever mixes channels reads it as zero.

        So a branch of which only a constant is left stays in the network, and stays exact. What
        that unit is made of is kept the same way, back to something that is alive.

        Returns:
            Whether a unit came back; not where the tensor has none that was dead.
        """
        revived = False
        while self.is_gone(tensor):  # each round brings back a unit of its own
            unit = self.grouping.units[tensor][0]
            self._copies[unit] = 1
            revived = True
            sources = [
                layer.inputs[0]
                for layer in self.grouping.mixers
                if unit in self.grouping.units[layer.outputs[0]]
            ]
            if any(not self.is_gone(name) for name in sources):
                break
            tensor = sources[0] if sources else tensor
        return revived


def _outputs_by_call(grouping: Grouping) -> dict[tuple[str, int], tuple[str, ...]]:
    """Tensors that each call of each layer of the model returns: those of its last step."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for layer in grouping.network.layers:
        found[layer.origin or layer.name, layer.call] = layer.outputs
    for name, opaque in grouping.network.opaque.items():
        call = 0
        while (opaque.origin or name, call) in found:
            call += 1
        found[opaque.origin or name, call] = opaque.outputs
    return found
