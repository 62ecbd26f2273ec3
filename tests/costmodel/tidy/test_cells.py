"""Numbers in people's cells."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from costmodel.errors import InvalidInputError
from costmodel.tidy.cells import Commas, numbers


def read(cells: list[object], *, decimal: bool = False) -> list[float]:
    return numbers(pd.Series(cells, name="t"), Commas(decimal=decimal), 1)[0].tolist()


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1.5", "2", " 3e2 "], [1.5, 2.0, 300.0]),
        (["1,5", "2,25"], [1.5, 2.25]),
        (["1.234,5", "2"], [1234.5, 2.0]),
        (["1,234.5", "7"], [1234.5, 7.0]),
        (["1,234,567", "2,000"], [1234567.0, 2000.0]),
        ([1, 2.5], [1.0, 2.5]),
    ],
)
def test_numbers_are_read_as_people_write_them(cells: list[object], found: list[float]) -> None:
    assert read(cells) == found


def test_a_comma_before_three_digits_is_doubtful_unless_the_file_says() -> None:
    with pytest.raises(InvalidInputError, match="row 1, column 't': '1,234' may be a decimal"):
        read(["1,234", "2,345"])
    assert read(["1,234", "2,345"], decimal=True) == [1.234, 2.345]
    # Another cell of the column tells.
    assert read(["1,234", "2,34"]) == [1.234, 2.34]


@pytest.mark.parametrize("cell", ["", "NaN", "n/a", "-", "None", " null "])
def test_a_missing_number_is_missing_and_not_wrong(cell: str) -> None:
    found, wrong = numbers(pd.Series([cell, "1"], name="t"), Commas(), 1)
    assert math.isnan(found.iloc[0])
    assert wrong == []


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("=1+2", "is a formula, which is not evaluated: save its value"),
        ("=cmd|' /C calc'!A0", "is a formula, which is not evaluated: save its value"),
        ("@SUM(A1)", "is a formula, which is not evaluated: save its value"),
        ("fast", "is no number"),
        ("12 ms", "is no number"),
    ],
)
def test_what_is_no_number_is_named_by_row_and_column(cell: str, problem: str) -> None:
    found, wrong = numbers(pd.Series(["1", cell], name="t"), Commas(), 11)
    assert math.isnan(found.iloc[1])
    assert [(error.column, error.problem, at.tolist()) for error, at in wrong] == [
        ("t", problem, [1])
    ]
