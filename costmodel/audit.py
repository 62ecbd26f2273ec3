"""Looks a table over: which rows not to trust, and how well its numbers repeat."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from costmodel.device import Device
from costmodel.figures import digits
from costmodel.measurement import UNMEASURED, Measurement, Repeatability, quiet_estimate
from costmodel.op import CONV_KINDS, MATMUL_KINDS, POOL_KINDS, Op
from costmodel.peaks import WINOGRAD, most_macs_per_ms, savings
from costmodel.table import LatencyTable

#: Fewer visits cannot be split into halves, so nobody knows whether the number repeats.
MIN_ROUNDS = 2
#: A nanosecond, a few clock ticks: nothing is launched, read and written in less.
LEAST_MS = 1e-6
#: Winograd saves at most 2.25 multiplications in 3x3 kernels (4 in the largest tiles in use), and
#: is used for large convolutions, so its speed is already in the reference. What Fourier transforms
#: save of larger windows comes on top.
SPEED_FACTOR = 3.0
#: The reference for speed is the fastest row once this share of the rows, and at least
#: ``SPEED_SET_ASIDE``, is set aside: impossible rows must not vouch for each other.
SPEED_SHARE_SET_ASIDE = 0.02
SPEED_SET_ASIDE = 3
#: Below this many rows with multiply-adds the reference says too little.
SPEED_MIN_ROWS = 20
#: Two fused multiply-add units of one vector register each, float32: an upper bound per core.
PEAK_MACS_PER_CYCLE = {"avx2": 16, "avx512": 32}
#: Above every processor sold, so that the bound is never too low.
PEAK_HZ = 6e9
#: Fewer channels may take another path, which costs 20 to 30 % on ONNX Runtime (C % 4); more than
#: this is worth a look.
STAIR_FACTOR = 1.5
#: A stored summary is the text of the same double, so any real difference was put there by hand.
SUMMARY_TOLERANCE = 1e-6

#: Element types of kernels that a device of an element type may run: what it cannot do in its own,
#: a runtime does in float32.
_BESIDE = {
    "int8": {"int8", "uint8", "float32"},
    "float16": {"float16", "float32"},
    "bfloat16": {"bfloat16", "float32"},
}
_FLOAT_KINDS = CONV_KINDS | MATMUL_KINDS | POOL_KINDS

Problem = Literal[
    "noisy",
    "failed",
    "impossible",
    "too_few_rounds",
    "inconsistent",
    "dtype",
    "file",
    "fewer_channels_slower",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing in a table that a reader should know.

    Attributes:
        op: the row; None if it is about the file.
        problem: short name of what is wrong.
        detail: what was seen, with its values.
        advice: what to do about it.
    """

    op: Op | None
    problem: Problem
    detail: str
    advice: str

    @property
    def is_information(self) -> bool:
        """Whether this may well be the truth about the device rather than a fault."""
        return self.problem == "fewer_channels_slower"


def repeatability(table: LatencyTable) -> Repeatability:
    """How well the halves of the rounds of a table's kernels agree.

    Imported rows have none; there it is what is known of their repeats.

    >>> repeatability(LatencyTable(Device(name="board", runtime="fake"))).rows
    0
    """
    if table.device.provenance == "imported":
        return Repeatability.of_spreads(row.spread for row in table.kernels())
    return Repeatability.of(row.rounds for row in table.kernels())


def audit(table: LatencyTable) -> tuple[Finding, ...]:
    """Every finding about a table, those about the file first, then by row, then across rows."""
    fastest = _fastest_macs_per_ms(table)
    findings = [_about_file(warning) for warning in table.warnings]
    for row in table.values():
        findings.extend(_about_row(row, table.device, fastest))
    findings.extend(_stairs(table))
    return tuple(findings)


def _about_file(warning: str) -> Finding:
    advice = "Once you have looked, rewrite the file compacted; what was left out is then gone."
    return Finding(op=None, problem="file", detail=warning, advice=advice)


def _about_row(row: Measurement, device: Device, fastest: float) -> Iterator[Finding]:
    if row.status == UNMEASURED:
        return
    if not row.has_number:
        yield Finding(
            op=row.op,
            problem="failed",
            detail=f"{row.status}: {row.reason or 'no reason was given'}",
            advice="Cost models skip this row. Profile again if the cause was outside the Op.",
        )
        return
    if row.status == "noisy":
        yield Finding(
            op=row.op,
            problem="noisy",
            detail=row.reason or "the halves of its rounds never agreed",
            advice="Run the profile again on a quieter machine; it resumes and adds rounds.",
        )
    yield from _impossible(row, device, fastest)
    # What a compiler computes is the same every time.
    if 0 < len(row.rounds) < MIN_ROUNDS and device.provenance != "estimated":
        yield Finding(
            op=row.op,
            problem="too_few_rounds",
            detail=f"{len(row.rounds)} round, at least {MIN_ROUNDS} are needed to see noise",
            advice="Run the profile again with a larger budget; it resumes.",
        )
    yield from _inconsistent(row)
    if row.op.kind in _FLOAT_KINDS and row.op.dtype not in _BESIDE.get(
        device.dtype, {device.dtype}
    ):
        yield Finding(
            op=row.op,
            problem="dtype",
            detail=f"the row is {row.op.dtype}, the table is of a {device.dtype} device",
            advice="Keep a table per element type.",
        )


