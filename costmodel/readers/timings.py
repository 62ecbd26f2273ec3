"""Timings: a list of whole networks and what each took, as people write it down.

A CSV (comma, semicolon or tab) with one column that names the model and one whose name carries the
unit of time: ``model,latency_ms``. A network without a time is one that could still be timed.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from costmodel.errors import InvalidInputError
from costmodel.limits import read_whole

_MODEL = frozenset({"model", "network", "net", "model_name", "model_file", "file", "path", "name"})
#: Milliseconds of one unit.
_UNITS: Mapping[str, float] = {
    "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "usec": 1e-3, "microseconds": 1e-3,
    "ms": 1.0, "msec": 1.0, "milliseconds": 1.0, "s": 1e3, "sec": 1e3, "seconds": 1e3,
}  # fmt: skip
_UNIT = re.compile(r"(?:^|[\s_(\[./-])(" + "|".join(map(re.escape, _UNITS)) + r")[)\]]?$")
#: Columns of a spread or a count beside the time; they are not it.
_BESIDE = re.compile(r"std|dev|var|spread|min|max|p\d\d|first|warm|init")
#: Milliseconds that a network may take, as rows of a table may.
_SHORTEST, _LONGEST = 1e-9, 1e12
_EXPECTED = "Expected a CSV with the columns model and latency_ms (or latency_us, latency_s)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One network of a list.

    Attributes:
        model: as it is written: a file beside the list, or a name.
        latency_ms: the median of its rows; NaN where it has no time.
        spread: largest relative difference between its rows; NaN with fewer than two.
        line: where it first stands.
    """

    model: str
    latency_ms: float
    spread: float
    line: int


def read_timings(path: Path) -> tuple[Timing, ...]:
    """Read a list of networks and their times.

    Repeats of a network become one, in the order of their first lines.

    Args:
        path: the file.

    Raises:
        InvalidInputError: naming file, line and column, and what is expected.
    """
    path = Path(path)
    try:
        text = read_whole(path).decode("utf-8-sig")
        times = _collect(path, io.StringIO(text, newline=""))
    except OSError as error:
        message = f"{path}: this list of timings cannot be read ({error.strerror or error})."
        raise InvalidInputError(message) from error
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"{path}: this is no text file of timings ({error}). {_EXPECTED}"
        raise InvalidInputError(message) from error
    if not times:
        message = f"{path}: there is no network in it. {_EXPECTED}"
        raise InvalidInputError(message)
    return tuple(_timing(model, line, found) for model, (line, found) in times.items())


def _timing(model: str, line: int, times_ms: Sequence[float]) -> Timing:
    latency_ms = median(times_ms) if times_ms else math.nan
    spread = (max(times_ms) - min(times_ms)) / latency_ms if len(times_ms) > 1 else math.nan
    return Timing(model=model, latency_ms=latency_ms, spread=spread, line=line)


def _collect(path: Path, file: Iterator[str]) -> dict[str, tuple[int, list[float]]]:
    first = next(file, "")
    mark = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
    model, time, factor = _columns(path, header)
    found: dict[str, tuple[int, list[float]]] = {}
    for number, row in enumerate(csv.reader(file, delimiter=mark), start=2):
        if not any(cell.strip() for cell in row):
            continue
        name = _name(row, model)
        if len(row) <= max(model, time) or not name:
            message = (
                f"{path}, line {number}: it has {len(row)} of {len(header)} columns and names "
                f"{'no time' if name else 'no model'}. "
                f"{_EXPECTED}"
            )
            raise InvalidInputError(message)
        times = found.setdefault(name, (number, []))[1]
        value = _number(path, number, (header[time], factor), row[time].strip(), mark)
        if not math.isnan(value):
            times.append(value)
    return found


def _name(row: Sequence[str], place: int) -> str:
    """The model of a row; empty where there is none, or what no file can be called."""
    name = row[place].strip() if place < len(row) else ""
    return "" if "\0" in name else name


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int, float]:
    """Places of the model's name and of its time, and the ms of the time's unit."""
    low = [name.lower() for name in header]
    models = [place for place, name in enumerate(low) if name in _MODEL]
    timed = [
        (place, _UNITS[found[1]])
        for place, name in enumerate(low)
        if (found := _UNIT.search(name)) and not _BESIDE.search(name)
    ]
    for what, places in (("model", models), ("time", [place for place, _ in timed])):
        if len(places) != 1:
            named = ", ".join(header[place] for place in places) or "none"
            unit = " with its unit in its name" if what == "time" else ""
            message = (
                f"{path}, line 1: one column is to hold the {what}{unit}. Found: {named}, among "
                f"{', '.join(header) or 'no columns'}. {_EXPECTED}"
            )
            raise InvalidInputError(message)
    return models[0], *timed[0]


def _number(path: Path, line: int, column: tuple[str, float], text: str, mark: str) -> float:
    """A time in ms; NaN where there is none.

    Args:
        path: the file, for messages.
        line: of the cell.
        column: its name, and the ms of its unit.
        text: the cell.
        mark: what parts cells.
    """
    if text.lower() in {"", "nan", "na", "n/a", "null", "none", "-"}:
        return math.nan
    if mark != "," and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")  # a decimal comma, which cannot part columns here
    try:
        value = float(text) * column[1]
    except ValueError:
        value = -1.0
    if not (_SHORTEST <= value <= _LONGEST):
        message = (
            f"{path}, line {line}, column {column[0]}: a time must be a number above 0. "
            f"Received: {text[:40]!r}."
        )
        raise InvalidInputError(message)
    return value
