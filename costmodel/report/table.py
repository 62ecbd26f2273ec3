"""Reports a LatencyTable: the device, what was measured, how far to trust it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import median

from costmodel.audit import repeatability
from costmodel.device import Device
from costmodel.measurement import UNMEASURED, Measurement, Repeatability
from costmodel.op import CONV_KINDS, MODEL, Op
from costmodel.prediction import finite
from costmodel.report.sheet import NOTHING, Sheet, digits, facts, ms, percent
from costmodel.table import LatencyTable

#: Rows without a number that are listed one by one.
FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSummary:
    """The rows of one kind on one execution path.

    Attributes:
        kind: the Ops' kind.
        path: the runtime's kernel and layout; empty where the runtime does not say.
        rows: how many.
        statuses: how many of each status.
        least_ms: least latency; None when no row has a number.
        most_ms: greatest latency.
        best_gmacs: most multiply-adds per second that any row reached, in 10^9; None without any.
        spread: median disagreement of the two halves of a row's rounds; None without rounds.
    """

    kind: str
    path: str
    rows: int
    statuses: dict[str, int]
    least_ms: float | None
    most_ms: float | None
    best_gmacs: float | None
    spread: float | None


def path_of(op: Op) -> str:
    """Execution path of an Op for people: kernel and layout, and how a convolution is grouped."""
    kernel = op.implementation.rpartition(":")[2]
    parts = [kernel, op.layout if op.layout != "nchw" else ""]
    if op.kind in CONV_KINDS:
        parts.append("depthwise" if op.is_depthwise else "grouped" if op.groups > 1 else "")
    return " ".join(part for part in parts if part)


def path_summaries(rows: Iterable[Measurement]) -> tuple[PathSummary, ...]:
    """Rows by kind and path, the most numerous first."""
    groups: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[row.op.kind, path_of(row.op)].append(row)
    found = [_summarise(kind, path, items) for (kind, path), items in groups.items()]
    return tuple(sorted(found, key=lambda item: (-item.rows, item.kind, item.path)))


def _summarise(kind: str, path: str, rows: Sequence[Measurement]) -> PathSummary:
    times = [row.latency_ms for row in rows if row.has_number]
    rates = [
        row.op.macs / row.latency_ms / 1e6
        for row in rows
        if row.has_number and row.op.macs and row.latency_ms > 0
    ]
    spreads = [row.spread for row in rows if isfinite(row.spread)]
    return PathSummary(
        kind=kind,
        path=path,
        rows=len(rows),
        statuses=dict(Counter(row.status for row in rows)),
        least_ms=min(times, default=None),
        most_ms=max(times, default=None),
        best_gmacs=max(rates, default=None),
        spread=median(spreads) if spreads else None,
    )


def table_summary(table: LatencyTable) -> dict[str, object]:
    """A table as plain values."""
    rows = list(table.values())
    kernels = [row for row in rows if row.op.kind != MODEL and row.status != UNMEASURED]
    device = table.device
    return {
        "path": str(table.path) if table.path else None,
        "device": {**device.identity, "label": device.label, "state": dict(device.state)},
        "rows": len(rows),
        "statuses": dict(Counter(row.status for row in rows)),
        "repeatability": repeatability_json(repeatability(table)),
        "paths": [asdict(item) for item in path_summaries(kernels)],
        "ranges": {kind: _ranges(kernels, kind) for kind in sorted(CONV_KINDS)},
        "networks": [
            {
                "model": _name(row),
                "latency_ms": row.latency_ms,
                "median_ms": row.median_ms,
                "spread": finite(row.spread),
                "status": row.status,
            }
            for row in table.models()
        ],
        "warnings": list(table.warnings),
    }


def repeatability_json(found: Repeatability) -> dict[str, float | int | None]:
    """How well the halves of the rows' rounds agree; None where no row has two rounds."""
    return {
        "rows": found.rows,
        "mape": finite(found.mape),
        "within_5": finite(found.within_5),
        "within_10": finite(found.within_10),
    }


def repeatability_text(found: Repeatability) -> str:
    """How well the halves of the rows' rounds agree, for people."""
    if not found.rows:
        return "unknown: no row was timed twice"
    return (
        f"mean {percent(found.mape)}, within 5 %: {percent(found.within_5, 0)}, "
        f"within 10 %: {percent(found.within_10, 0)} of {found.rows} kernels"
    )


