"""Rows of whole networks say what the networks execute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.model_rows import model_op, model_op_counts
from costmodel.op import Op
from costmodel.testing import ops


@given(st.lists(ops(), max_size=6))
def test_a_model_row_counts_its_ops(drawn: list[Op]) -> None:
    twice = (*drawn, *drawn)
    expected = {op.digest: twice.count(op) for op in drawn}
    assert expected == model_op_counts(model_op("net", "0" * 16, twice))


@pytest.mark.parametrize("listing", ["abc", "abc*", "abc*-1", "abc*1e3", "abc*" + "9" * 5000])
def test_a_damaged_model_row_is_refused(listing: str) -> None:
    op = Op(kind="model", attributes=(("name", "net"), ("ops", listing)))
    with pytest.raises(InvalidInputError, match=r"digest\*count"):
        model_op_counts(op)
