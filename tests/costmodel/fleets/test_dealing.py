"""Who measures which row of a design that boards share."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from costmodel.fleets.dealing import COPIES, boards_of, dealt

NAMES = "abcdefghij"


@given(st.integers(1, 10), st.integers(0, 300), st.data())
def test_every_row_is_on_two_boards_where_there_are_two(
    count: int, rows: int, data: st.DataObject
) -> None:
    boards = NAMES[:count]
    present = data.draw(st.sets(st.sampled_from(boards), min_size=1))
    for row in range(rows):
        found = boards_of(row, boards, present)
        assert len(set(found)) == len(found) == min(COPIES, len(present))
        assert set(found) <= present
    by_board = {board: dealt(rows, boards, present, board) for board in present}
    assert sum(map(len, by_board.values())) == rows * min(COPIES, len(present))


def test_all_boards_get_as_many_rows_and_share_some_with_every_other() -> None:
    boards = NAMES[:4]
    shares = Counter(board for row in range(120) for board in boards_of(row, boards, boards))
    assert set(shares.values()) == {60}
    pairs = {frozenset(boards_of(row, boards, boards)) for row in range(12)}
    assert pairs == set(map(frozenset, combinations(boards, 2)))


def test_rows_of_a_board_that_left_go_on_and_the_others_stay() -> None:
    boards = NAMES[:4]
    left = set(boards) - {"b"}
    for row in range(60):
        before, after = boards_of(row, boards, boards), boards_of(row, boards, left)
        assert set(before) - {"b"} <= set(after)
