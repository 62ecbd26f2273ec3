"""Gathers rows of tidy columns, piece by piece, into the Measurements of each device."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.op import Op, decode_op
from costmodel.tidy.distinct import cells_of, distinct
from costmodel.tidy.kernel import Kernel, UnusableRow, kernel_op, refuse
from costmodel.tidy.repeats import DEVIATION_AGREES, REPEATS_AGREE, disagreement, merged
from costmodel.tidy.words import activation_word, dtype_word, kind_word, layout_word

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")
#: What is wrong with which rows of the file.
_Problems = list[tuple[UnusableRow, NDArray[np.int64]]]

#: Columns of a row that say which device it is of.
DEVICE_FIELDS = ("device", "runtime", "runtime_version", "provider", "threads", "cores", "dtype")
_SIZES = frozenset(
    item.name for item in fields(Kernel) if item.type == "int | None"
)  # annotations are text
_TEXTS = {"kind", "padding", "dtype", "layout", "implementation", "second", "name"}
#: Columns that make a kernel, in the words of ``Kernel``.
KERNEL_FIELDS = (*sorted(_SIZES), *sorted(_TEXTS), "bias", "epilogue", "op_json")
_IDENTITY = tuple(dict.fromkeys((*KERNEL_FIELDS, *DEVICE_FIELDS)))
#: Columns of a row that are not its kernel's or device's.
OTHER_FIELDS = ("latency_ms", "deviation_ms", "reason")


@dataclass(slots=True)
class LeftOut:
    """Rows that one thing is wrong with.

    Attributes:
        column: where it is seen.
        problem: what is wrong.
        count: rows.
        rows: the first of them, counted from 1 below the header.
        values: those of the first.
    """

    column: str
    problem: str
    count: int = 0
    rows: list[int] = field(default_factory=list)
    values: str = ""

    def __str__(self) -> str:
        """Rows, column, what is wrong."""
        more = ", ..." if self.count > len(self.rows) else ""
        shown = f" ({self.values})" if self.values else ""
        plural = "s" if self.count > 1 else ""
        where = f"row{plural} {', '.join(map(str, self.rows))}{more}"
        return f"{self.count} row{plural} left out: {self.column} {self.problem}{shown}; {where}"


#: Rows that are named of each problem.
NAMED = 5


@dataclass(slots=True)
class _Times:
    """Repeats of one kernel, in eight bytes each: a list of a gigabyte has ten million.

    Attributes:
        deviation: of the first, as a share of it; NaN where it has none.
        first_row: of the file.
        values: milliseconds in the order of the file.
    """

    deviation: float
    first_row: int
    values: array[float] = field(default_factory=lambda: array("d"))


class Rows:
    """What has been read of a file so far.

    Attributes:
        count: rows read.
        left_out: by column and problem.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_out: dict[tuple[str, str], LeftOut] = {}
        self._known: dict[tuple[str, ...], dict[Hashable, _Times | UnusableRow]] = {}
        self._times: dict[Device, dict[Op, _Times]] = {}

    @property
    def devices(self) -> tuple[Device, ...]:
        """Devices of rows so far, in order of appearance."""
        return tuple(self._times)

    def add(self, frame: pd.DataFrame) -> None:
        """Take the next rows of the file.

        Args:
            frame: columns are those of ``KERNEL_FIELDS``, ``DEVICE_FIELDS`` and ``OTHER_FIELDS``
                that there are; ``latency_ms`` must be, NaN where a row has none. ``reason`` is why
                a row is left out (an error, or its column and problem as text), else empty. The
                index counts the file's rows from 0.
        """
        rows = frame.index.to_numpy(np.int64) + self.count + 1
        good = np.ones(len(frame), dtype=bool)
        problems: _Problems = []
        for error, places in _untimed(frame):
            good[places] = False
            problems.append((error, rows[places]))
        problems += self._take(frame[good], rows[good])
        self._leave_out_all(problems)
        self.count = int(rows.max(initial=self.count))

    def _take(self, frame: pd.DataFrame, rows: NDArray[np.int64]) -> _Problems:
        """Take rows that have a time; those that are no kernel are given back."""
        names = tuple(name for name in _IDENTITY if name in frame)
        known = self._known.setdefault(names, {})
        firsts, which = distinct(frame[list(names)])
        times = frame["latency_ms"].to_numpy(np.float64)
        deviations = (
            frame["deviation_ms"].to_numpy(np.float64) / times
            if "deviation_ms" in frame
            else np.full(len(frame), math.nan)
        )
        # Rows that are written differently may be the same kernel.
        targets: dict[int, tuple[_Times | UnusableRow, int]] = {}
        kinds = np.empty(len(firsts), dtype=np.intp)
        keys = zip(*(_plain(frame[name].iloc[firsts]) for name in names), strict=True)
        for at, (first, key) in enumerate(zip(firsts.tolist(), keys, strict=True)):
            found = known.get(key)
            if found is None:
                read = _read(dict(zip(names, key, strict=True)))
                found = known[key] = (
                    read
                    if isinstance(read, UnusableRow)
                    else self._times.setdefault(read[0], {}).setdefault(
                        read[1],
                        _Times(deviation=float(deviations[first]), first_row=int(rows[first])),
                    )
                )
            kinds[at] = targets.setdefault(id(found), (found, len(targets)))[1]
        problems: _Problems = []
        for (target, _), places in zip(targets.values(), _places(kinds[which]), strict=True):
            if isinstance(target, UnusableRow):
                problems.append((target, rows[places]))
            else:
                target.values.frombytes(times[places].tobytes())
        return problems

    def _leave_out_all(self, problems: _Problems) -> None:
        """Count what is wrong with rows of a piece, what is seen first first."""
        alike: dict[tuple[str, str], _Problems] = {}
        for error, rows in problems:
            alike.setdefault((error.column, error.problem), []).append((error, rows))
        for same in sorted(alike.values(), key=lambda each: min(rows.min() for _, rows in each)):
            first, _ = min(same, key=lambda each: int(each[1].min()))
            self.leave_out(first, np.sort(np.concatenate([rows for _, rows in same])).tolist())

    def leave_out(self, error: UnusableRow, rows: Sequence[int]) -> None:
        """Count rows that cannot be used."""
        key = error.column, error.problem
        found = self.left_out.setdefault(
            key, LeftOut(column=error.column, problem=error.problem, values=error.values)
        )
        found.count += len(rows)
        found.rows.extend(rows[: max(0, NAMED - len(found.rows))])

    def measurements(self, device: Device) -> Iterator[tuple[int, Measurement]]:
        """First row and Measurement of each Op of a device; repeats that disagree are left out."""
        for op, times in self._times[device].items():
            apart = disagreement(times.values)
            if apart > REPEATS_AGREE:
                error = UnusableRow(
                    "latency", "of repeats disagrees", f"{op.label}: halves {apart:.0%} apart"
                )
                self.leave_out(error, [times.first_row] * len(times.values))
                continue
            told = len(times.values) == 1 and not math.isnan(times.deviation)
            # The one NaN that there is, so that equal rows compare equal.
            own = times.deviation if told else math.nan
            if own > DEVIATION_AGREES:
                error = UnusableRow(
                    "deviation", "is more than half of the time", f"{op.label}: {own:.0%}"
                )
                self.leave_out(error, [times.first_row])
                continue
            yield times.first_row, merged(op, times.values, own)

    def counts(self, device: Device) -> Mapping[Op, int]:
        """How many rows of a device each Op has."""
        return {op: len(times.values) for op, times in self._times.get(device, {}).items()}

    def repeats(self, device: Device) -> int:
        """Rows of a device beyond the first of each Op."""
        return sum(count - 1 for count in self.counts(device).values())


