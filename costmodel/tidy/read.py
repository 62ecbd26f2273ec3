"""Rows of somebody's columns as tidy rows: numbers read, pairs split, words left as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.tidy.cells import Commas, numbers
from costmodel.tidy.columns import Matched
from costmodel.tidy.distinct import distinct

if TYPE_CHECKING:
    import pandas as pd

#: Fields of one whole number, by their tidy names.
_SIZES = {
    **{name: name for name in (
        "batch", "height", "width", "in_channels", "out_channels", "kernel", "kernel_w", "stride",
        "stride_w", "pad", "pad_w", "dilation", "dilation_w", "groups", "parts", "out_width",
        "threads",
    )},
    "out_size": "out_height",
}  # fmt: skip
#: Those that may be a pair in one cell, and where its second number goes.
_PAIRS = {
    "height": "width",
    "kernel": "kernel_w",
    "stride": "stride_w",
    "pad": "pad_w",
    "dilation": "dilation_w",
    "out_size": "out_width",
}
_TEXTS = {
    "op": "kind",
    "padding": "padding",
    "activation": "epilogue",
    "implementation": "implementation",
    "dtype": "dtype",
    "layout": "layout",
    "model": "name",
    "device": "device",
    "runtime": "runtime",
    "runtime_version": "runtime_version",
    "provider": "provider",
    "op_json": "op_json",
}
_SHAPES = {
    "input_shape": ("batch", "height", "width", "in_channels"),
    "output_shape": ("", "out_height", "out_width", "out_channels"),
}
_TRUE = frozenset({"true", "yes", "1", "1.0", "y", "t"})
#: Larger numbers, infinity among them, are no sizes.
_MOST = 2**53
#: No cell of a few sizes is longer.
_LONGEST = 64
#: A cell that holds several numbers: ``3x3``, ``(3, 3)``, ``[1, 3, 224, 224]``.
_SEVERAL = re.compile(
    r"^\s*[(\[{]?\s*\d+\s*([,x*;X ]+\s*\d+\s*)+[)\]}]?\s*$|^\s*[(\[{]\s*\d+\s*,?\s*[)\]}]\s*$"
)


def tidy_name(field: str) -> str:
    """What the tidy column of a user's field is called.

    >>> tidy_name("model"), tidy_name("out_size"), tidy_name("device")
    ('name', 'out_height', 'device')
    """
    return _SIZES.get(field) or _TEXTS.get(field) or field


def tidy_rows(
    frame: pd.DataFrame, matched: Matched, commas: Commas, first_row: int
) -> pd.DataFrame:
    """Tidy rows of the next rows of a file.

    Kernels are read once for each sort of rows: a list of repeats has few of them.

    Args:
        frame: rows, under the file's own column names, with a plain index.
        matched: which column is which.
        commas: what they mean in this file.
        first_row: number of the first row.

    Returns:
        As many rows in tidy columns; those with a cell that holds no number although it should
        have a ``reason``.

    Raises:
        InvalidInputError: where a column cannot be read at all.
    """
    firsts, which = distinct(frame[list(dict.fromkeys(matched.columns.values()))])
    few, reasons = _tidy_kernels(frame.iloc[firsts], matched, commas, first_row)
    tidy = few.iloc[which].set_index(frame.index)
    reasons = reasons[which]
    times = {"latency_ms": matched.latency, "deviation_ms": matched.deviation}
    for name, said in times.items():
        if said is not None:
            column, unit = said
            values, wrong = numbers(frame[column], commas, first_row)
            tidy[name] = values * unit
            for error, places in wrong:
                reasons[places] = error
    if any(reasons):
        tidy["reason"] = reasons
    return tidy


def _tidy_kernels(
    frame: pd.DataFrame, matched: Matched, commas: Commas, first_row: int
) -> tuple[pd.DataFrame, NDArray[np.object_]]:
    """Tidy columns of everything but times, and why a row cannot be used, else an empty text."""
    import pandas as pd

    tidy = pd.DataFrame(index=frame.index)
    reasons = np.full(len(frame), "", dtype=object)

    def take(column: pd.Series) -> pd.Series:
        values, wrong = numbers(column, commas, first_row)
        for error, places in wrong:
            reasons[places] = error
        return values

    for name, column in matched.columns.items():
        _put(tidy, name, frame[column], take, matched)
    for name, value in matched.constants.items():
        if name not in matched.columns:
            column_of_it = pd.Series([value] * len(frame), index=frame.index, name=name)
            _put(tidy, name, column_of_it, take, matched)
    return tidy, reasons


def _put(tidy: pd.DataFrame, name: str, column: pd.Series, take: object, matched: Matched) -> None:
    """Add the tidy columns of one field."""
    if column.dtype == object:  # lists or arrays, as in JSON and Parquet
        column = column.map(_flat)
    if name == "padding" and (_is_numeric(column) or _has_pairs(column)):
        name = "pad"
    if name in _SHAPES:
        _put_shape(tidy, name, column, matched)
    elif name in _PAIRS and _has_pairs(column):
        found = _several(column)
        if name == "pad":
            # Begins, then ends; where they differ, only the size written tells.
            found = found.map(lambda each: each if each[:2] == (each[2:] or each[:2]) else [])
        tidy[_SIZES[name]] = found.str[0].astype(float)
        if _PAIRS[name] not in matched.columns:
            tidy[_PAIRS[name]] = found.map(_second).astype(float)
    elif name in _SIZES:
        tidy[_SIZES[name]] = take(column)  # type: ignore[operator]
    elif name == "bias":
        tidy[name] = column.map(lambda cell: str(cell).strip().lower() in _TRUE)
    else:
        lower = name == "padding"
        # Each text once: a long list has few of them.
        words = {cell: _text(cell, lower=lower) for cell in column.dropna().unique()}
        tidy[_TEXTS[name]] = column.astype(object).map(words, na_action="ignore")


def _put_shape(tidy: pd.DataFrame, name: str, column: pd.Series, matched: Matched) -> None:
    """Sizes of a shape in one cell, channels second unless a layout says that they are last."""
    found = _several(column)
    lengths = found.str.len()
    last = str(matched.constants.get("layout", "nchw")).lower() in {"nhwc", "channels_last"}
    batch, height, width, channels = _SHAPES[name]
    places = {
        batch: 0,
        height: 1 if last else 2,
        width: 2 if last else 3,
        channels: 3 if last else 1,
    }
    for field, place in places.items():
        if field and field not in tidy:
            at = found.where(lengths == 4).str[place]
            if place in {0, 1} and not last:
                at = at.where(lengths != 2, found.str[place])
            tidy[field] = at.astype(float)


def _flat(cell: object) -> object:
    """A cell as a text if it is a list; what is nested has no meaning, and no number in it."""
    if isinstance(cell, str | bytes) or not isinstance(cell, Iterable):
        return cell
    items = [item.item() if isinstance(item, np.generic) else item for item in cell]
    plain = all(item is None or isinstance(item, str | int | float) for item in items)
    if isinstance(cell, Mapping) or not plain:
        return f"a {type(cell).__name__}"
    return str(items)


def _is_numeric(column: pd.Series) -> bool:
    import pandas as pd

    present = column[column.notna()]
    return bool(len(present)) and bool(pd.to_numeric(present, errors="coerce").notna().any())


def _has_pairs(column: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return False
    return bool(
        column.dropna()
        .map(lambda c: not isinstance(c, str) or (len(c) < _LONGEST and bool(_SEVERAL.match(c))))
        .any()
    )


def _several(column: pd.Series) -> pd.Series:
    """All whole numbers of each cell, as lists."""
    return column.map(_integers)


def _integers(cell: object) -> list[int]:
    if isinstance(cell, str):
        if ":" in cell:  # an object, whose numbers may be anything
            return []
        return [int(text[:12]) for text in re.findall(r"\d+", cell)]
    number = float(cell) if isinstance(cell, float | np.number) else cell
    return [int(number)] if isinstance(number, int | float) and abs(number) < _MOST else []


def _text(cell: object, *, lower: bool) -> str | None:
    text = str(cell).strip()
    return (text.lower() if lower else text) or None


def _second(found: list[int]) -> float:
    if not found:
        return float("nan")
    return found[1] if len(found) > 1 else found[0]


def require_device(matched: Matched) -> None:
    """Refuse a file that does not say what was timed and on what.

    Raises:
        InvalidInputError: naming the field and the option that gives it.
    """
    known = {*matched.columns, *matched.constants}
    for name, example in (("device", "'Pixel 4 GPU'"), ("runtime", "tflite-gpu")):
        if name not in known and "op_json" not in known:
            message = f"no column says the {name} of a row. Say it: --set {name}={example}."
            raise InvalidInputError(message)
