"""Form: what a tool writes when it has timed something."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from costmodel.errors import MISFORMED, InvalidInputError, first_line
from costmodel.plain_json import plain_json

if TYPE_CHECKING:
    import pandas as pd

#: Rows in memory at a time.
PIECE = 50_000
#: Columns that hold a number, whatever the report has there.
_TIMES = frozenset({"latency_ms", "deviation_ms"})
#: A row by its tidy columns (``costmodel.tidy.rows``).
Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of file.

    Attributes:
        name: for ``--preset``.
        fits: whether a file that starts so is one.
        rows: gives the tidy rows of its lines of text.
        notes: what is taken for granted about such files.
    """

    name: str
    fits: Callable[[str], bool]
    rows: Callable[[Iterable[str]], Iterator[Row]]
    notes: tuple[str, ...] = ()


def frames(
    form: Form, lines: Iterable[str], constants: Mapping[str, object]
) -> Iterator[pd.DataFrame]:
    """Tidy rows of a report, piece by piece.

    Args:
        form: of the report.
        lines: its text.
        constants: tidy values that all rows have, unless the report itself says others.

    Raises:
        InvalidInputError: if the report is not as its tool writes it.
    """
    import pandas as pd

    rows = _rows(form, lines)
    while piece := list(islice(rows, PIECE)):
        frame = pd.DataFrame(
            [{**constants, **{k: v for k, v in row.items() if v is not None}} for row in piece]
        )
        for name in _TIMES & ({"latency_ms"} | set(frame.columns)):
            told = frame[name] if name in frame else pd.Series(math.nan, index=frame.index)
            frame[name] = pd.to_numeric(told, errors="coerce").astype(float)
        yield frame


def _rows(form: Form, lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a report, which may be damaged anywhere."""
    try:
        for row in form.rows(lines):
            yield {name: _cell(value) for name, value in row.items()}
    except InvalidInputError:
        raise
    except MISFORMED as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        message = f"it is not as a report of {form.name} is written ({what})."
        raise InvalidInputError(message) from error


def _cell(value: object) -> object:
    """A value that a cell of a table can hold: what is neither text nor number is shown as text."""
    return value if value is None or isinstance(value, str | int | float) else str(value)


def whole_json(lines: Iterable[str]) -> Any:
    """All lines as one JSON value.

    Raises:
        InvalidInputError: if they are none, such as half a file.
    """
    try:
        return plain_json("".join(lines).lstrip("\ufeff"))
    except InvalidInputError:  # of the lines
        raise
    except ValueError as error:
        message = f"it is no whole JSON ({first_line(error)}): it was cut short or is damaged."
        raise InvalidInputError(message) from error


def network_name(path: str) -> str:
    r"""A network's name from the file that was run.

    >>> network_name("/data/local/tmp/mobilenet_v2.tflite"), network_name(r"C:\\nets\\a.onnx")
    ('mobilenet_v2', 'a')
    """
    return PurePath(path.strip().replace("\\", "/")).stem
