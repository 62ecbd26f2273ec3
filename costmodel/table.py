"""LatencyTable: all Measurements of one Device, in one text file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from costmodel._moved import moved_names
from costmodel.collector import no_garbage_collection
from costmodel.device import Device
from costmodel.durable import append_line, mend_end, write_lines
from costmodel.errors import InvalidInputError
from costmodel.figures import ms
from costmodel.html import html_table
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op_counts
from costmodel.op import MODEL, Op
from costmodel.shipped import find_profile as _find_profile
from costmodel.table_format import (
    decode_row,
    encode_header,
    encode_measurement,
    encode_round,
    read_content,
)

if TYPE_CHECKING:
    import pandas as pd

__getattr__ = moved_names(
    __name__,
    {
        "find_profile": "costmodel.shipped:find_profile",
        "shipped_profiles": "costmodel.shipped:shipped_profiles",
    },
)

#: Longest time without telling the disk: a power cut loses at most this much, ``kill -9`` nothing.
SYNC_EVERY_S = 5.0


class LatencyTable(Mapping[Op, Measurement]):
    """All Measurements of one Device, by Op, in file order of first appearance.

    Two tables are equal when their devices agree in identity and their rows are equal.

    Attributes:
        device: what every number belongs to.
        path: the file that rows are added to; None keeps them in memory only.
        warnings: what was mended or left out while reading or adding, one sentence each.

    >>> from costmodel.op import conv_op
    >>> table = LatencyTable(Device(name="board", runtime="fake"))
    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    >>> table.append_round(op, Round(number=0, quiet_ms=1.0, median_ms=1.2))
    >>> table[op].latency_ms
    1.0
    """

    def __init__(
        self, device: Device, measurements: Iterable[Measurement] = (), path: Path | None = None
    ) -> None:
        self.device = device
        self.path = path
        self._rows: dict[Op, Measurement] = {}
        self._warnings: list[str] = []
        self._synced = -SYNC_EVERY_S
        for row in measurements:
            self._add(row)

    @classmethod
    def load(cls, source: Path | str) -> LatencyTable:
        """Read a table.

        Args:
            source: a file, or the name of a shipped profile such as
                ``amd-epyc-family-25-model-17/onnxruntime-float32-t2``.

        Raises:
            TableFormatError: if the file is not a table; names file, line and field.
            InvalidInputError: if there is neither a file nor a shipped profile of this name.
        """
        return cls._read(_locate(source))

    @classmethod
    def open(cls, path: Path, device: Device) -> LatencyTable:
        """Make a table file, or read one to go on with it.

        A torn last line is cut off, so that the next one starts on its own.

        Args:
            path: the file; missing folders are made.
            device: what the rows to come belong to. In an existing file, ``state`` may differ.

        Raises:
            DeviceMismatchError: if the file belongs to another device; names the field.
            TableFormatError: if an existing file is not a table; it is left as it is.
            InvalidInputError: if it cannot be written.
        """
        path = Path(path)
        if _is_absent_or_empty(path):
            write_lines(path, [encode_header(device)])
            return cls(device, path=path)
        return cls._read(path, resume_for=device)

    @classmethod
    def _read(cls, path: Path, resume_for: Device | None = None) -> LatencyTable:
        with no_garbage_collection():
            content = read_content(path)
            table = cls(content.device, path=path)
            if content.torn_bytes:
                table._warnings.append(
                    f"{path}: the last line was cut short ({content.torn_bytes} bytes) and is left "
                    "out; its writer was stopped."
                )
            for number, row in content.rows:
                table._add(row, number)
        if resume_for is not None:
            content.device.require_same(resume_for, f"Adding to {path}")
            mend_end(path, torn_bytes=content.torn_bytes, ends_open=content.ends_open)
        return table

    @property
    def rows(self) -> Mapping[Op, Measurement]:
        """Read-only view of the rows, in file order of first appearance."""
        return MappingProxyType(self._rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was mended or left out while reading or adding."""
        return tuple(self._warnings)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._rows)

    def __getitem__(self, op: Op) -> Measurement:
        return self._rows[op]

    def __contains__(self, op: object) -> bool:
        return op in self._rows

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LatencyTable):
            return NotImplemented
        return self.device == other.device and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]  # rows are added

    def __repr__(self) -> str:
        return f"LatencyTable({self.device.label!r}, {len(self)} rows)"

    def _repr_html_(self) -> str:
        """The table in a notebook: its device, and its rows by kind."""
        kinds: dict[str, list[float]] = {}
        for row in (*self.kernels(), *self.models()):
            kinds.setdefault(row.op.kind, []).append(row.latency_ms)
        missing = len(self) - sum(map(len, kinds.values()))
        rows = [
            (kind, str(len(times)), f"{ms(min(times))} to {ms(max(times))}")
            for kind, times in sorted(kinds.items(), key=lambda item: -len(item[1]))
        ]
        return html_table(
            f"{self.device.label} ({self.device.provenance})",
            rows,
            columns=("kind", "rows", "ms"),
            notes=[f"{missing} rows without a number."] if missing else [],
        )

    def models(self) -> tuple[Measurement, ...]:
        """Rows of whole networks that carry a number."""
        return tuple(row for row in self._rows.values() if row.op.kind == MODEL and row.has_number)

    def known_networks(self) -> tuple[tuple[Measurement, tuple[Op, ...]], ...]:
        """Whole networks whose kernels are all among the rows, each with these, as often as run."""
        ops = {op.digest: op for op in self._rows}
        found = []
        for row in self.models():
            counts = model_op_counts(row.op)
            if counts and all(digest in ops for digest in counts):
                found.append((row, tuple(ops[d] for d, n in counts.items() for _ in range(n))))
        return tuple(found)

    def kernels(self) -> tuple[Measurement, ...]:
        """All other rows that carry a number."""
        return tuple(row for row in self._rows.values() if row.op.kind != MODEL and row.has_number)

    def to_frame(self) -> pd.DataFrame:
        """Rows as a pandas frame for people's own analysis, in file order of first appearance.

        Returns:
            One row a Measurement, failed ones included. ``height`` and ``width`` are the last two
            spatial sizes of the first input, ``<NA>`` where it has none; ``kernel`` and ``stride``
            are texts such as ``3x3``, empty where they do not apply; ``epilogue`` is joined by
            ``+``; ``latency_ms`` and ``median_ms`` are NaN without a number, ``spread`` also with
            fewer than two rounds. ``op_json`` is the whole Op, from which ``from_frame`` makes the
            row again; the device is in the frame's ``attrs``.
        """
        from costmodel.tidy.frame import frame_of

        return frame_of(self.device, self._rows.values())

    def to_parquet(self, path: Path | str) -> None:
        """Write ``to_frame`` as a Parquet file, its device with it, replacing what is there.

        Raises:
            InvalidInputError: if it cannot be written; an old file is then as before.
            MissingDependencyError: without pyarrow.
        """
        from costmodel.tidy.frame import write_parquet

        write_parquet(self.to_frame(), Path(path))

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        device: Device | None = None,
        columns: Mapping[str, str] | None = None,
        constants: Mapping[str, str] | None = None,
    ) -> LatencyTable:
        """A table in memory from rows of somebody's frame, or of ``to_frame``.

        Args:
            frame: one row a measurement. Columns are known by their names, times by their unit
                (``latency_us``); ``docs/importing.md`` has the list.
            device: whose numbers they are; by default what the frame's columns or ``attrs`` say.
            columns: by field, the column that holds it: ``{"latency_us": "time"}``.
            constants: by field, the value that all rows have: ``{"layout": "nhwc"}``.

        Returns:
            The table, its provenance ``imported`` (``estimated`` numbers stay that); rows that
            cannot be used are among its ``warnings``.

        Raises:
            InvalidInputError: if a column is missing or doubled, times have no unit, no row can be
                used, or the rows are of several devices. ``import_file`` reads those.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({"op": ["conv2d"], "height": [8], "in_channels": [16],
        ...     "out_channels": [32], "kernel": [3], "padding": ["same"], "time_us": [250.0]})
        >>> table = LatencyTable.from_frame(frame, device=Device(name="board", runtime="lib"))
        >>> [(op.label, row.latency_ms) for op, row in table.items()]
        [('conv 3x3 16->32 @8x8', 0.25)]
        """
        from costmodel.tidy.frame import rows_of

        found, rows, warnings = rows_of(frame, device, columns or {}, constants or {})
        table = cls(found, rows)
        table._warnings.extend(warnings)
        return table

    def append_round(self, op: Op, item: Round) -> None:
        """Add one visit; once this returns, ``kill -9`` does not lose it.

        A number that the Op already has is kept as it was, with a warning.

        Raises:
            InvalidInputError: if the file cannot be written, or the round holds what no reader
                accepts, such as a time of zero. The table is then as before.
        """
        self._append(encode_round(op, item))

    def append(self, measurement: Measurement) -> None:
        """Add a whole row: finished elsewhere, imported, or failed with a reason.

        Later news wins: a failure hides the number of earlier rounds (which are kept), and later
        rounds lift a failure. Of two imported numbers for one Op the first is kept, with a warning.

        Raises:
            InvalidInputError: if the file cannot be written, or the row holds what no reader
                accepts. The table is then as before.
        """
        self._append(encode_measurement(measurement))

    def compact(self) -> None:
        """Rewrite the file with one line an Op; what is read from it stays the same.

        Raises:
            InvalidInputError: if the table has no file or it cannot be written; the old file is
                then as before.
        """
        if self.path is None:
            message = "This table has no file to compact. Use save(path) to write one."
            raise InvalidInputError(message)
        self.save(self.path)

    def save(self, path: Path) -> None:
        """Write the table to ``path``, one line an Op, replacing what is there at once.

        Raises:
            InvalidInputError: if it cannot be written; an old file is then as before.
        """
        rows = (encode_measurement(row) for row in self._rows.values())
        write_lines(Path(path), (encode_header(self.device), *rows))

    def merged(self, other: LatencyTable) -> LatencyTable:
        """Rows of both tables, in memory; the order of the two does not matter.

        An Op's rounds are united; of two rounds with one number the quieter stays. Measured rows
        are preferred to imported ones, and any number to a failure.

        Raises:
            DeviceMismatchError: if the tables belong to two devices; names the field.
        """
        self.device.require_same(other.device, "Merging two tables")
        rows = dict(self._rows)
        for op, row in other._rows.items():
            rows[op] = _joined(rows[op], row) if op in rows else row
        table = LatencyTable(self.device, rows.values())
        table._warnings = sorted({*self._warnings, *other._warnings})
        return table

    def _append(self, line: bytes) -> None:
        if self.path is not None:
            now = time.monotonic()
            sync = now - self._synced >= SYNC_EVERY_S
            append_line(self.path, line, sync=sync)
            self._synced = now if sync else self._synced
        # What the file says, so that memory and file agree to the last bit.
        self._add(decode_row(line))

    def _add(self, row: Measurement, line: int | None = None) -> None:
        kept = self._rows.setdefault(row.op, row)
        if kept is not row:
            self._rows[row.op], warning = _updated(kept, row)
            if warning:
                where = "added" if line is None else f"{self.path}, line {line}"
                self._warnings.append(f"{where}: {row.op.label!r}: {warning}.")


