"""Secants: what a channel is worth where cost is a staircase.

The local slope of a staircase is zero nearly everywhere, so a price taken from it never moves a
width off its plateau. The secant reaches to the next width that saves something:
``(C[a] - C[b]) / (a - b)`` with ``b`` the greatest width below ``a`` at which the group's kernels
cost at most ``1 - tolerance`` of what they do now, 0 if there is none. Where cost is bilinear every
secant is the slope, and the price is MorphNet's.
"""

from __future__ import annotations

import numpy as np

from morphnet_core.pricing.grid import envelope, right_edges
from morphnet_core.pricing.tables import CostTables
from morphnet_core.pricing.wiring import Floats, Widths


class Secants:
    """Prices of groups by cost tables.

    Args:
        tables: of a network's kernels.
        tolerance: least saving worth a step, as a share of what the group's kernels cost.
    """

    def __init__(self, tables: CostTables, tolerance: float) -> None:
        self._tables = tables
        self._tolerance = tolerance
        shares = tables.wiring.shares
        parts = [
            (table, axis, group, shares[row, group])
            for axis in (0, 1)
            for table, row in enumerate(tables.rows[axis])
            for group in np.flatnonzero(shares[row])
        ]
        columns = np.array(parts, dtype=float).reshape(-1, 4).T
        #: One entry for every axis of every kernel that a group is on.
        self._table, self._axis, self._group = columns[:3].astype(np.intp)
        self._share = columns[3]
        pairs = sorted({(int(t), int(g)) for t, g in zip(self._table, self._group, strict=True)})
        both = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        self._touched = both[:, 0], both[:, 1]
        longest = max(map(len, tables.grids), default=0) + 1
        #: ``(groups, longest)`` widths to step to, descending, 0 last.
        self._steps = np.zeros((len(tables.grids), longest))
        for number, grid in enumerate(tables.grids):
            self._steps[number, : len(grid)] = grid[::-1]

    def now(self, widths: Widths, *, raw: bool = False) -> Floats:
        """``(tables,)`` cost of every kernel at these widths; see ``CostTables.look_up``."""
        rows = self._tables.rows
        everything = np.arange(len(rows[0]))
        inputs, outputs = (widths.tensors[row] for row in rows)
        return self._tables.look_up(everything, inputs, outputs, raw=raw)

    def prices(self, widths: Widths, now: Floats) -> Floats:
        """``(groups,)`` price of a unit of each group.

        A dead group is priced by what its first step back would cost per unit.

        Args:
            widths: present widths.
            now: what every kernel costs at them.
        """
        present = widths.counts
        if not len(present) or not len(self._table):
            return np.zeros(len(present))
        saved = self._savings(widths, now)
        own = np.zeros(len(present))
        np.add.at(own, self._touched[1], now[self._touched[0]])
        below = self._steps < present[:, None]
        worth = below & (saved >= self._tolerance * own[:, None])
        # Widths descend, so the first that is worth it is the greatest; the last is 0.
        choice = np.where(worth.any(axis=1), worth.argmax(axis=1), self._steps.shape[1] - 1)
        choice = np.where(present > 0, choice, (self._steps > 0).sum(axis=1) - 1)
        everyone = np.arange(len(present))
        distance = present - self._steps[everyone, choice]
        prices = saved[everyone, choice] / np.where(distance == 0, 1.0, distance)
        return np.asarray(np.maximum(prices, 0.0))

    def _savings(self, widths: Widths, now: Floats, *, raw: bool = False) -> Floats:
        """``(groups, steps)`` what each group saves by going to a width alone."""
        steps = self._steps[self._group]
        change = self._share[:, None] * (steps - widths.counts[self._group][:, None])
        tables = np.broadcast_to(self._table[:, None], steps.shape)
        sides = []
        for axis in (0, 1):
            wide = widths.tensors[self._tables.rows[axis][self._table]][:, None]
            sides.append(wide + np.where(self._axis[:, None] == axis, change, 0.0))
        costs = self._tables.look_up(tables, sides[0], sides[1], raw=raw)
        saved = np.zeros((len(widths.counts), steps.shape[1]))
        np.add.at(saved, self._group, now[self._table][:, None] - costs)
        return saved

    def edges(self, group: int, widths: Widths) -> tuple[int, ...]:
        """Priced widths of a group that no wider one undercuts, ascending; the full one last.

        Taken from the sum over the group's kernels: a width that spares one kernel a little and
        throws another off its fast path is not among them.

        Args:
            group: its index.
            widths: the widths of all other groups.
        """
        counts = widths.counts.copy()
        counts[group] = self._tables.grids[group][-1]
        at = self._tables.wiring.at(counts)
        now = self.now(at, raw=True)
        own = now[self._touched[0][self._touched[1] == group]].sum()
        grid = self._tables.grids[group]
        profile = own - self._savings(at, now, raw=True)[group, : len(grid)][::-1]
        return tuple(grid[place] for place in right_edges(envelope(profile)))