def table_sheets(table: LatencyTable) -> tuple[Sheet, ...]:
    """The device, rows by path, the span of the convolutions, whole networks, failures."""
    known = [row for row in table.values() if row.status != UNMEASURED]
    kernels = [row for row in known if row.op.kind != MODEL]
    sheets = [_device(table.device, table)]
    if kernels:
        sheets.append(_paths(kernels))
    sheets += [
        _span(kind, ranges)
        for kind in sorted(CONV_KINDS)
        if (ranges := _ranges(kernels, kind)) is not None
    ]
    if table.models():
        sheets.append(_networks(table.models()))
    failed = [row for row in known if not row.has_number]
    if failed:
        sheets.append(_failures(failed))
    return tuple(sheets)


def _device(device: Device, table: LatencyTable) -> Sheet:
    statuses = Counter(row.status for row in table.values())
    pairs = {
        "device": device.label,
        "provenance": device.provenance,
        "provider": device.provider,
        "instruction set": device.isa,
        "caches": ", ".join(_bytes(size) for size in device.caches),
        "options": ", ".join(f"{name}={value}" for name, value in device.options),
        "state": ", ".join(f"{name}={value}" for name, value in device.state.items()),
        "rows": f"{len(table)}: "
        + (", ".join(f"{n} {status}" for status, n in statuses.most_common()) or "none yet"),
        "repeatability": repeatability_text(repeatability(table)),
    }
    title = str(table.path) if table.path else "Latency table"
    return facts(title, pairs, [f"Warning: {item}" for item in table.warnings])


def _paths(kernels: Sequence[Measurement]) -> Sheet:
    return Sheet(
        title="Rows by kind and path",
        columns=("kind", "path", "rows", "noisy", "failed", "ms", "best GMAC/s", "repeats"),
        rows=tuple(_path_row(item) for item in path_summaries(kernels)),
        align="llrrrrrr",
        notes=("repeats: median disagreement of the two halves of a row's rounds.",),
    )


def _path_row(item: PathSummary) -> tuple[str, ...]:
    noisy = item.statuses.get("noisy", 0)
    failed = item.rows - noisy - item.statuses.get("ok", 0)
    span = NOTHING if item.least_ms is None else f"{ms(item.least_ms)} to {ms(item.most_ms)}"
    return (
        item.kind,
        item.path,
        str(item.rows),
        str(noisy or NOTHING),
        str(failed or NOTHING),
        span,
        digits(item.best_gmacs),
        percent(item.spread),
    )


def _ranges(rows: Iterable[Measurement], kind: str) -> dict[str, list[int]] | None:
    """Least and greatest sizes of the rows of a convolution kind; None without rows."""
    ops = [row.op for row in rows if row.op.kind == kind and row.has_number]
    sizes: dict[str, list[int]] = {
        "input channels": [op.in_channels for op in ops],
        "output channels": [op.out_channels for op in ops],
        "spatial size": [size for op in ops for size in op.spatial_in],
        "kernel": [size for op in ops for size in op.kernel],
        "stride": [step for op in ops for step in op.stride],
        "dilation": [step for op in ops for step in op.dilation],
        "groups": [op.groups for op in ops],
        "batch": [op.batch for op in ops],
    }
    found = {name: [min(values), max(values)] for name, values in sizes.items() if values}
    return found or None


def _span(kind: str, ranges: dict[str, list[int]]) -> Sheet:
    title = f"Span of the rows of kind {kind}"
    return Sheet(
        title=title,
        columns=("size", "least", "most"),
        rows=tuple((name, str(least), str(most)) for name, (least, most) in ranges.items()),
        align="lrr",
    )


def _networks(models: Sequence[Measurement]) -> Sheet:
    return Sheet(
        title="Whole networks, in ms",
        columns=("network", "latency", "median", "repeats", "status"),
        rows=tuple(
            (
                _name(row),
                ms(row.latency_ms, row.spread),
                ms(row.median_ms, row.spread),
                percent(row.spread),
                row.status,
            )
            for row in sorted(models, key=lambda row: row.latency_ms)
        ),
        align="lrrrl",
    )


def _failures(failed: Sequence[Measurement]) -> Sheet:
    left = len(failed) - FAILURES
    return Sheet(
        title="Rows without a number",
        columns=("work", "status", "reason"),
        rows=tuple((_label(row), row.status, row.reason) for row in failed[:FAILURES]),
        align="lll",
        notes=(f"and {left} more.",) if left > 0 else (),
    )


def _name(row: Measurement) -> str:
    return row.op.attribute("name", row.op.label)


def _label(row: Measurement) -> str:
    return _name(row) if row.op.kind == MODEL else row.op.label


def _bytes(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 2**10:g} KiB"
