"""Problem: widths to choose from, what each is worth, and what two neighbours cost together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from morphnet_core.groups import ChannelGroup
from morphnet_core.pricing import Pricer
from morphnet_core.pricing.grid import GRAIN

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]
#: Power by which the worth of a further channel falls with a group's width, chosen on validation
#: images (docs/decisions/budget.md).
FALL = 1.5
#: What a further channel is worth beside those a group has: see ``kept_value``.
Returns = Literal["diminishing", "constant"]
#: A choice: the place of the chosen width among the candidates of each group.
Choice = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A choice of one width per group.

    Attributes:
        widths: by group, the candidates, ascending.
        values: by group, importance kept at each candidate.
        singles: by group, cost that depends on its width alone, at each candidate.
        pairs: by two groups, the lower index first, ``(candidates, candidates)`` cost of the
            kernels that read one and write the other.
        constant: cost that no choice changes.
        implied: pairs of groups; where the first has its least candidate, a width of 0, so has the
            second.
        clashes: groups that may not all have it.
    """

    widths: tuple[Counts, ...]
    values: tuple[Floats, ...]
    singles: tuple[Floats, ...]
    pairs: Mapping[tuple[int, int], Floats]
    constant: float
    implied: tuple[tuple[int, int], ...] = ()
    clashes: tuple[tuple[int, ...], ...] = ()

    def cost(self, choice: Choice) -> float:
        """Cost of a choice."""
        alone = sum(costs[place] for costs, place in zip(self.singles, choice, strict=True))
        both = sum(costs[choice[g], choice[h]] for (g, h), costs in self.pairs.items())
        return float(self.constant + alone + both)

    def value(self, choice: Choice) -> float:
        """Importance that a choice keeps."""
        return float(sum(v[place] for v, place in zip(self.values, choice, strict=True)))

    def changes(self, choice: Choice, group: int) -> Floats:
        """By candidate of one group: what moving there alone changes the cost by."""
        costs = self.singles[group].copy()
        for (g, h), matrix in self.pairs.items():
            if g == group:
                costs += matrix[:, choice[h]]
            elif h == group:
                costs += matrix[choice[g]]
        return np.asarray(costs - costs[choice[group]])

    def counts(self, choice: Choice) -> Counts:
        """Width of each group."""
        return np.array([w[place] for w, place in zip(self.widths, choice, strict=True)])


def candidates(
    pricer: Pricer, counts: Counts, grow: float, removable: Collection[int] = ()
) -> tuple[Counts, ...]:
    """Widths that each group may get, ascending.

    Args:
        pricer: of the network.
        counts: present widths; a group that has none is gone and stays so.
        grow: how many times its size in the seed a group may reach.
        removable: groups that may go.
    """
    found = []
    for place, group in enumerate(pricer.grouping.groups):
        if group.frozen:
            widths = [group.size]
        elif counts[place] == 0:
            widths = [0]
        else:
            widths = [*pricer.priced_widths(place), *_wider(group, grow)]
            least = max(group.minimum, 1)
            widths = [w for w in widths if w >= least and w % group.multiple == 0] or [group.size]
            widths += [0] * (place in removable)
        found.append(np.array(sorted(set(widths)), dtype=np.intp))
    return tuple(found)


