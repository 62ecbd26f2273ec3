"""What no device does: rows and units that cannot be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.peaks import most_macs_per_ms, peak_of

#: Rows beyond the peak are single mistakes up to this share; beyond it, the unit is another.
FEW = 0.2
#: The fastest rows once this share is set aside tell how fast the device is.
_SET_ASIDE = 0.02
#: Fewer rows with multiply-adds say nothing about the unit.
_ENOUGH = 5
#: Nothing is launched and done in less.
_LEAST_MS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A row that cannot be true.

    Attributes:
        place: among the rows that were looked at.
        problem: what is wrong.
        values: those of the row.
    """

    place: int
    problem: str
    values: str


def doubts(device: Device, rows: Sequence[Measurement], column: str) -> list[Doubt]:
    """Rows that no such device can do.

    Args:
        device: whose rows.
        rows: its Measurements.
        column: where the times came from, for the message.

    Raises:
        InvalidInputError: if so many rows are too fast, or all too slow, that the times must be in
            another unit.
    """
    peak = peak_of(device)
    found = []
    worked = [row for row in rows if row.op.macs]
    for place, row in enumerate(rows):
        if row.latency_ms < _LEAST_MS:
            found.append(
                Doubt(
                    place=place,
                    problem="is less than anything takes",
                    values=f"{row.latency_ms * 1e6:.3g} ns, {row.op.label}",
                )
            )
        elif row.op.macs / row.latency_ms > most_macs_per_ms(row.op, device):
            found.append(
                Doubt(
                    place=place,
                    problem=f"is less than {peak.what} can take",
                    values=f"{row.op.label} at {_teraflops(row):.3g} TFLOPS",
                )
            )
    if len(worked) >= _ENOUGH:
        _check_unit(device, worked, len(found), column)
    return found


def _check_unit(device: Device, worked: Sequence[Measurement], fast: int, column: str) -> None:
    peak = peak_of(device)
    rates = sorted((_teraflops(row) for row in worked), reverse=True)
    best = rates[int(_SET_ASIDE * len(rates))]
    if fast > FEW * len(worked):
        message = (
            f"column {column!r}: {fast} of {len(worked)} rows of {device.name} are faster than "
            f"{peak.what} can be (up to {rates[0]:.3g} TFLOPS), so the times are in another unit. "
            "Say which: --map latency_ms=, latency_us=, latency_ns= or latency_s="
            f"{column}."
        )
        raise InvalidInputError(message)
    if best * 1e12 < peak.best:
        message = (
            f"column {column!r}: the fastest rows of {device.name} reach {best * 1e3:.3g} GFLOPS, "
            f"too little for {peak.what}, so the times are in another unit. Say which: --map "
            f"latency_ms=, latency_us=, latency_ns= or latency_s={column}."
        )
        raise InvalidInputError(message)


def _teraflops(row: Measurement) -> float:
    return 2 * row.op.macs / row.latency_ms * 1e3 / 1e12
