"""Dealing: which boards of one kind measure which rows of the design that they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

#: Boards that measure each row, where there are so many.
COPIES = 2


def boards_of(row: int, boards: Sequence[str], present: Collection[str]) -> list[str]:
    """The boards that measure a row.

    As long as all are there, every board gets as many rows as the others, and every two boards
    share some, by which they can be held against each other. Rows of a board that is away go to the
    next ones; all other rows stay where they are.

    Args:
        row: place in the design.
        boards: of the kind, in an order that stays.
        present: those of them that can be asked.

    >>> [boards_of(row, "abc", "abc") for row in range(3)]
    [['a', 'b'], ['b', 'c'], ['c', 'a']]
    >>> boards_of(0, "abc", "bc")
    ['b', 'c']
    """
    chosen: list[str] = []
    for board in _preferred(row, boards):
        if len(chosen) == COPIES:
            break
        if board in present and board not in chosen:
            chosen.append(board)
    return chosen


def _preferred(row: int, boards: Sequence[str]) -> Iterator[str]:
    """All boards, first those that a row is meant for."""
    count = len(boards)
    lap, first = divmod(row, count)
    yield boards[first]
    if count > 1:
        yield boards[(first + 1 + lap % (count - 1)) % count]
    for step in range(1, count):
        yield boards[(first + step) % count]


def dealt(rows: int, boards: Sequence[str], present: Collection[str], board: str) -> list[int]:
    """Places of the rows that one board measures, in order.

    Args:
        rows: of the design.
        boards: of the kind.
        present: those of them that can be asked.
        board: one of these.

    >>> dealt(6, "abc", "abc", "a")
    [0, 2, 3, 4]
    """
    there = frozenset(present)
    return [row for row in range(rows) if board in boards_of(row, boards, there)]
