"""Boards of one kind: how fast each is beside the others, and the table that they make together.

Boards of one product differ: in cooling, in silicon, in what else runs. Rows that two boards have
both measured say by how much. Those that agree as well as their own rounds do make one table; the
others are kept apart, each with its factor.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median

import numpy as np

from costmodel.device import Device
from costmodel.measurement import UNMEASURED, Measurement, Round
from costmodel.op import Op
from costmodel.table import LatencyTable

#: Boards within this share of each other are alike, however well their rounds agree: sensors,
#: clocks and the place of memory make as much from one day to the next.
SAME = 0.01
#: Standard errors by which a factor must be off before it counts.
_SURE = 3.0
#: Standard deviations in a median of absolute deviations.
_MAD = 1.4826

Tables = Mapping[str, LatencyTable]
#: Rows with a number, by board.
Rows = Mapping[str, Mapping[Op, Measurement]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board beside the others of its kind.

    Attributes:
        name: in the fleet.
        rows: of its table that have a number.
        shared: those that another board has measured, too.
        factor: times that it takes, as a multiple of what those take that agree; None without
            shared rows.
        apart: whether it is kept apart for that.
    """

    name: str
    rows: int
    shared: int
    factor: float | None
    apart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """All boards of one device identity.

    Attributes:
        device: what they are.
        boards: in the order of the fleet.
        limit: share within which boards agree: their own repeatability, at least ``SAME``.
        rows: different rows with a number, over all boards.
        single: those that only one board has, where there are two or more.
    """

    device: Device
    boards: tuple[Board, ...]
    limit: float
    rows: int
    single: int

    @property
    def together(self) -> tuple[str, ...]:
        """Boards whose rows make one table."""
        return tuple(board.name for board in self.boards if not board.apart)

    def factor(self, name: str) -> float:
        """How much longer a board takes than those that agree; 1 where nobody knows."""
        return next((b.factor for b in self.boards if b.name == name and b.factor), 1.0)


def kinds_of(tables: Tables) -> tuple[Kind, ...]:
    """Tables by device identity, and how their boards agree.

    Args:
        tables: by board.
    """
    groups: dict[str, dict[str, LatencyTable]] = defaultdict(dict)
    for name, table in tables.items():
        groups[table.device.fingerprint][name] = table
    return tuple(map(_kind, groups.values()))


