"""Rates: how fast kernels ran, and the best of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

from costmodel.costs.counts import Bytes
from costmodel.measurement import Measurement
from costmodel.op import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one kernel ran; NaN where its work cannot be counted or has no multiply-adds.

    Attributes:
        gmacs: multiply-adds a second, in 10^9.
        gbytes: bytes a second of activations and weights, each moved once, in 10^9.
        intensity: multiply-adds a byte.
    """

    gmacs: float
    gbytes: float
    intensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs:
    """The best of any kernel.

    Attributes:
        gmacs: most multiply-adds a second, in 10^9.
        fastest: whose.
        gbytes: most bytes a second, in 10^9, of those with multiply-adds.
        widest: whose.
    """

    gmacs: float
    fastest: str
    gbytes: float
    widest: str


def rate_of(op: Op, latency_ms: float) -> Rate:
    """How fast a kernel ran.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3), bias=False)
    >>> rate_of(op, 0.01).gmacs
    29.4912
    """
    moved = float(Bytes().price([op]).values[0])
    macs = op.multiply_adds or 0
    if not macs or not moved > 0 or not latency_ms > 0:
        return Rate(gmacs=nan, gbytes=nan, intensity=nan)
    return Rate(
        gmacs=macs / latency_ms / 1e6, gbytes=moved / latency_ms / 1e6, intensity=macs / moved
    )


def roofs(rows: Sequence[Measurement]) -> Roofs | None:
    """The best rates of a table's undisturbed rows; None where none multiplies."""
    rates = [(rate_of(row.op, row.latency_ms), row.op) for row in rows if row.status == "ok"]
    known = [(rate, op) for rate, op in rates if isfinite(rate.gmacs)]
    if not known:
        return None
    fastest = max(known, key=lambda item: item[0].gmacs)
    widest = max(known, key=lambda item: item[0].gbytes)
    return Roofs(
        gmacs=fastest[0].gmacs,
        fastest=fastest[1].label,
        gbytes=widest[0].gbytes,
        widest=widest[1].label,
    )
