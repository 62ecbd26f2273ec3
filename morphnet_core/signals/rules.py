"""Rules: several values of one unit become one number, vectorised over all units of a model.

In a residual stream several layers write, and several normalisations scale, the same unit. The
original takes the largest (``max``: the unit is alive if any member is), which gives a gradient to
the largest member only; ``sum`` and ``l2`` press on all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.signals.source import Source, Units, as_numpy, root

RULES = ("max", "sum", "l2")


class UnitSignal:
    """One signal value per unit, from all sources at once.

    Values of units with a single member are used as they are; those of the others are gathered
    into a matrix of units by members. A training step so takes a handful of operations, however
    many layers there are.

    Attributes:
        sources: where values come from.
        rule: ``max``, ``sum`` or ``l2``.
        signalled: ``(units,)`` which units have a value at all.
    """

    def __init__(self, sources: Sequence[Source], num_units: int, rule: str = "max") -> None:
        """Lay out the members of every unit.

        Args:
            sources: at least one.
            num_units: units of the grouping.
            rule: one of ``RULES``.

        Raises:
            InvalidInputError: for an unknown rule, or without sources.
        """
        if rule not in RULES:
            message = f"There is no rule {rule!r} for units of several members. Use one of {RULES}."
            raise InvalidInputError(message)
        if not sources:
            message = "There is no source of a signal: nothing could ever shrink."
            raise InvalidInputError(message)
        self.sources = tuple(sources)
        self.rule = rule
        unit_of = np.concatenate([source.units for source in self.sources])
        members = np.bincount(unit_of[unit_of >= 0], minlength=num_units)
        self.signalled = members > 0
        self._num_units = num_units
        single = (unit_of >= 0) & (members[unit_of] == 1)
        if rule == "sum":
            single = unit_of >= 0
        #: Values that count by themselves, as places in the concatenation of all, and their units.
        self._places = np.flatnonzero(single)
        self._place_units = unit_of[single]
        self._units = np.flatnonzero(members > 1) if rule != "sum" else np.zeros(0, dtype=np.intp)
        self._matrix = _matrix(unit_of, self._units)
        self._lone = len(self._places) == len(unit_of)

    def weighted_sum(self, weights: Any) -> Any:
        """``sum_u weights[u] * signal[u]`` as a float32 scalar, differentiable in the signals.

        Args:
            weights: float32 tensor of shape ``(units,)``.
        """
        values = self._values()
        total = 0.0
        if len(self._places):
            alone = values if self._lone else ops.take(values, self._places, axis=0)
            total = ops.sum(alone * ops.take(weights, self._place_units, axis=0))
        if len(self._units):
            joined = self._joined(values)
            total = total + ops.sum(joined * ops.take(weights, self._units, axis=0))
        return total

    def numbers(self) -> NDArray[np.float64]:
        """``(units,)`` the signal of each unit now; 0 where there is none."""
        values = self._values()
        result = np.zeros(self._num_units)
        alone = as_numpy(values).astype(np.float64)[self._places]
        np.add.at(result, self._place_units, alone)
        if len(self._units):
            result[self._units] = as_numpy(self._joined(values))
        return result

    def _values(self) -> Any:
        return ops.concatenate([source.values() for source in self.sources])

    def _joined(self, values: Any) -> Any:
        """Values of the units of several members, combined."""
        padded = ops.concatenate([values, ops.zeros((1,), dtype="float32")])
        matrix = ops.take(padded, self._matrix, axis=0)
        if self.rule == "max":
            return ops.max(matrix, axis=1)
        return root(ops.sum(ops.square(matrix), axis=1))


def _matrix(unit_of: Units, units: Units) -> Units:
    """Places of each unit's members, filled up with the place of a zero behind all values."""
    if not len(units):
        return np.zeros((0, 0), dtype=np.intp)
    order = np.argsort(unit_of, kind="stable")
    starts = np.searchsorted(unit_of[order], units)
    ends = np.searchsorted(unit_of[order], units, side="right")
    offsets = np.arange(int((ends - starts).max()))
    inside = offsets[None, :] < (ends - starts)[:, None]
    places = np.minimum(starts[:, None] + offsets[None, :], len(order) - 1)
    return np.where(inside, order[places], len(unit_of))
