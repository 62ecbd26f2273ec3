"""Sessions and input binding, the same for lowering, single Ops and whole models."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.runners.ort.bound import (
    BoundSession,
    UnfitInputError,
    aligned,
    feed_of,
    input_values,
)
from costmodel.runners.ort.providers import CPU, Setup
from costmodel.runners.workload import RunsWorkload


def make_session(
    model: bytes | str, options: onnxruntime.SessionOptions, setup: Setup = CPU
) -> onnxruntime.InferenceSession:
    """A session on one provider; nodes that it does not take run on the CPU.

    Raises:
        InvalidInputError: if the provider could not be started, for which the runtime would only
            warn and run everything on the CPU.
    """
    if setup.provider.memory == "dml":
        options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(
        model, options, providers=setup.listing, enable_fallback=0
    )
    started = session.get_providers()
    if setup.provider.name not in started:
        message = (
            f"{setup.provider.name} is installed but could not be started, so the runtime would "
            f"use {', '.join(started)}. Its libraries or driver are missing, or its options "
            f"{dict(setup.options)} are wrong; the runtime prints why when a session is made with "
            "log_severity_level 0."
        )
        raise InvalidInputError(message)
    return session


def write_basic(source: Path, target: Path) -> set[str]:
    """Write the graph after the rewriting that is the same for every provider.

    Args:
        source: model file.
        target: where the rewritten graph goes.

    Returns:
        Names of the inputs that it is fed.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    return {item.name for item in make_session(str(source), options).get_inputs()}


@cache
def _values() -> NDArray[np.float32]:
    """Standard normal numbers that inputs are cut from."""
    drawn = np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
    values: NDArray[np.float32] = aligned(drawn)
    return values


def random_input(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Input values: normal for floats, never all zero; zeros for integers, always valid indices."""
    values: NDArray[np.generic] = input_values(shape, dtype, _values())
    return values


def random_feed(session: onnxruntime.InferenceSession) -> dict[str, NDArray[np.generic]]:
    """A value for every input of a session whose sizes are bound.

    Raises:
        ModelFormatError: if an input is no tensor of known size, or of a type without values.
    """
    try:
        return feed_of(session, random_input)
    except UnfitInputError as error:
        raise ModelFormatError(str(error)) from error


def run_within(
    session: onnxruntime.InferenceSession,
    feed: Mapping[str, NDArray[np.generic]],
    patience_s: float,
) -> None:
    """Run a session once; the runtime gives up, with an error of its own, when it takes too long.

    Args:
        session: to run.
        feed: input values by name.
        patience_s: longest that it may take, in seconds; looked at between two nodes.
    """
    options = onnxruntime.RunOptions()
    watch = threading.Timer(patience_s, setattr, (options, "terminate", True))
    watch.daemon = True
    watch.start()
    try:
        session.run(None, dict(feed), options)
    finally:
        watch.cancel()


def is_from_runtime(error: Exception) -> bool:
    """Whether ONNX Runtime raised this, which has exceptions of its own and plain ones of C++."""
    return type(error) is RuntimeError or type(error).__module__.startswith("onnxruntime")


@contextmanager
def refused_as(reason: str) -> Iterator[None]:
    """Raise what the runtime raises in the body as a ``ModelFormatError``.

    Args:
        reason: what is said before the runtime's own words.
    """
    try:
        yield
    except Exception as error:
        if not is_from_runtime(error):
            raise
        message = f"{reason}: {error}"
        raise ModelFormatError(message) from error


class SessionWorkload(RunsWorkload):
    """One session with bound inputs and outputs; a ``Workload``.

    Args:
        session: ready to run.
        feed: input values by name; kept alive as long as the workload.
        replicas: executions of the Op in one run of the session.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``replicas``.
        keep: values that the session reads without owning them.
        threads: of the session.
        setup: its provider; with one that has memory of its own, inputs and outputs lie there.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        feed: Mapping[str, NDArray[np.generic]],
        *,
        replicas: float = 1,
        overhead_ms: float = 0.0,
        keep: Sequence[object] = (),
        threads: int = 1,
        setup: Setup = CPU,
    ) -> None:
        super().__init__(kernels=replicas, overhead_ms=overhead_ms)
        memory = setup.provider.memory
        self._bound: Any = BoundSession(session, feed, threads, memory, setup.device_id)
        self._keep = tuple(keep)

    def _time(self, count: int) -> float:
        return float(self._bound.time(count))

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of what the last run wrote."""
        return tuple(map(tuple, self._bound.output_shapes()))

    def _release(self) -> None:
        """Drop the session and its threads."""
        self._bound, self._keep = None, ()