def _kind(tables: Tables) -> Kind:
    rows = {
        name: {op: row for op, row in table.rows.items() if row.has_number}
        for name, table in tables.items()
    }
    owners = Counter(op for own in rows.values() for op in own)
    found = _factors(rows)
    limit = max(
        SAME, _repeatability(rows.values()), _SURE * max(found.errors.values(), default=0.0)
    )
    together = _largest_group(found.logs, math.log1p(limit))
    centre = median(found.logs[name] for name in together) if together else 0.0
    boards = tuple(
        Board(
            name=name,
            rows=len(own),
            shared=sum(owners[op] > 1 for op in own),
            factor=math.exp(found.logs[name] - centre) if name in found.logs else None,
            apart=name in found.logs and name not in together,
        )
        for name, own in rows.items()
    )
    return Kind(
        device=next(iter(tables.values())).device,
        boards=boards,
        limit=limit,
        rows=len(owners),
        single=sum(count == 1 for count in owners.values()) if len(rows) > 1 else 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factors:
    """Logarithms of how long boards take, up to a constant, and their standard errors."""

    logs: dict[str, float]
    errors: dict[str, float]


def _factors(rows: Rows) -> _Factors:
    """Least squares over the median differences of all pairs of boards that share rows."""
    pairs = _ratios(rows)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if not names:
        return _Factors(logs={}, errors={})
    place = {name: number for number, name in enumerate(names)}
    # The normal equations: a row for each board, however many pairs there are.
    matrix, wanted = np.zeros((len(names), len(names))), np.zeros(len(names))
    errors: dict[str, list[float]] = defaultdict(list)
    for (one, other), logs in pairs.items():
        i, j, weight, middle = place[one], place[other], len(logs), median(logs)
        matrix[[i, j], [i, j]] += weight
        matrix[[i, j], [j, i]] -= weight
        wanted[[i, j]] += (weight * middle, -weight * middle)
        spread = _MAD * median(abs(value - middle) for value in logs)
        for name in (one, other):
            errors[name].append(spread / math.sqrt(weight))
    solved = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    return _Factors(
        logs={name: float(solved[place[name]]) for name in names},
        errors={name: min(found) for name, found in errors.items()},
    )


def _ratios(rows: Rows) -> dict[tuple[str, str], list[float]]:
    """By pair of boards, logarithms of the ratios of rows that both have."""
    owners: dict[Op, list[str]] = defaultdict(list)
    for name, own in rows.items():
        for op in own:
            owners[op].append(name)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for op, several in owners.items():
        for one, other in combinations(several, 2):
            found[one, other].append(
                math.log(rows[one][op].latency_ms / rows[other][op].latency_ms)
            )
    return found


def _repeatability(rows: Collection[Mapping[Op, Measurement]]) -> float:
    """Median disagreement of the halves of a row's rounds."""
    spreads = [row.spread for own in rows for row in own.values() if math.isfinite(row.spread)]
    return median(spreads) if spreads else 0.0


def _largest_group(logs: Mapping[str, float], width: float) -> tuple[str, ...]:
    """Most boards within ``width`` of each other; of two such groups the faster one."""
    ordered = sorted(logs, key=lambda name: logs[name])
    best: list[str] = []
    for start, first in enumerate(ordered):
        group = [name for name in ordered[start:] if logs[name] - logs[first] <= width]
        if len(group) > len(best):
            best = group
    return tuple(best)


def joined(kind: Kind, tables: Tables, scaled_to: str = "") -> LatencyTable:
    """One table of boards of one kind.

    Rounds of several boards stand in turns, so that a row's two halves, whose disagreement is its
    ``spread``, are of different boards.

    Args:
        kind: of the boards.
        tables: of all its boards, by name.
        scaled_to: a board that is kept apart: its own rows as they are, and those of the others
            multiplied by its factor; empty for the table of those that agree.

    Returns:
        The table, in memory.
    """
    names = kind.together
    factor = 1.0
    if scaled_to:
        factor = kind.factor(scaled_to)
        names = (scaled_to, *(name for name in names if name != scaled_to))
    rows: dict[Op, Measurement] = {}
    own: Collection[Op] = tables[scaled_to].rows.keys() if scaled_to else ()
    ops = dict.fromkeys(op for name in names for op in tables[name].rows)
    for op in ops:
        several = [tables[name].rows[op] for name in names if op in tables[name].rows]
        if scaled_to and op in own and tables[scaled_to].rows[op].has_number:
            rows[op] = tables[scaled_to].rows[op]
        else:
            rows[op] = _scaled(_one_row(several), factor)
    return LatencyTable(kind.device, rows.values())


def _one_row(several: list[Measurement]) -> Measurement:
    """Rows of one Op from several boards as one."""
    numbers = [row for row in several if row.has_number]
    if not numbers:
        return next((row for row in several if row.status != UNMEASURED), several[0])
    if len(numbers) == 1 or not all(row.rounds for row in numbers):
        return numbers[0]
    rounds = [
        replace(item, number=number)
        for number, item in enumerate(_in_turns([row.rounds for row in numbers]))
    ]
    return Measurement.from_rounds(numbers[0].op, rounds)


def _in_turns(several: list[tuple[Round, ...]]) -> Iterator[Round]:
    for place in range(max(map(len, several))):
        yield from (rounds[place] for rounds in several if place < len(rounds))


def _scaled(row: Measurement, factor: float) -> Measurement:
    if factor == 1.0 or not row.has_number:
        return row
    if row.rounds:
        rounds = (
            replace(item, quiet_ms=item.quiet_ms * factor, median_ms=item.median_ms * factor)
            for item in row.rounds
        )
        return Measurement.from_rounds(row.op, rounds)
    return replace(row, latency_ms=row.latency_ms * factor, median_ms=row.median_ms * factor)
