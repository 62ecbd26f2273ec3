"""Golden files: one of every format, as each release wrote it, and what today's code must read.

``tests/golden/<release>/expected.json`` says by file what ``SUMMARIES`` finds in it. Before a
release ``scripts/write_golden.py`` adds a folder; those that are there are never written again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.baseline import read_baseline
from costmodel.pages.records import MorphRecord, PredictionRecord, read_record
from costmodel.runners.tpu_aot.calibrate import load_calibration
from costmodel.table import LatencyTable
from costmodel.uses.importing import import_file
from morphnet_core.morphing.statefile import read_state
from morphnet_core.structure import Structure

FOLDER = Path(__file__).parents[1] / "golden"
#: What the golden state belongs to.
BELONGS = {"target": "60%", "seed network": "0f3c", "epochs": 2, "threshold": None}


def of_table(path: Path) -> Any:
    """Device and rows, by the digests of their Ops."""
    table = LatencyTable.load(path)
    rows = {
        op.digest: [
            op.kind, row.status, row.latency_ms if row.has_number else None, len(row.rounds),
        ]
        for op, row in table.rows.items()
    }  # fmt: skip
    return {"device": table.device.label, "provenance": table.device.provenance, "rows": rows}


def of_structure(path: Path) -> Any:
    """Counts and costs."""
    found = Structure.load(path)
    kept = {name: layer.kept and list(layer.kept) for name, layer in found.layers.items()}
    return {"counts": found.counts, "kept": kept, "groups": dict(found.groups),
            "costs": dict(found.costs), "predicted_ms": found.predicted_ms}  # fmt: skip


def of_prediction(path: Path) -> Any:
    """Total and layers."""
    found = read_record(path)
    assert isinstance(found, PredictionRecord)
    layers = {layer.name: [layer.kernel.digest, layer.predicted_ms] for layer in found.ops}
    return {"total": found.predicted_ms, "layers": layers}


def of_comparison(path: Path) -> Any:
    """Times, as a page and as a baseline read them."""
    found, hour = read_record(path), read_baseline(path)
    assert isinstance(found, tuple)
    return {
        "measured": {item.model: item.measured_ms for item in found},
        "rounds": {name: list(rounds) for name, rounds in hour.networks.items()},
        "witnesses": {name: asdict(level) for name, level in hour.witnesses.items()},
    }


def of_morph(path: Path) -> Any:
    """What a page shows of a morph."""
    found = read_record(path.parent)
    assert isinstance(found, MorphRecord)
    groups = {name: list(pair) for name, pair in found.groups.items()}
    return {"target": found.target, "groups": groups, "metrics": found.metrics}


def of_state(path: Path) -> Any:
    """Values, and sums of the arrays."""
    found = read_state(path, BELONGS)
    sums = {
        name: [str(array.dtype), zlib.crc32(np.ascontiguousarray(array).data)]
        for name, array in found.arrays.items()
    }
    return {"values": dict(found.values), "arrays": sums}


def of_calibration(path: Path) -> Any:
    """The law."""
    return asdict(load_calibration(path))


def of_mapping(path: Path) -> Any:
    """What the list beside it becomes by the mapping."""
    (table,) = import_file(path.with_name("times.csv"), mapping=path).tables
    return {op.digest: row.latency_ms for op, row in table.rows.items()}


#: What is read of a file, by its name in a release's folder.
SUMMARIES: Mapping[str, Callable[[Path], Any]] = {
    "table.jsonl": of_table,
    "structure.json": of_structure,
    "original-structure.json": of_structure,
    "prediction.json": of_prediction,
    "comparison.json": of_comparison,
    "morph/morph.json": of_morph,
    "state.npz": of_state,
    "calibration.json": of_calibration,
    "mapping.toml": of_mapping,
}
