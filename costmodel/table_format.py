"""How a latency table lies on disk: JSON lines, a header first, then one row a line.

Every line stands alone, so a table can be read with a pager, searched, diffed and cut. Two sorts
of row exist: ``{"op": ..., "round": ...}``, appended while a profile runs, and ``{"op": ...,
"latency_ms": ..., "rounds": [...]}``, one Op's whole Measurement. NaN is no JSON; such fields are
left out. This module only knows lines and files; which rows make a table is ``costmodel.table``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from costmodel.device import Device
from costmodel.errors import DISTRIBUTION, InvalidInputError, TableFormatError
from costmodel.measurement import Measurement, Milliseconds, Round, Status
from costmodel.model_rows import model_op_counts
from costmodel.op import CONV_KINDS, MATMUL_KINDS, MODEL, Op, op_fields

#: Version that this code writes and reads.
FORMAT = 1
#: A row is a few hundred bytes, a big network's some 100 kB: a longer line is another sort of file.
MAX_LINE_BYTES = 16 * 2**20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_EXPECTED_HEADER = '{"format": 1, "device": {"name": ..., "runtime": ...}}'
# msgspec's own errors are ValueErrors, as is a byte that is not UTF-8; nesting runs out of stack.
_UNDECODABLE = (ValueError, RecursionError)


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    op: Op
    round: Round | UnsetType = UNSET
    latency_ms: Milliseconds | UnsetType = UNSET
    median_ms: Milliseconds | UnsetType = UNSET
    spread: Annotated[float, msgspec.Meta(ge=0)] | UnsetType = UNSET
    rounds: tuple[Round, ...] = ()
    status: Status = "ok"
    reason: str = ""


class _Version(msgspec.Struct):
    format: int | UnsetType = UNSET


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    device: Device


_ENCODER = msgspec.json.Encoder()
_ROW = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a table file holds.

    Attributes:
        device: from the header.
        rows: line number and row, in file order; an Op may come several times.
        torn_bytes: length of a torn last line, which is not among the rows.
        ends_open: whether the last good line lacks its line end.
    """

    device: Device
    rows: list[tuple[int, Measurement]]
    torn_bytes: int = 0
    ends_open: bool = False


def is_table(path: Path) -> bool:
    """Whether a file says that it is a table, well-formed or not: by its first line or name."""
    if path.suffix == ".jsonl":
        return True
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(MAX_LINE_BYTES))
    except (OSError, *_UNDECODABLE):
        return False
    return isinstance(header, dict) and {"format", "device"} <= header.keys()


def encode_header(device: Device) -> bytes:
    """First line of a table of ``device``."""
    return _ENCODER.encode({"format": FORMAT, "device": device}) + b"\n"


def encode_round(op: Op, item: Round) -> bytes:
    """Line of one visit.

    Raises:
        InvalidInputError: if the line could not be read again, e.g. for a time of zero.
    """
    return _checked(op, {"op": op_fields(op), "round": item})


def encode_measurement(row: Measurement) -> bytes:
    """Line of one Op's whole Measurement.

    Raises:
        InvalidInputError: if the line could not be read again, e.g. for a negative time.
    """
    numbers = {
        "latency_ms": row.latency_ms,
        "median_ms": row.median_ms,
        "spread": row.spread,
    }
    fields: dict[str, object] = {"op": op_fields(row.op)}
    fields.update((name, value) for name, value in numbers.items() if not math.isnan(value))
    fields["status"] = row.status
    if row.reason:
        fields["reason"] = row.reason
    if row.rounds:
        fields["rounds"] = row.rounds
    return _checked(row.op, fields)


def _checked(op: Op, fields: dict[str, object]) -> bytes:
    """The line, read once as the next reader will: a table never holds what it cannot give back."""
    try:
        line = _ENCODER.encode(fields) + b"\n"
        back = decode_row(line).op
    except (*_UNDECODABLE, OverflowError) as error:
        message = f"The row of {op.label!r} cannot be kept in a table: {error}."
        raise InvalidInputError(message) from error
    if back != op:
        message = (
            f"The Op {op.label!r} cannot be kept in a table: it holds a value that JSON has not, "
            "such as NaN or infinity, or a list where a tuple belongs."
        )
        raise InvalidInputError(message)
    return line


def read_content(path: Path) -> Content:
    """Read a table file.

    Args:
        path: the file.

    Raises:
        TableFormatError: naming file, line and field of the first thing that is wrong. A torn last
            line is not wrong: it is left out and counted.
    """
    try:
        if path.exists() and not path.is_file():
            message = f"{path} is not a file. A latency table is one JSON-lines file."
            raise TableFormatError(message)
        with path.open("rb") as handle:
            return _read(path, handle)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        raise TableFormatError(message) from error


def _read(path: Path, handle: BinaryIO) -> Content:
    first = handle.readline(MAX_LINE_BYTES + 1)
    device = _read_header(path, first)
    rows: list[tuple[int, Measurement]] = []
    line, torn = first, 0
    decode = decode_row
    for number, line in enumerate(iter(partial(handle.readline, MAX_LINE_BYTES + 1), b""), 2):
        try:
            rows.append((number, decode(line)))
        except _UNDECODABLE as error:
            if len(line) > MAX_LINE_BYTES:
                _refuse_length(path, number)
            if _is_torn(line):
                torn = len(line)
            elif line.strip():
                _refuse_row(path, number, line, error)
    ends_open = not torn and not line.endswith(b"\n")
    return Content(device=device, rows=rows, torn_bytes=torn, ends_open=ends_open)


