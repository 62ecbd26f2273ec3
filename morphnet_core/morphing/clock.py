"""Clocks: what a Keras model takes when it is really run on the device."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from costmodel.clocking import DEFAULT_PLAN, measure
from costmodel.errors import CostModelError, LockedError
from costmodel.profiler import Plan
from costmodel.profiler.lock import wait_for
from costmodel.protocols import CostModel, Runner
from costmodel.readers.keras import export_onnx
from costmodel.registry import Option
from costmodel.sizes import Sizes
from costmodel.uses.matching import Choice, clock_of
from morphnet_core.pricing import Count

_LOG = logging.getLogger("costmodel")
Answer = TypeVar("Answer")


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
        wait: for a device that another profiler holds, rather than to refuse.
    """

    runner: str = "ort"
    options: Mapping[str, Option] = field(default_factory=dict)
    plan: Plan = DEFAULT_PLAN
    sizes: Sizes = field(default_factory=dict)
    wait: bool = True

    def __call__(self, models: Sequence[Any]) -> list[float]:
        """Latency of each model in ms.

        Raises:
            CostModelError: if one cannot be exported or timed; says why.
            LockedError: if another profiler holds the device, without ``wait``.
        """
        with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
            paths = [
                as_onnx(model, Path(folder) / f"{number}" / "model.onnx", self.sizes)
                for number, model in enumerate(models)
            ]
            rows = _when_free(
                lambda: measure(paths, runner=self.runner, options=self.options, plan=self.plan),
                wait=self.wait,
            )
        for row in rows:
            if not row.has_number:
                message = f"A network could not be timed with {self.runner!r}: {row.reason}."
                raise CostModelError(message)
        return [row.latency_ms for row in rows]


def _when_free(call: Callable[[], Answer], *, wait: bool) -> Answer:
    """What a call returns once nobody else holds the device that it needs."""
    while True:
        try:
            return call()
        except LockedError as error:
            if not wait:
                raise
            wait_for(error, _LOG.warning)


def device_clock(
    cost: Count | CostModel,
    *,
    runner: str | Runner | None = None,
    options: Mapping[str, Option] | None = None,
    threads: int | None = None,
    rounds: int | None = None,
    wait: bool = True,
) -> DeviceClock | None:
    """A clock on the device that prices are of; None, with the reason told, where there is none.

    Args:
        cost: prices; in another unit than milliseconds nothing is timed.
        runner: to time with, instead of the one that made the table.
        options: of the runner.
        threads: the same as ``options={"threads": ...}``.
        rounds: most visits to a network; 12 by default.
        wait: for a device that another profiler holds, rather than to refuse.

    Raises:
        DeviceMismatchError: if the runner that was asked for is another device than the prices'.
        InvalidInputError: if it is not known.
    """
    if cost.unit != "ms" or isinstance(cost, Count):
        return None
    choice, device = Choice.of(runner, options, threads), cost.device
    named, reason = _when_free(lambda: clock_of(choice, device), wait=wait)
    if named is None:
        _LOG.info("Predicted only: %s.", reason)
        return None
    plan = DEFAULT_PLAN.with_rounds(rounds)
    return DeviceClock(runner=named[0], options=named[1], plan=plan, wait=wait)


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
