"""Uniform expansion: widths of all groups times one factor, up to a cost.

The second half of MorphNet's loop (Gordon et al., CVPR 2018, "MorphNet: Fast & Simple
Resource-Constrained Structure Learning of Deep Networks", section 3): the structure found by
shrinking is widened by the largest multiplier whose cost is within the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.groups import Grouping

Counts = NDArray[np.intp]
#: Cost of the network with these channel counts by group, in any unit.
Price = Callable[[Counts], float]
#: Multipliers that are looked through: so many steps for each of so many octaves up and down.
STEPS, OCTAVES = 8, 6
#: Structures beyond the first too dear one that are priced, since measured costs are not monotone.
BEYOND = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A uniformly widened network.

    Attributes:
        multiplier: the factor of all widths.
        counts: channels of each group, in the order of the grouping.
        cost: price of the network with these counts.
    """

    multiplier: float
    counts: tuple[int, ...]
    cost: float


def scaled_counts(
    grouping: Grouping, counts: Counts, multiplier: float, *, multiple: int = 1
) -> Counts:
    """Channels of each group times a factor, as whole multiples; the same for tied layers.

    Groups that may not change, and groups that are gone, stay as they are.

    Args:
        grouping: the groups.
        counts: channels of each group now.
        multiplier: the factor, above 0.
        multiple: every changed count is a multiple of it and of the group's own.

    Raises:
        InvalidInputError: for a factor or multiple that is not positive, or counts of other groups.
    """
    if not (multiplier > 0 and math.isfinite(multiplier)) or multiple < 1:
        message = (
            f"Widths cannot be scaled by {multiplier} to multiples of {multiple}. "
            "Give a factor above 0 and a multiple from 1."
        )
        raise InvalidInputError(message)
    given = np.asarray(counts, dtype=np.intp)
    if given.shape != (len(grouping.groups),) or (given < 0).any():
        message = (
            f"Expected one count from 0 for each of {len(grouping.groups)} groups, "
            f"but got an array of shape {given.shape}. Make it with grouping.counts(alive)."
        )
        raise InvalidInputError(message)
    found = given.copy()
    for place, group in enumerate(grouping.groups):
        if group.frozen or not given[place]:
            continue
        step = math.lcm(multiple, group.multiple)
        steps = max(1, math.floor(given[place] * multiplier / step + 0.5))
        found[place] = max(steps * step, math.ceil(group.minimum / step) * step)
    return found


def copies_of(grouping: Grouping, counts: Counts) -> Counts:
    """How often each unit is there, so that each group has ``counts`` channels.

    Copies are spread evenly over a group, so that slices of it grow in proportion.

    Raises:
        InvalidInputError: unless there is one count from 0 for each group.
    """
    scaled_counts(grouping, counts, 1.0)
    copies = np.ones(grouping.num_units, dtype=np.intp)
    for group, count in zip(grouping.groups, counts, strict=True):
        edges = np.arange(group.size + 1) * int(count) // group.size
        copies[group.start : group.start + group.size] = np.diff(edges)
    return copies


def expand_to(
    grouping: Grouping,
    counts: Counts,
    price: Price,
    target: float,
    *,
    multiple: int = 1,
) -> Expansion:
    """The largest uniform width multiplier whose cost is within a target.

    Measured latency may fall where a network gets wider. So multipliers are first looked through
    in steps of an eighth of an octave, then the last that is cheap enough is refined by bisection,
    then a few wider structures are priced beyond the first too dear one.

    Args:
        grouping: the groups.
        counts: channels of each group now, e.g. of a shrunk network.
        price: cost of the network with given counts by group.
        target: largest cost allowed, in the unit of ``price``.
        multiple: as for ``scaled_counts``.

    Returns:
        The widest network that was found to cost at most ``target``.

    Raises:
        InvalidInputError: if no width is cheap enough, or width does not change the cost.
    """
    search = _Search(grouping=grouping, counts=counts, price=price, multiple=multiple)
    low, high = _bracket(search, target)
    while not np.array_equal(search.widths(low), search.widths(high)) and high - low > 1e-6 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if search.cost(middle) <= target else (low, middle)
    best = low
    for ahead in search.next_multipliers(low, BEYOND):
        if search.cost(ahead) <= target:
            best = ahead
    return Expansion(
        multiplier=best,
        counts=tuple(int(count) for count in search.widths(best)),
        cost=search.cost(best),
    )


def _bracket(search: _Search, target: float) -> tuple[float, float]:
    """The widest step that is cheap enough, and the next one, which is not.

    Raises:
        InvalidInputError: if there is no such pair.
    """
    low, dear = 0.0, 0
    for step in range(-STEPS * OCTAVES, STEPS * OCTAVES + 1):
        multiplier = 2.0 ** (step / STEPS)
        if search.cost(multiplier) <= target:
            low, dear = multiplier, 0
            continue
        dear += 1
        if low and multiplier > 1.0 and dear > STEPS:
            break
    least, most = 2.0**-OCTAVES, 2.0**OCTAVES
    if not low:
        message = (
            f"Even at {least:.3g} of its width the network costs {search.cost(least):.6g}, above "
            f"the target {target:.6g}. Raise the target, or take a smaller network."
        )
        raise InvalidInputError(message)
    if low == most:
        message = (
            f"At {low:.3g} times its width the network still costs {search.cost(low):.6g}, "
            f"within the target {target:.6g}. Check that the price depends on the counts."
        )
        raise InvalidInputError(message)
    return low, low * 2.0 ** (1 / STEPS)


class _Search:
    """Prices by multiplier; every structure is priced once."""

    def __init__(self, *, grouping: Grouping, counts: Counts, price: Price, multiple: int) -> None:
        self._grouping = grouping
        self._counts = np.asarray(counts, dtype=np.intp)
        self._price = price
        self._multiple = multiple
        self._known: dict[bytes, float] = {}

    def widths(self, multiplier: float) -> Counts:
        return scaled_counts(self._grouping, self._counts, multiplier, multiple=self._multiple)

    def cost(self, multiplier: float) -> float:
        widths = self.widths(multiplier)
        key = widths.tobytes()
        if key not in self._known:
            self._known[key] = float(self._price(widths))
        return self._known[key]

    def next_multipliers(self, start: float, number: int) -> list[float]:
        """The next multipliers above ``start`` at which some group's count changes."""
        found: list[float] = []
        for place, group in enumerate(self._grouping.groups):
            count = int(self._counts[place])
            if group.frozen or not count:
                continue
            step = math.lcm(self._multiple, group.multiple)
            first = math.floor(count * start / step + 0.5)
            edges = ((first + more + 0.5) * step / count for more in range(number))
            found.extend(edge * (1 + 1e-12) for edge in edges if edge > start)
        return sorted(set(found))[:number]
