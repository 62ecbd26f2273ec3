"""Rows and cells that say the same: a list of millions has few different ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

#: Numbers of different rows are counted up to here before they are made small again.
_MOST = 2**62


def distinct(frame: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which rows of a frame are the same.

    Args:
        frame: any cells; missing ones are the same, and so are equal numbers of other types.
            Cells that cannot be compared (lists) all differ.

    Returns:
        Places of the first of each sort, in order of appearance, and for every row which of these
        it is.

    >>> import pandas as pd
    >>> firsts, sorts = distinct(pd.DataFrame({"kernel": ["3", "1", "3"], "cin": [8, 8, 8]}))
    >>> firsts.tolist(), sorts.tolist()
    ([0, 1], [0, 1, 0])
    """
    import pandas as pd

    rows, count = np.zeros(len(frame), dtype=np.int64), 1
    for name in frame.columns:
        cells, more = _numbered(frame[name])
        if count * more > _MOST:
            rows, kinds = pd.factorize(rows)
            count = len(kinds)
        rows, count = rows * more + cells, count * more
    sorts, kinds = pd.factorize(rows)
    firsts = np.zeros(len(kinds), dtype=np.intp)
    firsts[sorts[::-1]] = np.arange(len(frame))[::-1]
    return firsts, sorts


def cells_of(column: pd.Series) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The different cells of a column in order of appearance, and which of them each row has.

    Returns:
        Cells as objects, lists as text; and -1 for a missing one.
    """
    try:
        places, cells = column.factorize()
    except TypeError:  # lists
        places, cells = column.where(column.isna(), column.map(str)).factorize()
    return np.asarray(cells, dtype=object), places


def _numbered(column: pd.Series) -> tuple[NDArray[np.int64], int]:
    """A number for the cell of each row, and how many numbers there are."""
    try:
        places, cells = column.factorize()
    except TypeError:
        return np.arange(len(column)), len(column)
    return places + 1, len(cells) + 1
