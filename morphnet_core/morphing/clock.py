"""Clocks: what a Keras model takes when it is really run on the device."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from costmodel.comparison import DEFAULT_PLAN, measure
from costmodel.errors import CostModelError
from costmodel.profiler import Plan
from costmodel.protocols import CostModel, Runner
from costmodel.readers.keras import export_onnx
from costmodel.registry import Option
from costmodel.sizes import Sizes
from costmodel.uses.matching import Choice, clock_of
from morphnet_core.pricing import Count

_LOG = logging.getLogger("costmodel")


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
        sizes: values of open dimensions of the models.
    """

    runner: str = "ort"
    options: Mapping[str, Option] = field(default_factory=dict)
    plan: Plan = DEFAULT_PLAN
    sizes: Sizes = field(default_factory=dict)

    def __call__(self, models: Sequence[Any]) -> list[float]:
        """Latency of each model in ms.

        Raises:
            CostModelError: if one cannot be exported or timed; says why.
        """
        with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
            paths = [
                as_onnx(model, Path(folder) / f"{number}" / "model.onnx", self.sizes)
                for number, model in enumerate(models)
            ]
            rows = measure(paths, runner=self.runner, options=self.options, plan=self.plan)
        for row in rows:
            if not row.has_number:
                message = f"A network could not be timed with {self.runner!r}: {row.reason}."
                raise CostModelError(message)
        return [row.latency_ms for row in rows]


def device_clock(
    cost: Count | CostModel,
    *,
    runner: str | Runner | None = None,
    options: Mapping[str, Option] | None = None,
    threads: int | None = None,
    rounds: int | None = None,
) -> DeviceClock | None:
    """A clock on the device that prices are of; None, with the reason told, where there is none.

    Args:
        cost: prices; in another unit than milliseconds nothing is timed.
        runner: to time with, instead of the one that made the table.
        options: of the runner.
        threads: the same as ``options={"threads": ...}``.
        rounds: most visits to a network; 12 by default.

    Raises:
        DeviceMismatchError: if the runner that was asked for is another device than the prices'.
        InvalidInputError: if it is not known.
    """
    if cost.unit != "ms" or isinstance(cost, Count):
        return None
    named, reason = clock_of(Choice.of(runner, options, threads), cost.device)
    if named is None:
        _LOG.info("Predicted only: %s.", reason)
        return None
    return DeviceClock(runner=named[0], options=named[1], plan=DEFAULT_PLAN.with_rounds(rounds))


def as_onnx(model: Any, out: Path, sizes: Sizes | None = None) -> Path:
    """Write a model in memory as an ONNX file of fixed sizes; its batch is 1 where that is open.

    Args:
        model: a Keras model.
        out: file to write; its folder is made.
        sizes: values of open dimensions.

    Returns:
        ``out``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    return export_onnx(model, out, sizes)
