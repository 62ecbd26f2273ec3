"""Numbers in the cells of people's files: what is one, and what only looks like one."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.tidy.distinct import cells_of
from costmodel.tidy.kernel import UnusableRow

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"^\s*[=@]|^\s*[+-](?![\d.,\s]*\d[\d.,eE+\-\s]*$)")
_COMMA = re.compile(r"^\s*[+-]?\d+,\d+\s*$")
_THOUSANDS = re.compile(r"^\s*[+-]?\d{1,3}(,\d{3})+(\.\d+)?\s*$")
_POINTED = re.compile(r"^\s*[+-]?\d{1,3}(\.\d{3})+,\d+\s*$")
#: What a cell says where there is no number.
_NOTHING = frozenset(
    {"", "-", "--", "n/a", "na", "nan", "none", "null", "?", "inf", "failed", "error"}
)


class Commas:
    """What commas mean in each column of one file; found out once, then held to.

    Args:
        decimal: whether the file's own form says that they are decimal (a ``;`` between cells).
    """

    def __init__(self, *, decimal: bool = False) -> None:
        self._decimal = decimal
        self._known: dict[str, bool] = {}

    def are_decimal(self, name: str, cells: list[str], first_row: int) -> bool:
        """Whether commas of a column are decimal ones.

        Args:
            name: of the column.
            cells: texts with commas.
            first_row: of the first of them.

        Raises:
            InvalidInputError: where nothing tells a decimal comma from one of thousands.
        """
        if name not in self._known:
            if (
                self._decimal
                or any(_POINTED.match(cell) for cell in cells)
                or any(_COMMA.match(cell) and not _THOUSANDS.match(cell) for cell in cells)
            ):
                self._known[name] = True
            elif any("." in cell or cell.count(",") > 1 for cell in cells):
                self._known[name] = False
            else:
                message = (
                    f"row {first_row}, column {name!r}: {cells[0].strip()!r} may be a decimal "
                    "fraction or thousands. Write numbers with a point, or separate cells by ';'."
                )
                raise InvalidInputError(message)
        return self._known[name]


def numbers(
    column: pd.Series, commas: Commas, first_row: int
) -> tuple[pd.Series, list[tuple[UnusableRow, NDArray[np.intp]]]]:
    """Numbers of a column, NaN where a cell holds none.

    Formulas are not evaluated: the number that somebody saw in that cell is not in the file.

    Args:
        column: any cells; what is a number already stays one.
        commas: what they mean in this file.
        first_row: number of the file's row that the index calls 0, counted from 1 below the header.

    Returns:
        Floats, and what is wrong in which places of the column; a missing value is not wrong.

    >>> import pandas as pd
    >>> numbers(pd.Series(["1,5", "2", "=1+2"], name="time"), Commas(), 1)[0].tolist()
    [1.5, 2.0, nan]
    """
    import pandas as pd

    name = str(column.name)
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return column.astype("Float64").astype(float), []
    cells, which = cells_of(column)
    found = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(float).copy()
    wrong = _wrong(cells, found)
    left = [at for at, cell in wrong.items() if _looks_like_number(cell)]
    if left:
        first = int(column.index[int(np.isin(which, left).argmax())])
        decimal = commas.are_decimal(name, [wrong[at] for at in left], first_row + first)
        for at in left:
            found[at] = _parsed(wrong.pop(at), decimal=decimal)
    problems: dict[str, tuple[UnusableRow, list[int]]] = {}
    for at, cell in wrong.items():
        problem = (
            "is a formula, which is not evaluated: save its value"
            if _FORMULA.match(cell[:40])
            else "is no number"
        )
        error = UnusableRow(name, problem, repr(cell[:40]))
        problems.setdefault(problem, (error, []))[1].append(at)
    # A missing cell is the last of these.
    values = pd.Series(np.append(found, math.nan)[which], index=column.index, name=column.name)
    return values, [(error, np.flatnonzero(np.isin(which, at))) for error, at in problems.values()]


def _wrong(cells: NDArray[Any], found: NDArray[np.float64]) -> dict[int, str]:
    """Cells that say something and are no plain number, by their place."""
    missing = ((int(at), str(cells[at])) for at in np.flatnonzero(np.isnan(found)))
    return {at: cell for at, cell in missing if cell.strip().lower() not in _NOTHING}


def _looks_like_number(cell: str) -> bool:
    return bool(_COMMA.match(cell) or _THOUSANDS.match(cell) or _POINTED.match(cell))


def _parsed(cell: str, *, decimal: bool) -> float:
    plain = cell.strip()
    if decimal:
        return float(plain.replace(".", "").replace(",", "."))
    return float(plain.replace(",", ""))
