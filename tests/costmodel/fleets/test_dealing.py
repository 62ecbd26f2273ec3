"""Who measures which row of a design that boards share."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.fleets.dealing import COPIES, Part, relief

NAMES = tuple("abcdefghij")
SHARES = st.floats(0.0, 1.0, exclude_min=True)


def all_there(count: int) -> Part:
    return Part(boards=NAMES[:count], present=NAMES[:count])


@given(st.integers(1, 10), st.integers(0, 300), st.data())
def test_every_row_is_on_two_boards_where_there_are_two(
    count: int, rows: int, data: st.DataObject
) -> None:
    boards = st.sampled_from(NAMES[:count])
    present = data.draw(st.sets(boards, min_size=1))
    relieved = data.draw(st.dictionaries(boards, SHARES))
    part = Part(boards=NAMES[:count], present=tuple(present), relieved=tuple(relieved.items()))
    for row in range(rows):
        found = part.boards_of(row)
        assert len(set(found)) == len(found) == min(COPIES, len(present))
        assert set(found) <= present
    by_board = {board: part.rows_of(board, rows) for board in present}
    assert sum(map(len, by_board.values())) == rows * min(COPIES, len(present))


def test_all_boards_get_as_many_rows_and_share_some_with_every_other() -> None:
    part = all_there(4)
    shares = Counter(board for row in range(120) for board in part.boards_of(row))
    assert set(shares.values()) == {60}
    pairs = {frozenset(part.boards_of(row)) for row in range(12)}
    assert pairs == set(map(frozenset, combinations(part.boards, 2)))


def test_rows_of_a_board_that_left_go_on_and_the_others_stay() -> None:
    before = all_there(4)
    after = Part(boards=before.boards, present=("a", "c", "d"))
    for row in range(60):
        assert set(before.boards_of(row)) - {"b"} <= set(after.boards_of(row))


@settings(deadline=None)
@given(SHARES)
def test_a_relieved_share_goes_evenly_to_all_others(share: float) -> None:
    before, rows = all_there(4), 1200
    after = Part(boards=before.boards, present=before.present, relieved=(("b", share),))
    gone = set(before.rows_of("b", rows)) - set(after.rows_of("b", rows))
    assert len(gone) == pytest.approx(share * rows / 2, abs=12)
    assert set(after.rows_of("b", rows)) <= set(before.rows_of("b", rows))
    for board in "acd":
        had, has = (set(part.rows_of(board, rows)) for part in (before, after))
        assert had <= has
        assert has - had <= gone
        assert len(has - had) == pytest.approx(len(gone) / 3, abs=16)
    # More of it later takes nothing back from those that were given some.
    most = Part(boards=before.boards, present=before.present, relieved=(("b", 1.0),))
    for board in "acd":
        assert set(after.rows_of(board, rows)) <= set(most.rows_of(board, rows))


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.tuples(st.floats(1, 1000), st.floats(0, 1)), min_size=1
    )
)
def test_all_end_together_and_nothing_is_left_undone(
    boards: dict[str, tuple[float, float]],
) -> None:
    whole = {board: visits for board, (visits, _) in boards.items()}
    left = {board: visits * part for board, (visits, part) in boards.items()}
    end, shares = relief(left, whole)
    assert min(left.values()) <= end <= max(left.values())
    assert all(0.1 <= share <= 1.0 for share in shares.values())
    assert all(left[board] * (1.0 - share) == pytest.approx(end) for board, share in shares.items())
    handed = sum(whole[board] * share for board, share in shares.items())
    assert handed <= sum(max(0.0, end - visits) for visits in left.values()) + 1e-6 * sum(
        whole.values()
    )


def test_boards_that_are_as_far_leave_nothing() -> None:
    assert relief({"a": 40.0, "b": 41.0}, {"a": 100.0, "b": 100.0})[1] == {}
    assert relief({"a": 0.0, "b": 0.0}, {"a": 9.0, "b": 9.0}) == (0.0, {})
