"""Times networks in turns on one device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from costmodel.clocking import DEFAULT_PLAN, measure
from costmodel.comparison import Comparison, compare_files
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.profiler import Plan, Progress
from costmodel.protocols import CostModel
from costmodel.registry import Option
from costmodel.sizes import Sizes
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


def timed(
    models: Sequence[onnx.ModelProto],
    *,
    runner: str,
    options: Mapping[str, Option] | None = None,
    sizes: Sizes | None = None,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress | None = None,
) -> list[float]:
    """Milliseconds of several networks in memory, taken in interleaved rounds.

    Args:
        models: the networks.
        runner: entry-point name of the runner.
        options: of the runner.
        sizes: of open dimensions, the same for all.
        plan: how much care to take.
        progress: who is told how far it is.

    Raises:
        InvalidInputError: if one could not be timed; says why.
        LockedError: if a profiler holds the device.
    """
    with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
        files = [Path(folder) / f"{place}" / "model.onnx" for place in range(len(models))]
        for file, model in zip(files, models, strict=True):
            file.parent.mkdir()
            write_model(model, file)
        rows = measure(
            files, runner=runner, options=options, sizes=sizes, plan=plan, progress=progress
        )
    return [_require_number(model.graph.name, row) for model, row in zip(models, rows, strict=True)]


def _time_of(item: Comparison) -> float:
    return _require_number(item.model, item.measurement)


def _require_number(name: str, row: Measurement) -> float:
    if not row.has_number:
        message = (
            f"{name} could not be timed: {row.status}, {row.reason}. Predict only, or try again."
        )
        raise InvalidInputError(message)
    return row.latency_ms
