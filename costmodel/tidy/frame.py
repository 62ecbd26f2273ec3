"""Measurements as a data frame, and back: exactly from our own columns, by names from others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from costmodel.device import Device
from costmodel.durable import written_whole
from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.measurement import Measurement
from costmodel.op import decode_op, encode_op
from costmodel.tidy.cells import Commas
from costmodel.tidy.columns import Asked, match_columns
from costmodel.tidy.read import require_device, tidy_rows
from costmodel.tidy.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a data frame.
_COLUMNS: Mapping[str, Callable[[Measurement], object]] = {
    "kind": lambda row: row.op.kind,
    "implementation": lambda row: row.op.implementation,
    "dtype": lambda row: row.op.dtype,
    "layout": lambda row: row.op.layout,
    "batch": lambda row: row.op.batch,
    "in_channels": lambda row: row.op.in_channels,
    "out_channels": lambda row: row.op.out_channels,
    "height": lambda row: (None, None, *row.op.spatial_in)[-2],
    "width": lambda row: (None, *row.op.spatial_in)[-1],
    "kernel": lambda row: "x".join(map(str, row.op.kernel)),
    "stride": lambda row: "x".join(map(str, row.op.stride)),
    "groups": lambda row: row.op.groups,
    "epilogue": lambda row: "+".join(row.op.epilogue),
    "macs": lambda row: row.op.macs,
    "label": lambda row: row.op.label,
    "latency_ms": lambda row: row.latency_ms,
    "median_ms": lambda row: row.median_ms,
    "spread": lambda row: row.spread,
    "num_runs": lambda row: row.num_runs,
    "status": lambda row: row.status,
    "reason": lambda row: row.reason,
    "digest": lambda row: row.op.digest,
    "op_json": lambda row: encode_op(row.op).decode(),
}

_DEVICE = "device"


def frame_of(device: Device, rows: Iterable[Measurement]) -> pd.DataFrame:
    """Rows as a frame; ``LatencyTable.to_frame`` says what its columns are."""
    import pandas as pd

    rows = list(rows)
    frame = pd.DataFrame({name: [of(row) for row in rows] for name, of in _COLUMNS.items()})
    # Nullable, so that one row without a picture does not make every size a float.
    frame = frame.astype({"height": "Int64", "width": "Int64"})
    frame.attrs[_DEVICE] = msgspec.json.encode(device).decode()
    return frame


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame so that a reader sees the old file or the whole new one.

    Raises:
        InvalidInputError: if it cannot be written.
        MissingDependencyError: without pyarrow.
    """
    try:
        with written_whole(path) as temporary:
            frame.to_parquet(temporary, index=False)
    except ImportError as error:
        raise MissingDependencyError(
            package="pyarrow", extra="frames", what=f"Writing {path}"
        ) from error


def write_records(records: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write a Parquet file of a row a record; fields are columns.

    Raises:
        InvalidInputError: as ``write_parquet``.
        MissingDependencyError: as ``write_parquet``.
    """
    import pandas as pd

    write_parquet(pd.DataFrame.from_records([dict(record) for record in records]), path)


def rows_of(
    frame: pd.DataFrame,
    device: Device | None,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
) -> tuple[Device, Sequence[Measurement], Sequence[str]]:
    """Device, Measurements and warnings of a frame; ``LatencyTable.from_frame`` says how.

    Raises:
        InvalidInputError: as there.
    """
    if "op_json" in frame and not columns:
        return _imported(device or _device_of(frame)), tuple(_exact(frame)), ()
    said = constants if device is None else {
        "device": device.name, "runtime": device.runtime, "dtype": device.dtype, **constants
    }  # fmt: skip
    matched = match_columns(
        [str(name) for name in frame.columns], Asked(columns=columns, constants=said)
    )
    require_device(matched)
    rows = Rows()
    plain = frame.reset_index(drop=True)
    plain.columns = plain.columns.map(str)
    rows.add(tidy_rows(plain, matched, Commas(), 1))
    if device is None and len(rows.devices) > 1:
        names = "; ".join(one.label for one in rows.devices[:10])
        message = (
            f"The frame holds {len(rows.devices)} devices, a table holds one: {names}. Give one's "
            "rows, or read a file with import_file."
        )
        raise InvalidInputError(message)
    found = {row.op: row for one in rows.devices for _, row in rows.measurements(one)}
    left = tuple(map(str, rows.left_out.values()))
    if not found:
        message = f"None of the {rows.count} rows can be used. {'. '.join(left)}."
        raise InvalidInputError(message)
    return _imported(device or rows.devices[0]), tuple(found.values()), left


def _imported(device: Device) -> Device:
    """A device of numbers that came from a frame: who has them did not measure them."""
    return replace(device, provenance="imported") if device.provenance == "measured" else device


def _device_of(frame: pd.DataFrame) -> Device:
    text = frame.attrs.get(_DEVICE)
    if text is None:
        message = "The frame does not say whose numbers it holds. Give it: device=Device(...)."
        raise InvalidInputError(message)
    try:
        return msgspec.json.decode(text, type=Device)
    except (ValueError, TypeError) as error:
        message = f"The frame's attrs hold no Device: {error}."
        raise InvalidInputError(message) from error


def _exact(frame: pd.DataFrame) -> Iterator[Measurement]:
    """Rows of our own frame."""
    nothing: list[Any] = [None] * len(frame)
    names = ("op_json", "latency_ms", "median_ms", "spread", "status", "reason")
    lists = [frame[name].tolist() if name in frame else nothing for name in names]
    for number, (text, latency, median, spread, status, reason) in enumerate(zip(*lists), 1):  # noqa: B905
        try:
            op = decode_op(text)
        except (InvalidInputError, TypeError) as error:
            message = f"row {number}, column 'op_json': {error}"
            raise InvalidInputError(message) from error
        if status not in {None, "ok", "noisy"}:
            yield Measurement.from_rounds(op, (), status=status, reason=str(reason or ""))
            continue
        time_ms = _number(latency)
        if not 0 < time_ms < math.inf:
            message = f"row {number}, column 'latency_ms': {latency!r} is no time."
            raise InvalidInputError(message)
        yield Measurement(
            op=op,
            latency_ms=time_ms,
            median_ms=_number(median),
            spread=_number(spread),
            status=status or "ok",
            reason=str(reason or ""),
        )


def _number(value: object) -> float:
    """A float; the one ``math.nan`` where there is none, so that equal rows compare equal."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return math.nan if math.isnan(number) else number
