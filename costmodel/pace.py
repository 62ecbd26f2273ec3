"""Pace: how fast a device runs now beside when its table was made.

Shared machines, hot phones and new drivers change speed between two days. Timed beside a network,
some of the table's own rows tell that from an error of the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

from costmodel.measurement import Measurement
from costmodel.op import MODEL, SESSION, Op
from costmodel.table import LatencyTable

#: Rows that are timed again: with eight, the median moves little when two were disturbed.
WITNESSES = 8
#: Rows between these times: shorter ones are mostly overhead, longer ones take the time of others.
LEAST_MS, MOST_MS = 0.02, 20.0
#: Networks timed again, the shortest of them, and how many it takes to tell the pace by them alone.
NETWORKS, LEAST_NETWORK_MS, MIN_NETWORKS = 5, 0.3, 3
#: Nearer to 1 than this, a pace is no news: rows repeat no better.
STEADY = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long rows of a table take now, as a multiple of what they took.

    Attributes:
        ratio: median over the rows; 1.1 is a device that has become 10 % slower.
        low: ratio of the row that gained most.
        high: ratio of the row that lost most.
        rows: how many were timed again.
        networks: whether these were whole networks, which a busy neighbour slows down even where
            short kernels still find a quiet moment.
    """

    ratio: float
    low: float
    high: float
    rows: int
    networks: bool = False

    @classmethod
    def of(cls, table: LatencyTable, now: Mapping[Op, Measurement]) -> Pace | None:
        """The pace, from rows timed again; None where none has both times.

        Args:
            table: what was measured then.
            now: the same kernels, measured again.
        """
        known = [op for op in now if op in table and now[op].has_number and table[op].has_number]
        networks = [op for op in known if op.kind == MODEL]
        told = networks if len(networks) >= MIN_NETWORKS else known
        ratios = [now[op].latency_ms / table[op].latency_ms for op in told]
        if not ratios:
            return None
        return cls(
            ratio=median(ratios),
            low=min(ratios),
            high=max(ratios),
            rows=len(ratios),
            networks=told is networks,
        )

    @property
    def steady(self) -> bool:
        """Whether the device runs as it did."""
        return abs(self.ratio - 1.0) <= STEADY

    def __str__(self) -> str:
        """One sentence.

        >>> print(Pace(ratio=1.08, low=1.02, high=1.15, rows=8))
        8 rows of the table timed again took +8.0 % of their time (+2.0 to +15.0 %).
        """
        middle, low, high = (
            f"{100 * (item - 1):+.1f}" for item in (self.ratio, self.low, self.high)
        )
        what = "network" if self.networks else "row"
        rows = f"{self.rows} {what}s" if self.rows > 1 else f"1 {what}"
        return f"{rows} of the table timed again took {middle} % of their time ({low} to {high} %)."

    def to_json(self) -> dict[str, object]:
        """The pace as plain values."""
        return {
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
            "rows": self.rows,
            "networks": self.networks,
        }


def witness_networks(table: LatencyTable, names: str) -> tuple[Op, ...]:
    """Networks of a table that tell its pace best: neither short nor long.

    Args:
        table: whose rows.
        names: what the names of those begin with that can be timed again.
    """
    rows = [
        row
        for row in table.models()
        if row.has_number
        and LEAST_NETWORK_MS <= row.latency_ms <= MOST_MS
        and row.op.attribute("name", "").startswith(names)
    ]
    return tuple(row.op for row in _from_the_middle(rows)[:NETWORKS])


def witnesses(table: LatencyTable, count: int = WITNESSES) -> tuple[Op, ...]:
    """Rows that tell the pace of a device: quiet ones, spread over its kinds of work and sizes.

    Args:
        table: whose rows.
        count: most rows that are chosen.
    """
    kinds: dict[str, list[Measurement]] = {}
    for row in table.kernels():
        if row.status == "ok" and row.op.kind != SESSION and LEAST_MS <= row.latency_ms <= MOST_MS:
            kinds.setdefault(row.op.implementation or row.op.kind, []).append(row)
    # The kinds that take most of the time first; of each its middle row, then towards both ends.
    ordered = sorted(kinds.values(), key=lambda rows: -sum(row.latency_ms for row in rows))
    spread = [_from_the_middle(rows) for rows in ordered]
    turns = zip_longest(*spread)
    return tuple(row.op for turn in turns for row in turn if row is not None)[:count]


def _from_the_middle(rows: list[Measurement]) -> list[Measurement]:
    """Rows by time: the median, the quartiles, the eighths, ... so that any few are spread."""
    ordered = sorted(rows, key=lambda row: (row.latency_ms, row.op.digest))
    found: dict[int, Measurement] = {}
    parts = 2
    while len(found) < min(len(ordered), WITNESSES):
        for part in range(1, parts):
            place = part * len(ordered) // parts
            found.setdefault(place, ordered[place])
        parts *= 2
    return list(found.values())
