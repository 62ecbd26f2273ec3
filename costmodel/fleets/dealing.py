"""Dealing: which boards of one kind measure which rows of the design that they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

#: Boards that measure each row, where there are so many.
COPIES = 2
#: Share of its rows from which on a late board leaves some to others. What is handed over is timed
#: in rounds of its own, each second one by a fresh worker: that takes longer than less would save.
_LEAST = 0.1
#: Its multiples, less their whole parts, lie evenly between 0 and 1 (Weyl 1916).
_GOLDEN = 0.6180339887498949
#: Halvings of the interval in which the common end of all boards is sought.
_HALVINGS = 40


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Boards of one kind, and what decides who of them measures which row.

    As long as all are there, every board gets as many rows as the others, and every two boards
    share some, by which they can be held against each other. Rows of a board that is away go to the
    next ones, and so does the relieved share of those of a late one; all other rows stay.

    Attributes:
        boards: of the kind, in an order that stays.
        present: those of them that can be asked.
        relieved: late boards, and the share of their rows that others measure.

    >>> all_there = Part(boards=("a", "b", "c"), present=("a", "b", "c"))
    >>> [all_there.boards_of(row) for row in range(3)]
    [['a', 'b'], ['b', 'c'], ['c', 'a']]
    >>> all_there.rows_of("a", 6)
    [0, 2, 3, 4]
    >>> Part(boards=("a", "b", "c"), present=("b", "c")).boards_of(0)
    ['b', 'c']
    """

    boards: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    relieved: tuple[tuple[str, float], ...] = ()

    def boards_of(self, row: int) -> list[str]:
        """The boards that measure a row.

        Args:
            row: place in the design.
        """
        return self._chosen(row, frozenset(self.present), dict(self.relieved))

    def rows_of(self, board: str, design: int) -> list[int]:
        """Places of the rows that one board measures, in order.

        Args:
            board: a present one.
            design: how many rows there are.
        """
        there, relieved = frozenset(self.present), dict(self.relieved)
        return [row for row in range(design) if board in self._chosen(row, there, relieved)]

    def gained(self, before: Part, board: str, design: int) -> set[int]:
        """Places of the rows that are a board's by this part and were not by an earlier one.

        Args:
            before: the earlier part.
            board: a present one.
            design: how many rows there are.
        """
        return set(self.rows_of(board, design)).difference(before.rows_of(board, design))

    def _chosen(self, row: int, there: Collection[str], relieved: Mapping[str, float]) -> list[str]:
        chosen: list[str] = []
        spared: list[str] = []
        place = row * _GOLDEN % 1.0
        for board in self._preferred(row):
            if board in there:
                (spared if place < relieved.get(board, 0.0) else chosen).append(board)
                if len(chosen) == COPIES:
                    return chosen
        return (chosen + spared)[:COPIES]

    def _preferred(self, row: int) -> Iterator[str]:
        """All boards, first the two that a row is meant for, then the others in turns."""
        count = len(self.boards)
        lap, first = divmod(row, count)
        yield self.boards[first]
        if count == 1:
            return
        turn, second = divmod(lap, count - 1)
        yield self.boards[(first + 1 + second) % count]
        for place in range(count - 2):
            step = (turn + place) % (count - 2)
            yield self.boards[(first + 1 + step + (step >= second)) % count]


def relief(left: Mapping[str, float], whole: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """What late boards leave to others, so that all end together.

    A row that is handed over is measured there from the start: what the late board has of it helps
    nobody to end sooner.

    Args:
        left: visits that each board has still to make.
        whole: visits of all its rows, those made included.

    Returns:
        The visits that each board then has to make, and by late board the share of its rows that it
        leaves; none where that is hardly worth it.

    >>> end, shares = relief({"a": 60, "b": 60, "c": 75}, {"a": 100, "b": 100, "c": 100})
    >>> round(end, 1), {board: round(share, 2) for board, share in shares.items()}
    (66.0, {'c': 0.12})
    """
    low, high = min(left.values()), max(left.values())
    for _ in range(_HALVINGS):
        end = (low + high) / 2
        room = sum(max(0.0, end - visits) for visits in left.values())
        handed = sum(
            whole[board] * (1.0 - end / visits) for board, visits in left.items() if visits > end
        )
        low, high = (end, high) if handed > room else (low, end)
    shares = {board: 1.0 - high / visits for board, visits in left.items() if visits > high}
    return high, {board: share for board, share in shares.items() if share >= _LEAST}
