"""Form: what a tool writes when it has timed something."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from costmodel.errors import InvalidInputError, first_line

if TYPE_CHECKING:
    import pandas as pd

#: Rows in memory at a time.
PIECE = 50_000
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
    """
    import pandas as pd

    rows = form.rows(lines)
    while piece := list(islice(rows, PIECE)):
        yield pd.DataFrame(
            [{**constants, **{k: v for k, v in row.items() if v is not None}} for row in piece]
        )


def whole_json(lines: Iterable[str]) -> Any:
    """All lines as one JSON value.

    Raises:
        InvalidInputError: if they are none, such as half a file.
    """
    try:
        return json.loads("".join(lines).lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        message = f"it is no whole JSON ({first_line(error)}): it was cut short or is damaged."
        raise InvalidInputError(message) from error


def network_name(path: str) -> str:
    r"""A network's name from the file that was run.

    >>> network_name("/data/local/tmp/mobilenet_v2.tflite"), network_name(r"C:\\nets\\a.onnx")
    ('mobilenet_v2', 'a')
    """
    return PurePath(path.strip().replace("\\", "/")).stem
