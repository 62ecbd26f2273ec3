"""Rows and cells that say the same."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.tidy import distinct as module
from costmodel.tidy.distinct import cells_of, distinct

CELLS = st.sampled_from(["3", "1", "", None, float("nan"), 8, 8.0])


@given(
    st.lists(st.tuples(CELLS, CELLS, st.integers(0, 3)), max_size=12), st.sampled_from([4, 2**62])
)
def test_rows_of_a_sort_are_equal_and_sorts_differ(
    rows: list[tuple[object, ...]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST", most)  # beyond it, numbers are made small between columns
        frame = pd.DataFrame(rows, columns=list("abc")).astype({"a": object, "b": object})
        firsts, sorts = distinct(frame)
    # Only a NaN differs from itself.
    plain = [tuple(cell if cell == cell else None for cell in row) for row in rows]
    assert [plain.index(row) for row in plain] == [int(firsts[sort]) for sort in sorts]
    assert sorted(firsts.tolist()) == firsts.tolist()


def test_lists_in_cells_all_differ_and_are_text_as_cells() -> None:
    column = pd.Series([[1, 2], [1, 2], None], name="shape")
    assert distinct(pd.DataFrame({"shape": column}))[1].tolist() == [0, 1, 2]
    cells, which = cells_of(column)
    assert (cells.tolist(), which.tolist()) == (["[1, 2]"], [0, 0, -1])


def test_a_frame_without_columns_is_one_sort() -> None:
    firsts, sorts = distinct(pd.DataFrame(index=range(3)))
    assert (firsts.tolist(), sorts.tolist()) == ([0], [0, 0, 0])
