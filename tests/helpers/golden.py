"""Golden files: one of every format, as each release wrote it, and what today's code must read.

``tests/golden/<release>/expected.json`` says by file what ``SUMMARIES`` finds in it. Before a
release ``scripts/write_golden.py`` adds a folder; files that are there are never written again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from costmodel.baseline import read_baseline
from costmodel.fleets.spec import Fleet, read_fleet
from costmodel.fleets.standing import load_state
from costmodel.pages.records import MorphRecord, PredictionRecord, read_record
from costmodel.runners.tpu_aot.calibrate import load_calibration
from costmodel.table import LatencyTable
from costmodel.uses.importing import import_file
from costmodel.uses.profiling import parse_budget
from morphnet_core.morphing.statefile import read_state
from morphnet_core.structure import Structure
from morphnet_core.uses.sweeping import read_sweep

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


def of_fleet(path: Path) -> Any:
    """All devices, and where their tables go; paths as seen from the file."""
    found = read_fleet(path, parse_budget)
    devices = {
        device.name: {
            "runner": [device.runner, device.host, dict(device.options)],
            "models": [[model.name for model in device.wanted.models], device.wanted.sizes],
            "counts": [device.wanted.samples, device.wanted.thinned, device.wanted.rounds],
            "budget": [device.wanted.budget, device.wanted.seed],
        }
        for device in found.devices
    }
    return {"out": found.out.name, "ray": found.ray, "patience_s": found.patience_s,
            "work": found.work, "devices": devices}  # fmt: skip


def of_fleet_state(path: Path) -> Any:
    """How far each device was."""
    found = load_state(Fleet(path=path, out=path.parent, devices=()))
    return {
        "id": found.id,
        "parts": msgspec.to_builtins(found.parts),
        "devices": {
            name: [
                *(item.state, item.reason, item.device, item.kind, item.rows, item.wanted),
                *(item.done, item.total, item.spent, item.asked, item.design, item.part),
            ]
            for name, item in found.devices.items()
        },
    }


def of_sweep(path: Path) -> Any:
    """The grid, and the options of its searches; paths as seen from the file."""
    found = read_sweep(path)
    return {
        "files": [found.model.name, found.data.name, found.out.name],
        "grid": [list(found.budgets), list(found.seeds)],
        "targets": {
            target.name: [target.unit, *(Path(word).name for word in target.arguments)]
            for target in found.targets
        },
        "arguments": list(found.arguments),
        "metric": found.metric,
        "run": [found.ray, found.cpus, found.patience_s],
    }


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
    "plan.json": of_structure,
    "fleets/fleet.toml": of_fleet,
    "fleets/fleet.json": of_fleet_state,
    "fleets/sweep.toml": of_sweep,
}
