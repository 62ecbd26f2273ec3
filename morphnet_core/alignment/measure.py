"""Times a network before and after, in turns on one device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from costmodel.clocking import DEFAULT_PLAN
from costmodel.comparison import Comparison, compare_files
from costmodel.errors import InvalidInputError
from costmodel.profiler import Plan, Progress
from costmodel.protocols import CostModel
from costmodel.registry import Option
from morphnet_core.alignment.alignment import Alignment
from morphnet_core.alignment.source import write_model


def measured(
    alignment: Alignment,
    *,
    runner: str,
    cost: CostModel,
    options: Mapping[str, Option] | None = None,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress | None = None,
) -> Alignment:
    """The alignment with measured times, taken in interleaved rounds.

    Args:
        alignment: of a network in which something changed; any other comes back as it is.
        runner: entry-point name of the runner.
        cost: what the alignment was predicted with.
        options: of the runner.
        plan: how much care to take.
        progress: who is told how far it is.

    Raises:
        InvalidInputError: if one of both networks could not be timed; says why.
        LockedError: if a profiler holds the device.
    """
    if not alignment.changed:
        return alignment
    with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
        files = [Path(folder) / f"{alignment.name}{part}.onnx" for part in ("", "-aligned")]
        for file, model in zip(files, (alignment.original, alignment.model), strict=True):
            write_model(model, file)
        found = compare_files(
            files,
            runner=runner,
            cost=cost,
            options=options,
            sizes=alignment.sizes,
            plan=plan,
            progress=progress,
        )
    before, after = (_time_of(item) for item in found)
    return replace(
        alignment,
        measured_before_ms=before,
        measured_after_ms=after,
        repeatability=max(item.repeatability or 0.0 for item in found),
        measured_on=found[0].device.label,
        note="",
    )


def _time_of(item: Comparison) -> float:
    if item.measured_ms is None:
        reason = f"{item.measurement.status}, {item.measurement.reason}"
        message = f"{item.model} could not be timed: {reason}. Predict only, or try again."
        raise InvalidInputError(message)
    return item.measured_ms