def _impossible(row: Measurement, device: Device, fastest: float) -> Iterator[Finding]:
    advice = "Delete the row and profile again; if it stays, the runner does not time what it says."
    rate = row.op.macs / row.latency_ms
    peak = _peak_macs_per_ms(row.op, device)
    details = {
        f"{digits(row.latency_ms)} ms is less than a few clock ticks": row.latency_ms < LEAST_MS,
        f"{digits(rate / 1e6)} GMAC/s, the device's bound is {digits(peak / 1e6)}": rate > peak,
        f"{digits(rate / 1e6)} GMAC/s, {rate / fastest:.1f} times the fastest other rows": (
            peak >= rate > SPEED_FACTOR * fastest * max(1.0, savings(row.op) / WINOGRAD)
        ),
        f"median {row.median_ms:.6g} ms is less than the least time {row.latency_ms:.6g} ms": (
            row.median_ms < row.latency_ms * (1 - SUMMARY_TOLERANCE)
        ),
    }
    for detail, holds in details.items():
        if holds:
            yield Finding(op=row.op, problem="impossible", detail=detail, advice=advice)


def _inconsistent(row: Measurement) -> Iterator[Finding]:
    if not row.rounds:
        return
    least = quiet_estimate([item.quiet_ms for item in row.rounds])
    if abs(row.latency_ms - least) > SUMMARY_TOLERANCE * least:
        yield Finding(
            op=row.op,
            problem="inconsistent",
            detail=f"latency_ms is {row.latency_ms:.6g}, its rounds say {least:.6g}",
            advice="One of the two was edited. Delete latency_ms to have it made from the rounds.",
        )


def _peak_macs_per_ms(op: Op, device: Device) -> float:
    """Most multiply-adds a millisecond that the device can do."""
    if op.dtype != "float32" or device.isa not in PEAK_MACS_PER_CYCLE:
        return most_macs_per_ms(op, device)
    return PEAK_MACS_PER_CYCLE[device.isa] * PEAK_HZ / 1e3 * device.threads


def _fastest_macs_per_ms(table: LatencyTable) -> float:
    """Speed of the fastest rows, the very fastest set aside; infinity with too few rows."""
    rates = sorted(
        (row.op.macs / row.latency_ms for row in table.kernels() if row.op.macs), reverse=True
    )
    if len(rates) < SPEED_MIN_ROWS:
        return math.inf
    return rates[max(SPEED_SET_ASIDE, math.ceil(SPEED_SHARE_SET_ASIDE * len(rates)))]


def _stairs(table: LatencyTable) -> Iterator[Finding]:
    """Convolutions that get slower with fewer channels, all else equal."""
    convs = [row for row in table.kernels() if row.op.kind in CONV_KINDS]
    yield from _falls(convs, along=lambda op: op.out_channels, beside=lambda op: op.in_channels)
    yield from _falls(convs, along=lambda op: op.in_channels, beside=lambda op: op.out_channels)
    # Channels of a depthwise convolution move together.
    depthwise = [row for row in convs if row.op.is_depthwise]
    yield from _falls(depthwise, along=lambda op: op.in_channels, beside=lambda _op: 0)


def _falls(
    rows: Iterable[Measurement], along: Callable[[Op], int], beside: Callable[[Op], int]
) -> Iterator[Finding]:
    families: dict[Hashable, list[Measurement]] = defaultdict(list)
    for row in rows:
        families[(_family(row.op), beside(row.op))].append(row)
    for family in families.values():
        for fewer, more in pairwise(sorted(family, key=lambda row: along(row.op))):
            ratio = fewer.latency_ms / more.latency_ms
            if along(fewer.op) < along(more.op) and ratio > STAIR_FACTOR:
                yield Finding(
                    op=fewer.op,
                    problem="fewer_channels_slower",
                    detail=f"takes {ratio:.2f} times as long as {more.op.label!r}",
                    advice="May be the device's truth (another kernel); else profile both again.",
                )


def _family(op: Op) -> Op:
    """What Ops share that differ in channels alone, blocked or not."""
    return replace(
        op,
        inputs=((op.batch, *op.spatial_in), *((),) * (len(op.inputs) - 1)),
        outputs=((op.batch, *op.spatial_out),),
        weights=((*op.kernel, len(op.weights)),),
        groups=-1 if op.is_depthwise else op.groups,
    )
