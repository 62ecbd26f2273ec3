"""What nn-Meter's builder saves of profiled kernels: sizes by its names, ``latency`` in ms.

The runtime behind it is not in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from costmodel.imports.formats.form import Form, Row, whole_json

_SIZES = {
    "HW": "height", "CIN": "in_channels", "COUT": "out_channels", "KERNEL_SIZE": "kernel",
    "STRIDES": "stride", "CIN1": "in_channels", "POOL_STRIDES": "stride",
}  # fmt: skip
_FIRST = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def _fits(head: str) -> bool:
    return '"config"' in head and ('"CIN"' in head or '"HW"' in head) and head.lstrip()[:1] == "{"


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    for kind, records in whole_json(lines).items():
        if isinstance(records, dict):
            for record in records.values():
                yield _row(str(kind), record)


def _row(kind: str, record: object) -> Row:
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        return {"kind": kind, "latency_ms": float("nan"), "reason": "config is missing"}
    config: Mapping[str, object] = record["config"]
    row: Row = {_SIZES[name]: value for name, value in config.items() if name in _SIZES}
    row |= {
        "runtime": "nn-meter",
        "kind": kind,
        "epilogue": "relu" if kind.endswith("relu") and kind != "relu" else "",
        "bias": "conv" in kind or kind == "fc",
        "padding": "same",
        "layout": "nhwc",
        "latency_ms": _middle(record.get("latency")),
    }
    if kind == "fc":
        row.pop("height", None)
    return row


def _middle(value: object) -> float:
    """Milliseconds of ``12.3 +- 0.4``, of a number, or of a list's first."""
    found = _FIRST.search(str(value))
    return float(found[0]) if found else float("nan")


FORM = Form(
    name="nn_meter",
    fits=_fits,
    rows=_rows,
    notes=("Its kernels are padded to keep their size and have a bias.",),
)
