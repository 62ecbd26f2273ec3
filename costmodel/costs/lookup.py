"""Prices that are rows of a table, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isfinite, log1p, prod
from typing import TYPE_CHECKING

import numpy as np

from costmodel.device import Device
from costmodel.op import MODEL, Op
from costmodel.protocols import Prices, Unit
from costmodel.table import LatencyTable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.spatial import KDTree

#: Half width of the interval, as a share, of a row with fewer than two rounds: nobody knows how
#: well it repeats, and one short window on a shared machine often misses its own repeat by that.
UNKNOWN_SPREAD = 0.1


class Lookup:
    """Milliseconds of exactly the Ops in a table.

    Each row's interval is its latency give or take its spread, the disagreement of the two halves
    of its rounds. An Op that is not in the table has no price; the reason names the nearest row.

    >>> from costmodel.measurement import Measurement
    >>> add = Op(kind="add", inputs=((1, 8),) * 2, outputs=((1, 8),))
    >>> wide = Op(kind="add", inputs=((1, 9),) * 2, outputs=((1, 9),))
    >>> row = Measurement(op=add, latency_ms=1.0, median_ms=1.1, spread=0.02)
    >>> table = LatencyTable(Device(name="board", runtime="fake"), [row])
    >>> prices = Lookup(table).price([add, wide])
    >>> prices.values, prices.high, prices.reasons[1]
    (array([ 1., nan]), array([1.02,  nan]), 'no row is exactly this; nearest of 1 add: add 8')
    """

    def __init__(self, table: LatencyTable) -> None:
        """Use a table."""
        self._table = table
        self._nearest: dict[str, _Nearest] = {}

    @property
    def device(self) -> Device:
        """The table's."""
        return self._table.device

    @property
    def unit(self) -> Unit:
        """Milliseconds."""
        return "ms"

    @property
    def name(self) -> str:
        """``lookup``."""
        return "lookup"

    def price(self, ops: Sequence[Op]) -> Prices:
        """Find each Op's row; NaN with a reason where there is none, or none with a number."""
        values = np.full(len(ops), np.nan)
        widths = np.full(len(ops), np.nan)
        reasons: dict[int, str] = {}
        absent: dict[str, list[int]] = defaultdict(list)
        for position, op in enumerate(ops):
            row = self._table.get(op)
            if op.kind == MODEL:
                reasons[position] = "a 'model' row is a whole network; price its Ops instead"
            elif row is None:
                absent[op.kind].append(position)
            elif not row.has_number:
                reasons[position] = f"its row has no number ({row.status}): {row.reason}"
            else:
                values[position] = row.latency_ms
                spread = row.spread if isfinite(row.spread) else UNKNOWN_SPREAD
                widths[position] = row.latency_ms * min(spread, 1.0)
        for kind, positions in absent.items():
            nearest = self._nearest_of(kind).find([ops[position] for position in positions])
            reasons.update(zip(positions, nearest, strict=True))
        return Prices(
            values=values,
            low=values - widths,
            high=values + widths,
            reasons=reasons,
            exact=np.isfinite(values),
        )

    def _nearest_of(self, kind: str) -> _Nearest:
        if kind not in self._nearest:
            rows = self._table.items()
            known = [op for op, row in rows if op.kind == kind and row.has_number]
            self._nearest[kind] = _Nearest(kind, known)
        return self._nearest[kind]


class _Nearest:
    """Finds the known Op of one kind whose sizes are most like another's, by their ratios."""

    def __init__(self, kind: str, known: Sequence[Op]) -> None:
        # Imported here because most look-ups miss nothing and SciPy takes a while to import.
        from scipy.spatial import KDTree

        self._kind = kind
        self._known = known
        self._tree: KDTree | None = KDTree(_sizes(known)) if known else None

    def find(self, ops: Sequence[Op]) -> list[str]:
        """Why each of ``ops`` has no price."""
        if self._tree is None:
            return [f"the table has no row of kind {self._kind!r}"] * len(ops)
        found = np.atleast_1d(self._tree.query(_sizes(ops))[1])
        start = f"no row is exactly this; nearest of {len(self._known)} {self._kind}"
        return [f"{start}: {self._known[index].label}" for index in found]


def _sizes(ops: Iterable[Op]) -> NDArray[np.float64]:
    """Logarithms of what makes two kernels alike, a row per Op."""
    return np.array(
        [
            [
                log1p(abs(size))
                for size in (
                    op.batch,
                    op.in_channels,
                    op.out_channels,
                    prod(op.spatial_in),
                    prod(op.kernel),
                    prod(op.stride),
                    prod(op.dilation),
                    op.groups,
                    op.num_weights,
                    op.num_input_elements,
                    op.num_output_elements,
                )
            ]
            for op in ops
        ]
    )
