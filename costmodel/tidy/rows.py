"""Gathers rows of tidy columns, piece by piece, into the Measurements of each device."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.op import Op, decode_op
from costmodel.tidy.kernel import Kernel, UnusableRow, kernel_op, refuse
from costmodel.tidy.repeats import DEVIATION_AGREES, REPEATS_AGREE, disagreement, merged
from costmodel.tidy.words import activation_word, dtype_word, kind_word, layout_word

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")

#: Columns of a row that say which device it is of.
DEVICE_FIELDS = ("device", "runtime", "runtime_version", "provider", "threads", "cores", "dtype")
_SIZES = frozenset(
    item.name for item in fields(Kernel) if item.type == "int | None"
)  # annotations are text
_TEXTS = {"kind", "padding", "dtype", "layout", "implementation", "second", "name"}
#: Columns that make a kernel, in the words of ``Kernel``.
KERNEL_FIELDS = (*sorted(_SIZES), *sorted(_TEXTS), "bias", "epilogue", "op_json")
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
    values: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)
    first_row: int = 0


class Rows:
    """What has been read of a file so far.

    Attributes:
        count: rows read.
        left_out: by column and problem.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_out: dict[tuple[str, str], LeftOut] = {}
        self._known: dict[tuple[str, ...], dict[Hashable, tuple[Device, Op] | UnusableRow]] = {}
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
        names = tuple(name for name in (*KERNEL_FIELDS, *DEVICE_FIELDS) if name in frame)
        known = self._known.setdefault(names, {})
        keys = zip(*(_plain(frame[name]) for name in names), strict=True)
        times = frame["latency_ms"].tolist()
        nothing = [math.nan] * len(frame)
        deviations = frame["deviation_ms"].tolist() if "deviation_ms" in frame else nothing
        reasons = _plain(frame["reason"]) if "reason" in frame else [""] * len(frame)
        labels = frame.index.tolist()
        for label, key, time, deviation, reason in zip(  # noqa: B905 - all as long as the frame
            labels, keys, times, deviations, reasons
        ):
            number = self.count + label + 1
            try:
                _require_time(time, reason)
                found = known.get(key)
                if found is None:
                    found = known[key] = _read(dict(zip(names, key, strict=True)))
                self._take(number, found, time, deviation)
            except UnusableRow as error:
                self.leave_out(error, [number])
        self.count += max(labels, default=-1) + 1

    def leave_out(self, error: UnusableRow, rows: Sequence[int]) -> None:
        """Count rows that cannot be used."""
        key = error.column, error.problem
        found = self.left_out.setdefault(
            key, LeftOut(column=error.column, problem=error.problem, values=error.values)
        )
        found.count += len(rows)
        found.rows.extend(rows[: max(0, NAMED - len(found.rows))])

    def _take(
        self, number: int, found: tuple[Device, Op] | UnusableRow, time: float, deviation: float
    ) -> None:
        if isinstance(found, UnusableRow):
            raise found
        device, op = found
        times = self._times.setdefault(device, {}).setdefault(op, _Times(first_row=number))
        times.values.append(time)
        if not math.isnan(deviation):
            times.deviations.append(deviation / time)

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
            alone = len(times.values) == len(times.deviations) == 1
            own = times.deviations[0] if alone else math.nan
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


def _require_time(time: float, reason: object) -> None:
    if isinstance(reason, UnusableRow):
        raise reason
    if reason:
        column, _, problem = str(reason).partition(" ")
        refuse(column, problem)
    if math.isnan(time):
        refuse("latency", "is missing")
    if not 0 < time < math.inf:
        refuse("latency", "is no time", f"{time:g} ms")


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
    number = float(value)  # type: ignore[arg-type]
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