def _updated(old: Measurement, new: Measurement) -> tuple[Measurement, str]:
    """The row after later news of the same Op, and a warning if part of the news is not used."""
    op = old.op
    known = {item.number for item in old.rounds}
    repeated = [item.number for item in new.rounds if item.number in known]
    rounds = (*old.rounds, *(item for item in new.rounds if item.number not in known))
    warning = f"round {repeated[0]} came before, the first is kept" if repeated else ""
    if not new.has_number:
        row = Measurement.from_rounds(op, rounds, status=new.status, reason=new.reason)
        return row, warning
    if new.rounds:
        replaced = old.has_number and not old.rounds
        row = Measurement.from_rounds(op, rounds)
        return row, warning or ("measured rounds replace the imported number" if replaced else "")
    if old.has_number:
        return old, "a second number is left out, the first is kept"
    return new, ""


def _joined(a: Measurement, b: Measurement) -> Measurement:
    """One row from two tables' rows of the same Op, whichever comes first.

    Measured beats imported beats failed; within a rank, rounds are united and ties are settled by
    value, so that joining is commutative, associative and idempotent.
    """
    if a == b:
        return a
    if _rank(a) != _rank(b):
        return max(a, b, key=_rank)
    if a.has_number and not a.rounds:
        return min(a, b, key=lambda row: (row.latency_ms, encode_measurement(row)))
    first = min(a, b, key=lambda row: (row.status, row.reason))
    return Measurement.from_rounds(
        a.op, (*a.rounds, *b.rounds), status=first.status, reason=first.reason
    )


def _rank(row: Measurement) -> int:
    return 2 * row.has_number + (row.has_number and bool(row.rounds))


def _is_absent_or_empty(path: Path) -> bool:
    try:
        return not path.exists() or (path.is_file() and path.stat().st_size == 0)
    except OSError as error:
        message = f"The table {path} cannot be opened: {error.strerror or error}."
        raise InvalidInputError(message) from error


def _locate(source: Path | str) -> Path:
    path = Path(source)
    with suppress(OSError):  # e.g. a name too long for a file is no file
        if path.exists():
            return path
    return _find_profile(str(source))