def decode_row(line: bytes) -> Measurement:
    """Measurement from one line, whichever sort it is.

    Raises:
        ValueError: naming the field that is wrong.
    """
    row: _Row = _ROW.decode(line)
    op = row.op
    check = _CHECKS.get(op.kind)
    if check is not None:
        check(op)
    if row.round is not UNSET:
        if row.rounds or row.latency_ms is not UNSET or row.status != "ok":
            message = "A line holds one `round` or a whole row, not both - at `$.round`"
            raise ValueError(message)
        return Measurement.from_rounds(op, (row.round,))
    if len(row.rounds) > 1:
        _check_order(row.rounds)
    if row.latency_ms is UNSET:
        if row.status in {"ok", "noisy"} and not row.rounds:
            message = f"Object missing required field `latency_ms` in a row of status {row.status}"
            raise ValueError(message)
        return Measurement.from_rounds(op, row.rounds, status=row.status, reason=row.reason)
    if row.status not in {"ok", "noisy"}:
        message = f"A row of status {row.status!r} has no latency - at `$.latency_ms`"
        raise ValueError(message)
    return Measurement(
        op=op,
        latency_ms=row.latency_ms,
        median_ms=math.nan if row.median_ms is UNSET else row.median_ms,
        spread=math.nan if row.spread is UNSET else row.spread,
        rounds=row.rounds,
        status=row.status,
        reason=row.reason,
    )


def _check_order(rounds: tuple[Round, ...]) -> None:
    last = -1
    for item in rounds:
        if item.number <= last:
            message = f"Round {item.number} stands after round {last} - at `$.rounds`"
            raise ValueError(message)
        last = item.number


def _check_conv(op: Op) -> None:
    """Sizes of a convolution must fit each other, or every reader of the table stumbles."""
    weight = op.filters
    if not (op.inputs and op.outputs and weight):
        message = f"A {op.kind} has inputs, outputs and weights - at `$.op`"
        raise ValueError(message)
    read, written = op.inputs[0], op.outputs[0]
    axes = len(weight) - 2
    if not (
        len(read) == len(written) == axes + 2 > 2
        and len(op.stride or weight[2:]) == len(op.dilation or weight[2:]) == axes
        and len(op.pads) in {0, 2 * axes}
        and not (0 in read or 0 in written or 0 in weight)
    ):
        message = f"The sizes of the {op.kind} {op.label!r} do not fit each other - at `$.op`"
        raise ValueError(message)


def _check_matmul(op: Op) -> None:
    if not (op.outputs and any((*op.inputs, *op.weights))):
        message = f"A {op.kind} has operands and an output - at `$.op`"
        raise ValueError(message)


def _check_model(op: Op) -> None:
    model_op_counts(op)


_CHECKS = {
    **dict.fromkeys(CONV_KINDS, _check_conv),
    **dict.fromkeys(MATMUL_KINDS, _check_matmul),
    MODEL: _check_model,
}


def _read_header(path: Path, line: bytes) -> Device:
    problem = _not_a_table(line)
    if problem:
        message = f"{path}: {problem} A latency table's first line is {_EXPECTED_HEADER}."
        raise TableFormatError(message)
    line = line.removeprefix(_BYTE_ORDER_MARK)
    try:
        version = msgspec.json.decode(line, type=_Version).format
        if version is UNSET:
            message = (
                f"{path}, line 1: the header is missing. A latency table's first line is "
                f"{_EXPECTED_HEADER}."
            )
            raise TableFormatError(message)
        if version != FORMAT:
            message = (
                f"{path}, line 1: the table has format {version}; this version of costmodel reads "
                f"format {FORMAT}. If a newer version wrote it, upgrade: "
                f"pip install --upgrade {DISTRIBUTION}."
            )
            raise TableFormatError(message)
        return msgspec.json.decode(line, type=_Header).device
    except TableFormatError:
        raise
    except _UNDECODABLE as error:
        message = f"{path}, line 1: {error}. A latency table's first line is {_EXPECTED_HEADER}."
        raise TableFormatError(message) from error


def _not_a_table(line: bytes) -> str:
    """What the file is instead of a table, judged by its first line; empty if it may be one."""
    if not line:
        return "the file is empty."
    if line.startswith(_GZIP):
        return "the file is compressed, which is not supported: unpack it with gunzip first."
    if b"\0" in line:
        return "the file is binary, not text."
    if len(line) > MAX_LINE_BYTES:
        return f"line 1 is longer than {MAX_LINE_BYTES // 2**20} MiB."
    return ""


def _is_torn(line: bytes) -> bool:
    """Whether a line is the start of one whose writer was stopped; only the last lacks its end."""
    if line.endswith(b"\n"):
        return False
    try:
        msgspec.json.decode(line)
    except _UNDECODABLE:
        return True
    return False


def _refuse_length(path: Path, number: int) -> NoReturn:
    message = (
        f"{path}, line {number}: longer than {MAX_LINE_BYTES // 2**20} MiB. Rows of a latency "
        "table are short; this is not one, or its line ends were lost."
    )
    raise TableFormatError(message)


def _refuse_row(path: Path, number: int, line: bytes, error: Exception) -> NoReturn:
    if line.lstrip().startswith(b'{"format"'):
        message = (
            f"{path}, line {number}: a second header. Two tables were put into one file; keep them "
            "apart and merge them with LatencyTable.merged."
        )
    else:
        message = f"{path}, line {number}: {error}. Mend or delete this line; the others stay."
    raise TableFormatError(message) from error
