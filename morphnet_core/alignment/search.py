"""Which widths to pad groups to: coordinate descent on the predicted latency of the whole network.

Groups interact: a convolution runs blocked only if both its sides do, a reorder vanishes only with
the last of its reasons, a sum is fused only where both operands are laid out alike. So every
choice is judged by the network that it makes, and the descent begins anew from networks padded
everywhere, where single steps would see no gain.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from morphnet_core.alignment.evaluate import Evaluator, Total
from morphnet_core.groups import Grouping, Units

#: What kernels like channels to come in: registers, blocks, tiles.
MULTIPLES = (4, 8, 16, 32, 64, 128)
#: Multiples to which all groups are padded for a start.
STARTS = (4, 8, 16)
#: Widths tried per group and visit.
_MOST_CANDIDATES = 14
#: Weight of a network's share of extra channels against its cost: decides among equals only.
_TIE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a search may go.

    Attributes:
        factor: a group grows to at most this many times its width ...
        extra: ... or by this many units, whichever is more.
        group_gain: least gain for which a group is changed, as a share of the network's cost.
        total_gain: least gain for which anything is changed, as a share.
        seconds: after which no other start is tried and no sweep begun.
    """

    factor: float = 2.0
    extra: int = 64
    group_gain: float = 0.0005
    total_gain: float = 0.01
    seconds: float = 45.0

    def widest(self, size: int) -> int:
        """Most units of a group of ``size``."""
        return max(int(size * self.factor), size + self.extra)


def best_counts(evaluator: Evaluator, limits: Limits) -> Units:
    """Units per group that the network is predicted to be fastest with; at least the present ones.

    Args:
        evaluator: prices widths.
        limits: how far to go.

    Returns:
        The present counts where nothing is worth changing.
    """
    was_on = gc.isenabled()
    gc.disable()  # networks hold no cycles, but looking for some takes a third of the time
    try:
        return _Search(evaluator, limits).best()
    finally:
        if was_on:
            gc.enable()


class _Search:
    def __init__(self, evaluator: Evaluator, limits: Limits) -> None:
        self._evaluator = evaluator
        self._limits = limits
        self._grouping: Grouping = evaluator.grouping
        self._present = self._grouping.full_counts
        self._free = [i for i, group in enumerate(self._grouping.groups) if not group.frozen]
        self._axes = _Axes(self._grouping)
        (self._base,) = evaluator.totals([self._present])
        self._deadline = perf_counter() + limits.seconds

    def best(self) -> Units:
        """The best end of all descents."""
        starts = [self._present, *(self._padded(multiple) for multiple in STARTS)]
        scores = self._scores(starts)
        found, score = self._present, scores[0]
        seen: set[bytes] = set()
        for place in np.argsort(scores, kind="stable").tolist():
            late = perf_counter() > self._deadline
            counts = starts[place] if late else self._descended(starts[place])
            if counts.tobytes() in seen:
                continue
            seen.add(counts.tobytes())
            (reached,) = self._scores([counts])
            if reached < score:
                found, score = counts, reached
        (total,) = self._evaluator.totals([found])
        worth = total.than(self._base) <= self._base.value * (1.0 - self._limits.total_gain)
        return found if worth else self._present

    def _padded(self, multiple: int) -> Units:
        """All groups at the next multiple, where that is not too wide."""
        counts = self._present.copy()
        for group in self._free:
            wanted = self._axes.next_multiple(group, int(counts[group]), multiple)
            if wanted <= self._limits.widest(int(counts[group])):
                counts[group] = wanted
        return counts

    def _scores(self, many: Sequence[Units]) -> list[float]:
        """What is made small: cost, a toll for each group that changes, and extra channels."""
        totals = self._evaluator.totals(many)
        return [
            total.than(self._base) + self._toll(counts)
            for total, counts in zip(totals, many, strict=True)
        ]

    def _toll(self, counts: Units) -> float:
        changed = int((counts != self._present).sum())
        extra = float((counts / np.maximum(self._present, 1)).sum() / max(1, len(counts)) - 1.0)
        return self._base.value * (self._limits.group_gain * changed + _TIE * extra)

    def _descended(self, counts: Units) -> Units:
        """The counts after no single group can be changed for the better."""
        (score,) = self._scores([counts])
        waiting = dict.fromkeys(self._free)
        while waiting and perf_counter() < self._deadline:
            group = next(iter(waiting))
            del waiting[group]
            trial = self._step(counts, group)
            if trial is None:
                continue
            (reached,) = self._scores([trial])
            if reached < score:
                counts, score = trial, reached
                around = self._evaluator.neighbours(group)
                waiting.update(dict.fromkeys(g for g in self._free if g in around))
        return counts

    def _step(self, counts: Units, group: int) -> Units | None:
        """The counts with the best width of one group by the kernels around it; None if as now."""
        widths = self._candidates(counts, group)
        trials = [_with(counts, group, width) for width in widths]
        costs = self._evaluator.part_totals(group, trials)
        own: Total = costs[widths.index(int(counts[group]))]
        scores = [
            cost.than(own) + self._toll(trial) for cost, trial in zip(costs, trials, strict=True)
        ]
        best = int(np.argmin(scores))
        return None if widths[best] == counts[group] else trials[best]

    def _candidates(self, counts: Units, group: int) -> list[int]:
        """Widths to try, ascending: the present one, that of ``counts``, and useful ones above."""
        size = int(self._present[group])
        most = self._limits.widest(size)
        found = Counter(
            width for width in self._axes.useful(group, size, counts) if size < width <= most
        )
        # Those that suit most tensors first, then the narrowest.
        ranked = sorted(found, key=lambda width: (-found[width], width))
        return sorted({size, int(counts[group]), *ranked[:_MOST_CANDIDATES]})


