"""What TensorFlow Lite's ``benchmark_model`` prints, and LiteRT's ``litert-benchmark`` saves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from costmodel.imports.formats.form import Form, Row, network_name, whole_json

_GRAPH = re.compile(r"Graph:\s*\[(.+?)\]|--graph=(\S+)|Loaded model (\S+)")
_THREADS = re.compile(r"Num threads:\s*\[(\d+)\]|--num_threads=(\d+)")
_DELEGATE = re.compile(
    r"Use (gpu|nnapi|xnnpack|hexagon|coreml):\s*\[1\]|--use_(\w+)=(?:true|1)", re.I
)
_RUNS = re.compile(r"count=(\d+).*?avg=([\d.eE+]+) std=([\d.eE+]+)")
_SUMMARY = re.compile(r"Inference timings in us:.*Inference \(avg\):\s*([\d.eE+]+)")
_RUNTIMES = {"gpu": "tflite-gpu", "nnapi": "tflite-nnapi", "coreml": "tflite-coreml"}


def _fits(head: str) -> bool:
    saved = '"fully_accelerated"' in head and '"median_ms"' in head
    return saved or "Inference timings in us:" in head or "STARTING!" in head[:2000]


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    lines = iter(lines)
    first = next(lines, "")
    if first.lstrip("\ufeff \t\n").startswith(("{", "[")):
        found = whole_json([first, *lines])
        for item in found if isinstance(found, list) else [found]:
            yield _saved(item)
        return
    yield from _printed([first, *lines])


def _saved(found: Mapping[str, object]) -> Row:
    times = found.get("latency")
    assert isinstance(times, dict)
    gpu = "gpu" in str(found.get("accelerators", "")).lower()
    return {
        "runtime": "tflite-gpu" if gpu else "litert",
        "threads": found.get("num_threads"),
        "kind": "model",
        "name": network_name(str(found.get("model", ""))),
        "latency_ms": times.get("median_ms", times.get("avg_ms")),
        "deviation_ms": times.get("std_ms"),
    }


def _printed(lines: Iterable[str]) -> Iterator[Row]:
    """A row at the end of each run that a log holds."""
    row: Row = {}
    for line in lines:
        if found := _GRAPH.search(line):
            row["name"] = network_name(next(filter(None, found.groups())))
        if found := _THREADS.search(line):
            row["threads"] = int(next(filter(None, found.groups())))
        if found := _DELEGATE.search(line):
            row["delegate"] = next(filter(None, found.groups())).lower()
        if found := _RUNS.search(line):
            row["deviation_ms"] = float(found[3]) / 1e3
        if found := _SUMMARY.search(line):
            delegate = str(row.pop("delegate", ""))
            yield {
                "kind": "model",
                "runtime": _RUNTIMES.get(delegate, "tflite"),
                **row,
                "latency_ms": float(found[1]) / 1e3,
            }
            row = {}


FORM = Form(name="litert", fits=_fits, rows=_rows)
