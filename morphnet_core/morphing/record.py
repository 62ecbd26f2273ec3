"""Record: what a morph has done, as JSON beside its model; ``costmodel report`` shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costmodel.durable import write_lines
from costmodel.pages.records import MORPH_FILE
from costmodel.prediction import finite
from costmodel.schemas import VERSION
from morphnet_core.plots import breakdown
from morphnet_core.pricing import Pricer
from morphnet_core.projection.device import LoopResult


def save_record(
    folder: Path,
    pricer: Pricer,
    loop: LoopResult,
    metrics: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Path:
    """Write what came out of a morph; see ``costmodel.pages.records.MorphRecord``.

    Args:
        folder: of its files.
        pricer: of the seed network.
        loop: how its widths were found.
        metrics: of the trained network on validation data.
        seconds: wall time by step.

    Returns:
        The file.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    grouping, best = pricer.grouping, loop.best
    counts = best.projection.counts
    layers: dict[str, list[float]] = {}
    if pricer.unit == "ms":
        before, after = breakdown(pricer, grouping.full_counts), breakdown(pricer, counts)
        names = dict.fromkeys((*before, *after))
        layers = {name: [before.get(name, 0.0), after.get(name, 0.0)] for name in names}
    found: dict[str, Any] = {
        "schema_version": VERSION,
        "network": grouping.network.name,
        "unit": loop.unit,
        "device": pricer.device.label if pricer.device is not None else "",
        "target": loop.target_ms,
        "seed": loop.seed_ms,
        "predicted": best.predicted_ms,
        "measured_ms": best.measured_ms,
        "hit": loop.hit,
        "rounds": [
            {"predicted": item.predicted_ms, "measured_ms": item.measured_ms}
            for item in loop.rounds
        ],
        "groups": grouping.before_and_after(counts),
        "layers": layers,
        "metrics": {name: finite(value) for name, value in metrics.items()},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    path = folder / MORPH_FILE
    write_lines(path, [json.dumps(found, indent=1, allow_nan=False).encode() + b"\n"])
    return path
