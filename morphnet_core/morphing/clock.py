"""Clocks: what a Keras model takes when it is really run on the device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from costmodel.comparison import DEFAULT_PLAN, measure
from costmodel.errors import CostModelError
from costmodel.profiler import Plan
from costmodel.readers.keras import export_onnx

Option = str | int | float | bool


class Clock(Protocol):
    """Times models; anything that does can close the device loop."""

    def __call__(self, models: Sequence[Any]) -> list[float]:
        """Latency of each Keras model in ms, timed side by side."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClock:
    """Exports models to ONNX and times them with a runner, as ``costmodel compare`` does.

    Attributes:
        runner: entry-point name, such as ``ort``, or an address such as ``ssh://board``.
        options: of the runner.
        plan: how much care to take.
    """

    runner: str = "ort"
    options: Mapping[str, Option] = field(default_factory=dict)
    plan: Plan = DEFAULT_PLAN

    def __call__(self, models: Sequence[Any]) -> list[float]:
        """Latency of each model in ms.

        Raises:
            CostModelError: if one cannot be exported or timed; says why.
        """
        with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
            paths = [
                as_onnx(model, Path(folder) / f"{number}" / "model.onnx")
                for number, model in enumerate(models)
            ]
            rows = measure(paths, runner=self.runner, options=self.options, plan=self.plan)
        for row in rows:
            if not row.has_number:
                message = f"A network could not be timed with {self.runner!r}: {row.reason}."
                raise CostModelError(message)
        return [row.latency_ms for row in rows]


def as_onnx(model: Any, out: Path) -> Path:
    """Write a model in memory as an ONNX file with a batch of 1.

    Args:
        model: a Keras model.
        out: file to write; its folder is made.

    Returns:
        ``out``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    return export_onnx(model, out)
