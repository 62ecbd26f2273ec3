"""Sessions and input binding, the same for lowering, single Ops and whole models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.protocols import Block
from costmodel.runners.ort.providers import CPU, Setup
from costmodel.runners.stretch import Stretches

#: Settings that change what is executed or how fast; part of the device's identity.
SETTINGS = {
    "session.intra_op.allow_spinning": "1",
    # Pruned networks are full of denormal weights, which are 10 to 30 times slower on x86.
    "session.set_denormal_as_zero": "1",
}

#: numpy types of the element types that ONNX Runtime prints.
DTYPES: Mapping[str, str] = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "bool": "bool",
    "string": "str",
}


#: Largest input or weight that is made.
MAX_BYTES = 1 << 31


def session_options(threads: int, *, optimise: bool) -> onnxruntime.SessionOptions:
    """Options of every session: sequential, fixed threads pinned one to a core.

    Args:
        threads: intra-op threads; the calling thread is one of them.
        optimise: all graph optimisations, or none for graphs that already went through them.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    for key, value in SETTINGS.items():
        options.add_session_config_entry(key, value)
    if cores := own_cores(threads):
        # The runtime numbers processors from 1; the calling thread's is the first.
        pool = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", pool)
    return options


def own_cores(threads: int) -> list[int]:
    """A processor for each of several threads; empty for one thread, or where they are too few."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return usable[:threads] if 1 < threads <= len(usable) else []


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
    return np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)


def random_input(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Input values: normal for floats, never all zero; zeros for integers, always valid indices."""
    if not dtype.startswith(("float", "bfloat")):
        return np.zeros(shape, dtype=dtype)
    count = prod(shape)
    values = _values()[:count] if count <= _values().size else np.resize(_values(), count)
    return values.reshape(shape).astype(dtype, copy=False)


def random_feed(session: onnxruntime.InferenceSession) -> dict[str, NDArray[np.generic]]:
    """A value for every input of a session whose sizes are bound.

    Raises:
        ModelFormatError: if an input is no tensor of known size, or of a type without values.
    """
    feed: dict[str, NDArray[np.generic]] = {}
    for item in session.get_inputs():
        dtype = DTYPES.get(item.type.removeprefix("tensor(").removesuffix(")"), "")
        if dtype in {"", "bfloat16", "str"} or not all(isinstance(n, int) for n in item.shape):
            message = (
                f"Input {item.name!r} is {item.type} of size {item.shape}. "
                "Expected a tensor of numbers with a known size."
            )
            raise ModelFormatError(message)
        if prod(item.shape) * np.dtype(dtype).itemsize > MAX_BYTES:
            message = f"Input {item.name!r} of size {item.shape} is over {MAX_BYTES >> 30} GiB."
            raise ModelFormatError(message)
        feed[item.name] = random_input(tuple(item.shape), dtype)
    return feed


def is_from_runtime(error: Exception) -> bool:
    """Whether ONNX Runtime raised this, which has exceptions of its own and plain ones of C++."""
    return type(error) is RuntimeError or type(error).__module__.startswith("onnxruntime")


class SessionWorkload:
    """One session with bound inputs and outputs; a ``Workload``.

    Args:
        session: ready to run.
        feed: input values by name; kept alive as long as the workload.
        replicas: executions of the Op in one run of the session.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``replicas``.
        keep: values that the session reads without owning them.
        threads: of the session. With several, the calling thread stays on a processor of its own
            while it is timed: beside a spinning pool thread it would get half of one.
        setup: its provider; with one that has memory of its own, inputs and outputs lie there, and
            a block ends when the device has done all of it.
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
        # The runtime's Python API has no types.
        self._session: Any = session
        self._feed = feed
        self._keep: tuple[object, ...] = tuple(keep)
        self._binding: Any = session.io_binding()
        self._memory = setup.provider.memory
        for name, value in feed.items():
            if self._memory == "cpu":
                self._binding.bind_cpu_input(name, value)
                continue
            there = onnxruntime.OrtValue.ortvalue_from_numpy(value, self._memory, setup.device_id)
            self._binding.bind_ortvalue_input(name, there)
            self._keep = (*self._keep, there)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, self._memory, setup.device_id)
        self._replicas = replicas
        self._overhead_ms = overhead_ms
        self._stretches = Stretches(self._time)
        self._core = own_cores(threads)[:1]

    def block(self, min_ms: float) -> Block:
        """Run until ``min_ms`` have passed, by a count set before: no clock is read inside.

        Raises:
            InvalidInputError: if the workload is closed.
        """
        if self._session is None:
            message = "This workload is closed. Load the Op or model again to time it."
            raise InvalidInputError(message)
        count, wall_ms = self._stretches.run(min_ms)
        net_ms = max(wall_ms / count - self._overhead_ms, 0.02 * wall_ms / count)
        return Block(
            latency_ms=net_ms / self._replicas,
            wall_ms=wall_ms,
            runs=max(1, round(count * self._replicas)),
        )

    def _time(self, count: int) -> float:
        """Wall milliseconds of ``count`` runs; calls the binding itself, its wrapper costs 1 us."""
        run = self._session._sess.run_with_iobinding
        binding = self._binding._iobinding
        former = os.sched_getaffinity(0) if self._core else set()
        if self._core:
            os.sched_setaffinity(0, self._core)
        if self._memory != "cpu":
            self._binding.synchronize_inputs()
        start = perf_counter()
        for _ in range(count):
            run(binding, None)
        if self._memory != "cpu":
            self._binding.synchronize_outputs()
        wall_ms = (perf_counter() - start) * 1e3
        if former:
            os.sched_setaffinity(0, former)
        return wall_ms

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of what the last run wrote."""
        return tuple(tuple(value.shape()) for value in self._binding.get_outputs())

    def close(self) -> None:
        """Drop the session and its threads; closing again does nothing."""
        self._binding = self._session = None
        self._feed = {}
        self._keep = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