def _wider(group: ChannelGroup, grow: float) -> range:
    """Widths beyond the seed's: whole steps of an eighth of it."""
    step = -(-max(1, group.size // 8) // GRAIN) * GRAIN
    step = -(-step // group.multiple) * group.multiple
    first = (group.size // step + 1) * step
    return range(first, int(group.size * grow) + 1, step)


def kept_value(
    importance: Floats, group: ChannelGroup, widths: Counts, returns: Returns = "diminishing"
) -> Floats:
    """Importance of a group's best ``width`` channels, for each of ``widths``.

    Importances tell what each channel is worth beside all others of its group. If only ``n`` of
    ``size`` are left, each has more to do: with diminishing returns the ``n``-th best counts
    ``(size / n) ** FALL`` times its importance, as if the loss were a power of the group's width,
    and what a budget spends on a group grows with the importance of the whole group. With constant
    returns it counts once, and a budget is spent on a few groups entirely.

    A channel beyond the seed's is worth what the least quarter of its group is worth on average,
    and each further one less, by the same law.
    """
    own = np.sort(np.asarray(importance[group.units], dtype=float))[::-1]
    own = np.maximum(np.nan_to_num(own, posinf=0.0, neginf=0.0), 0.0)
    places = np.arange(1, len(own) + 1)
    each = own * (group.size / places) ** FALL if returns == "diminishing" else own
    sums = np.concatenate([[0.0], np.cumsum(each)])
    least = own[-max(1, len(own) // 4) :].mean() if len(own) else 0.0
    wider = np.maximum(widths / max(group.size, 1), 1.0)
    beyond = least * group.size * (1.0 - wider ** (1.0 - FALL)) / (FALL - 1.0)
    return np.asarray(sums[np.minimum(widths, group.size)] + beyond)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What each group is worth at any width.

    Attributes:
        groups: of the network.
        importance: ``(units,)``.
        returns: of further channels.
        lost: by group that may go, what is lost with it; in place of all its importance.
        parts: whether some of such a group saves its part of that; else it has its importance,
            which may well be less than what is left without it.
    """

    groups: Sequence[ChannelGroup]
    importance: Floats
    returns: Returns
    lost: Mapping[int, float] = field(default_factory=dict)
    parts: bool = False

    def of(self, place: int, widths: Counts) -> Floats:
        """Value of one group at each of some widths."""
        group = self.groups[place]
        values = kept_value(self.importance, group, widths, self.returns)
        if place not in self.lost:
            return values
        whole = kept_value(self.importance, group, np.array([group.size]), self.returns)
        if self.parts:
            return whole - self.lost[place] * (1.0 - values / np.maximum(whole, 1e-300))
        return np.where(widths == 0, whole - self.lost[place], values)


def build(pricer: Pricer, worth: Worth, widths: Sequence[Counts], around: Counts) -> Problem:
    """The problem of a network.

    Kernels that depend on up to two groups are priced exactly. One that reads more, such as a
    convolution of a concatenation, is taken as the sum of what each group that it reads changes
    from the present widths, at every width that it writes: exact where cost is linear in what is
    read. For the rest a few rounds around the last answer are needed.

    Args:
        pricer: of the network.
        worth: of its groups.
        widths: candidates by group.
        around: present widths.
    """
    priced = pricer.kernels
    builder = _Builder(pricer, widths, around)
    for kernel in range(len(priced.rows[0])):
        builder.add(kernel)
    return Problem(
        widths=tuple(widths),
        values=tuple(worth.of(place, own) for place, own in enumerate(widths)),
        singles=tuple(builder.singles),
        pairs=builder.pairs,
        constant=builder.constant,
    )


class _Builder:
    """Adds up what kernels cost, by the groups that they depend on."""

    def __init__(self, pricer: Pricer, widths: Sequence[Counts], around: Counts) -> None:
        self._kernels = pricer.kernels
        self._shares = pricer.wiring.shares
        self._widths = widths
        self._around = np.asarray(around, dtype=float)
        self._now = pricer.wiring.at(around).tensors
        self._free = np.array([len(own) > 1 for own in widths], dtype=bool)
        self.constant = self._kernels.constant
        self.singles = [np.zeros(len(own)) for own in widths]
        self.pairs: dict[tuple[int, int], Floats] = {}

    def add(self, kernel: int) -> None:
        """Take one kernel in."""
        rows = [int(side[kernel]) for side in self._kernels.rows]
        read, written = (self._movable(row) for row in rows)
        movable = sorted({*read, *written})
        if len(movable) == 2:
            first, second = movable
            self._add_pair(first, second, self._pair(kernel, rows, first, second))
        elif len(movable) > 2 and len(written) == 1 and written[0] not in read:
            self._add_many(kernel, rows, read, written[0])
        else:
            self._add_sum(kernel, rows, movable)

    def _movable(self, row: int) -> list[int]:
        """Groups in a tensor that have a choice."""
        return [int(g) for g in np.flatnonzero((self._shares[row] != 0) & self._free)]

    def _add_sum(self, kernel: int, rows: Sequence[int], movable: Sequence[int]) -> None:
        """A kernel as what each group alone changes; exact for one group or none."""
        present = float(self._price(kernel, rows, {})) if len(movable) != 1 else 0.0
        self.constant += present
        for group in movable:
            costs = self._price(kernel, rows, {group: self._widths[group].astype(float)})
            self.singles[group] += costs - present

    def _add_many(
        self, kernel: int, rows: Sequence[int], read: Sequence[int], written: int
    ) -> None:
        """A kernel that reads several groups, at every width of the one that it writes."""
        outputs = self._widths[written].astype(float)
        self.singles[written] += self._price(kernel, rows, {written: outputs}) * (1 - len(read))
        for group in read:
            self._add_pair(group, written, self._pair(kernel, rows, group, written))

    def _pair(self, kernel: int, rows: Sequence[int], g: int, h: int) -> Floats:
        first = self._widths[g].astype(float)[:, None]
        second = self._widths[h].astype(float)[None, :]
        return self._price(kernel, rows, {g: first, h: second})

    def _add_pair(self, g: int, h: int, costs: Floats) -> None:
        if g > h:
            g, h, costs = h, g, costs.T
        known = self.pairs.get((g, h))
        self.pairs[g, h] = costs if known is None else known + costs

    def _price(self, kernel: int, rows: Sequence[int], chosen: Mapping[int, Floats]) -> Floats:
        sides = []
        for row in rows:
            width = np.asarray(self._now[row], dtype=float)
            for group, counts in chosen.items():
                # Groups that stay fixed at one candidate have it, whatever they have now.
                width = width + self._shares[row, group] * (counts - self._around[group])
            sides.append(width)
        inputs, outputs = np.broadcast_arrays(*sides)
        return self._kernels.look_up(np.full(inputs.shape, kernel), inputs, outputs)