def _with(counts: Units, group: int, width: int) -> Units:
    changed = counts.copy()
    changed[group] = width
    return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """A channel axis that a group is in.

    Attributes:
        positions: that each of its units has.
        others: further groups in it, with the positions of their units.
        rest: positions that are nobody's.
    """

    positions: int
    others: tuple[tuple[int, int], ...]
    rest: int


class _Axes:
    """Which channel axes each group is in, so that whole axes can be made multiples."""

    def __init__(self, grouping: Grouping) -> None:
        sizes = grouping.full_counts
        axes: list[dict[_Axis, None]] = [{} for _ in sizes]
        for name, members in grouping.members.items():
            parts = [(item.group, item.positions) for item in members]
            rest = len(grouping.units[name]) - sum(each * int(sizes[g]) for g, each in parts)
            for group, positions in parts:
                others = tuple(part for part in parts if part[0] != group)
                axes[group][_Axis(positions=positions, others=others, rest=rest)] = None
        self._axes = [list(found) for found in axes]

    def next_multiple(self, group: int, size: int, multiple: int) -> int:
        """Least units, from ``size``, whose positions are a multiple on the narrowest axis."""
        positions = min((axis.positions for axis in self._axes[group]), default=1)
        width = size
        while width * positions % multiple:
            width += 1
        return width

    def useful(self, group: int, size: int, counts: Units) -> Iterable[int]:
        """Units above ``size`` that make an axis of the group, or the group, a whole multiple."""
        for axis in self._axes[group]:
            beside = axis.rest + sum(each * int(counts[g]) for g, each in axis.others)
            for offset in {0, beside}:
                for multiple in MULTIPLES:
                    yield from _reaching(axis.positions, offset, size, multiple)


def _reaching(positions: int, beside: int, size: int, multiple: int) -> Iterable[int]:
    """The next two widths above ``size`` at which an axis is a multiple.

    >>> list(_reaching(1, 0, 13, 8)), list(_reaching(2, 0, 13, 8)), list(_reaching(1, 3, 13, 8))
    ([16, 24], [16, 20], [21, 29])
    """
    near = range(size + 1, size + 1 + multiple)
    first = next((n for n in near if (positions * n + beside) % multiple == 0), 0)
    if first:
        step = next(n for n in range(1, multiple + 1) if positions * n % multiple == 0)
        yield from (first, first + step)