def _untimed(frame: pd.DataFrame) -> Iterator[tuple[UnusableRow, NDArray[np.intp]]]:
    """Places of rows that have no time, or another reason not to be used, and why."""
    times = frame["latency_ms"].to_numpy(np.float64)
    open_ = np.ones(len(frame), dtype=bool)
    if "reason" in frame:
        reasons, which = cells_of(frame["reason"])
        for at, reason in enumerate(reasons):
            if reason:
                column, _, problem = str(reason).partition(" ")
                known = isinstance(reason, UnusableRow)
                yield reason if known else UnusableRow(column, problem), np.flatnonzero(which == at)
                open_ &= which != at
    missing = open_ & np.isnan(times)
    if missing.any():
        yield UnusableRow("latency", "is missing"), np.flatnonzero(missing)
    places = np.flatnonzero(open_ & ~missing & ~((times > 0) & (times < math.inf)))
    if len(places):
        yield UnusableRow("latency", "is no time", f"{times[places[0]]:g} ms"), places


def _places(kinds: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Places of each kind in order, kinds being numbered from 0 without a gap."""
    order = np.argsort(kinds, kind="stable")
    return np.split(order, np.cumsum(np.bincount(kinds))[:-1]) if len(kinds) else []


def _plain(column: pd.Series) -> Iterable[object]:
    """Values with None for what is missing."""
    values: list[object] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _read(row: Mapping[str, object]) -> tuple[Device, Op] | UnusableRow:
    """Device and Op of a row's values, or why it has none."""
    try:
        if row.get("op_json") is not None:
            op = _word("op_json", decode_op, row["op_json"], None)
            assert op is not None
            return _device(row, _word("dtype", dtype_word, row.get("dtype"), op.dtype)), op
        dtype = _word("dtype", dtype_word, row.get("dtype"), "float32")
        layout = _word("layout", layout_word, row.get("layout"), "nchw")
        kind = _word("op", kind_word, row.get("kind"), "")
        device = _device(row, dtype)
        epilogue = row.get("epilogue")
        sizes: dict[str, Any] = {
            name: _whole(name, row.get(name)) for name in _SIZES if row.get(name) is not None
        }
        texts: dict[str, Any] = {
            name: str(row[name])
            for name in _TEXTS - {"kind", "dtype", "layout"}
            if row.get(name) is not None
        }
        kernel = Kernel(
            kind=kind,
            dtype=dtype,
            layout=layout,
            bias=bool(row.get("bias")),
            epilogue=activation_word(str(epilogue)) if epilogue is not None else (),
            **sizes,
            **texts,
        )
        return device, kernel_op(kernel)
    except UnusableRow as error:
        return error


def _word(column: str, read: Callable[[str], _T], value: object, default: _T) -> _T:
    if value is None:
        if default in {"", None}:
            refuse(column, "is missing")
        return default
    try:
        return read(str(value))
    except InvalidInputError as error:
        raise UnusableRow(column, "cannot be used", str(error)) from None


def _whole(name: str, value: object) -> int:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        refuse(name, "is no whole number", str(value))
    return int(number)


def _device(row: Mapping[str, object], dtype: str) -> Device:
    name, runtime = row.get("device"), row.get("runtime")
    if name is None:
        refuse("device", "is missing")
    if runtime is None:
        refuse("runtime", "is missing")
    cores = row.get("cores")
    return Device(
        name=str(name),
        runtime=str(runtime),
        runtime_version=str(row.get("runtime_version") or ""),
        provider=str(row.get("provider") or ""),
        threads=_whole("threads", row.get("threads") or 1),
        dtype=dtype,
        options=(("cores", str(cores)),) if cores else (),
        provenance="imported",
    )
