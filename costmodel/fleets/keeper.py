"""Keeper: the driver's file of one device's table, to which a job's rows are added as they come."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from costmodel.device import Device
from costmodel.durable import append_line, mend_end, write_lines
from costmodel.errors import InvalidInputError
from costmodel.table import SYNC_EVERY_S, LatencyTable
from costmodel.table_format import encode_measurement, encode_round


class _Key(msgspec.Struct):
    op: msgspec.Raw


class _Header(msgspec.Struct):
    device: Device


_KEY = msgspec.json.Decoder(_Key)
_HEADER = msgspec.json.Decoder(_Header)


def device_of(header: str | bytes) -> Device:
    """The device that the first line of a table names."""
    return _HEADER.decode(header).device


class TableFile:
    """A table's file that grows by lines. Rows are counted, and not kept in memory.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ops: set[int]
        self._synced = -SYNC_EVERY_S
        self.device: Device | None
        self.content()

    @property
    def rows(self) -> int:
        """Different Ops in it."""
        return len(self._ops)

    def content(self) -> str:
        """All of it, empty without a file. A torn last line is cut off first.

        Raises:
            InvalidInputError: if it cannot be read or mended, or is no table.
        """
        self.device, self._ops = None, set()  # somebody may have taken the file away
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        except OSError as error:
            message = f"{self.path} cannot be read: {error.strerror}."
            raise InvalidInputError(message) from error
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            mend_end(self.path, torn_bytes=len(data) - whole, ends_open=False)
        if not whole:
            return ""
        lines = data[:whole].splitlines(keepends=True)
        try:
            self.device = device_of(lines[0])
            self._ops = {_key(line) for line in lines[1:]}
            return data[:whole].decode("utf-8")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = (
                f"{self.path} is no latency table ({error}). Move it away; a fleet writes a file "
                "of this name."
            )
            raise InvalidInputError(message) from error

    def begin(self, header: str) -> None:
        """Write the first line, where there is none yet."""
        if self.device is None:
            write_lines(self.path, [header.encode()])
            self.device = device_of(header)

    def add(self, lines: Iterable[str]) -> None:
        """Add lines; once this returns, ``kill -9`` does not lose them.

        Raises:
            InvalidInputError: if they cannot be written; the file is then as before.
        """
        data = "".join(lines).encode()
        now = time.monotonic()
        sync = now - self._synced >= SYNC_EVERY_S
        append_line(self.path, data, sync=sync)
        self._synced = now if sync else self._synced
        self._ops.update(map(_key, data.splitlines()))

    def replace(self, table: str) -> None:
        """Take a job's last word: the same rows and its last ones, a line an Op.

        Raises:
            InvalidInputError: if it cannot be written, or lacks a row; the file is as before.
        """
        lines = table.encode().splitlines(keepends=True)
        ops = {_key(line) for line in lines[1:]}
        if self._ops - ops:
            message = f"{self.path}: the job's table lacks {len(self._ops - ops)} rows of it."
            raise InvalidInputError(message)
        write_lines(self.path, lines)
        self._ops = ops
        self.device = device_of(lines[0])


def _key(line: bytes) -> int:
    return hash(bytes(_KEY.decode(line).op))


def united(copy: Path, theirs: str, device: Device) -> list[str]:
    """Bring a job's copy of a table up to the driver's, and find what the driver lacks.

    A driver that was killed may not have seen the last rows of a job. A visit is the same if its
    number and its times are; one whose number was given twice gets the next free one.

    Args:
        copy: the job's file; made anew where there is none, or none of this device.
        theirs: the driver's table; empty for none.
        device: whose rows these are to be. What it is now counts where the driver has no table.

    Returns:
        Lines that the driver lacks, which the copy then holds after all of the driver's.
    """
    if not theirs:
        if not copy.exists():
            return []
        known: LatencyTable | None = None
    else:
        base = copy.with_suffix(".theirs")
        write_lines(base, [theirs.encode()])
        known = LatencyTable.load(base)
        base.unlink()
    ours = None
    with suppress(ValueError):  # a damaged copy says nothing
        ours = LatencyTable.load(copy) if copy.exists() else None
    whose = device if known is None else known.device
    if ours is None or ours.device != whose:
        write_lines(copy, [theirs.encode()]) if theirs else copy.unlink()
        return []
    if known is None:
        ours.compact()
        return [encode_measurement(row).decode() for row in ours.values()]
    missing = _missing(ours, known)
    write_lines(copy, [theirs.encode(), *missing])
    return [line.decode() for line in missing]


def _missing(ours: LatencyTable, known: LatencyTable) -> list[bytes]:
    """Lines of what ``known`` lacks."""
    lines = []
    for op, row in ours.rows.items():
        other = known.rows.get(op)
        if other is None:
            lines.append(encode_measurement(row))
            continue
        seen = {(item.number, item.quiet_ms, item.median_ms) for item in other.rounds}
        taken = max((item.number for item in other.rounds), default=-1)
        for item in row.rounds:
            if (item.number, item.quiet_ms, item.median_ms) not in seen:
                taken += 1
                lines.append(encode_round(op, replace(item, number=taken)))
    return lines
