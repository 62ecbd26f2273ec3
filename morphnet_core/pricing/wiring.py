"""Widths: how many channels each tensor keeps, and how many of them each group's units hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from morphnet_core.groups import Alive, Grouping

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """A network's widths for one choice of alive units.

    Attributes:
        tensors: ``(tensors,)`` channels kept; the last entry is 1, the width of nothing.
        counts: ``(groups,)`` alive units.
    """

    tensors: Floats
    counts: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What a network's parts cost, each by the widths of two tensors.

    Attributes:
        rows: ``(kernels,)`` row of the tensor that each reads, and of the one that it writes.
        look_up: cost of kernels, by number, at an input and an output width; all of one shape.
        constant: cost that no width changes.
    """

    rows: tuple[Rows, Rows]
    look_up: Callable[[Rows, Floats, Floats], Floats]
    constant: float


class Wiring:
    """Which groups each tensor of a network carries, as a matrix.

    Args:
        grouping: channel identity of the network.

    Attributes:
        grouping: the same.
        shares: ``(tensors, groups)`` positions on each tensor's channel axis per unit of a group.
        full: widths of the whole network.
    """

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self._index: Mapping[str, int] = {name: row for row, name in enumerate(grouping.units)}
        sizes = grouping.full_counts.astype(float)
        lengths = np.array([len(units) for units in grouping.units.values()], dtype=float)
        self.shares: Floats = np.zeros((len(lengths) + 1, len(sizes)))
        for row, name in enumerate(grouping.units):
            for member in grouping.members[name]:
                self.shares[row, member.group] += member.positions
        #: Positions that are nobody's channel and always stay.
        self._fixed = np.append(lengths, 1.0) - self.shares @ sizes
        self.full = self.at(sizes)

    @property
    def nothing(self) -> int:
        """Row of a tensor of width 1 that no group touches."""
        return len(self._fixed) - 1

    def row(self, tensor: str) -> int:
        """Row of a tensor; that of ``nothing`` for one that the grouping does not know."""
        return self._index.get(tensor, self.nothing)

    def at(self, counts: NDArray[np.generic]) -> Widths:
        """Widths where each group has ``counts`` alive units; may be more than it has now."""
        whole = np.asarray(counts, dtype=float)
        return Widths(tensors=self.shares @ whole + self._fixed, counts=whole)

    def widths(self, alive: NDArray[np.generic]) -> Widths:
        """Widths where only some units are alive.

        Raises:
            InvalidInputError: if there is not one truth value per unit.
        """
        return self.at(self.grouping.counts(cast("Alive", alive)))
