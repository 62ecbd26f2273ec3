"""Runtime: ONNX Runtime's sessions on the device, with inputs and weights made here.

Mirrors ``costmodel.runners.ort``: the files come from the host ready to run, and the host says how
each input, weight and overhead is made. Values do not matter, but where they lie in memory does.
"""

from __future__ import annotations

import os
from functools import lru_cache
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, Callable, Dict

import numpy as np
import onnxruntime

Array = Any
Spec = Dict[str, Any]
#: Bytes of the largest input that is made.
MAX_BYTES = 1 << 31
_FLOATS = ("float", "bfloat")
_MOST_INTEGER = 127
_DRAWN = 1 << 20


class RejectedError(Exception):
    """The runtime refuses a file, or the agent cannot do what the host asks for."""


class MissingFileError(Exception):
    """A file that the host thinks is here is not, or was damaged."""


@lru_cache(maxsize=None)
def _values() -> Array:
    """Standard normal numbers that inputs are cut from."""
    return _normal(0, 1 << 22)


def _normal(seed: int, size: int) -> Array:
    """Normal numbers that repeat: drawing 24 million would take a small board seconds."""
    drawn = np.random.default_rng(seed).standard_normal(_DRAWN, dtype=np.float32)
    return np.resize(drawn, size)


@lru_cache(maxsize=None)
def _pool(size: int, scale: float) -> Array:
    """Numbers that weights are cut from."""
    pool = _normal(7, size)
    pool *= scale
    return pool


@lru_cache(maxsize=None)
def _positive_pool(size: int, scale: float) -> Array:
    return np.abs(_pool(size, scale)[: 1 << 20]) + np.float32(0.5)


@lru_cache(maxsize=None)
def _source(size: int, scale: float, dtype: str, rank: int) -> Array:
    """Values for weights of one type; biases, scales and variances are positive."""
    values = _pool(size, scale) if rank > 1 else _positive_pool(size, scale)
    if dtype == "float32":
        return values
    if dtype.startswith(_FLOATS):
        return values[: size // 2].astype(dtype)
    low = 0 if np.dtype(dtype).kind == "u" else -_MOST_INTEGER
    drawn = np.random.default_rng(7).integers(low, _MOST_INTEGER, _DRAWN, dtype=np.int8)
    return np.resize(drawn, size // 4).astype(dtype)


def make_input(shape: tuple[int, ...], dtype: str) -> Array:
    """Input values: normal for floats, never all zero; zeros for integers, always valid indices."""
    if not dtype.startswith(_FLOATS):
        return np.zeros(shape, dtype=dtype)
    count = prod(shape)
    values = _values()[:count] if count <= _values().size else np.resize(_values(), count)
    return values.reshape(shape).astype(dtype, copy=False)


def make_feed(entries: list[list[Any]]) -> dict[str, Array]:
    """Inputs from ``[name, shape, dtype, slot]``; equal slots share memory, others do not.

    Slot 0 is cut from the common numbers as the host's own first inputs are.
    """
    made: dict[tuple[int, tuple[int, ...], str], Array] = {}
    feed = {}
    for name, shape, dtype, slot in entries:
        key = (slot, tuple(shape), dtype)
        if key not in made:
            value = make_input(tuple(shape), dtype)
            made[key] = value.copy() if slot else value
        feed[name] = made[key]
    return feed


def make_weights(entries: list[list[Any]], pool: Spec) -> dict[str, Array]:
    """Weights from ``[name, shape, dtype]``: views that follow each other through one pool."""
    offset = 0
    weights = {}
    for name, shape, dtype in entries:
        count = prod(shape)
        source = _source(pool["size"], pool["scale"], dtype, min(len(shape), 2))
        if count > len(source):
            values = np.resize(source, count)
        else:
            start = offset % (len(source) - count + 1) // 16 * 16
            values = source[start : start + count]
            offset += count + 16
        weights[name] = values.reshape(shape)
    return weights


def own_cores(threads: int) -> list[int]:
    """A processor for each of several threads; empty for one thread, or where they are too few."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return usable[:threads] if 1 < threads <= len(usable) else []


def session_options(threads: int, settings: dict[str, str], *, optimise: bool) -> Any:
    """Options of every session, as the host's own runner sets them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    cores = own_cores(threads)
    if cores:
        pool = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", pool)
    return options


def make_session(source: Any, options: Any) -> Any:
    """A session on the CPU provider; ``source`` is a path or the file's bytes."""
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def random_feed(session: Any, dtypes: dict[str, str]) -> dict[str, Array]:
    """A value for every input of a session.

    Raises:
        RejectedError: if an input has no known size, or a type that has no values.
    """
    feed = {}
    for item in session.get_inputs():
        dtype = dtypes.get(item.type[len("tensor(") : -1], "")
        fixed = all(isinstance(size, int) for size in item.shape)
        if dtype in ("", "bfloat16", "str") or not fixed:
            text = "input %r is %s of size %s" % (item.name, item.type, item.shape)
            raise RejectedError(text + "; a tensor of numbers with a known size was expected")
        if prod(item.shape) * np.dtype(dtype).itemsize > MAX_BYTES:
            raise RejectedError("input %r of size %s is too large" % (item.name, item.shape))
        feed[item.name] = make_input(tuple(item.shape), dtype)
    return feed


class Workload:
    """One session with bound inputs and outputs.

    Args:
        session: ready to run.
        feed: input values by name.
        kernels: executions of the kernel in one run.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``kernels``.
        keep: values that the session reads without owning them.
        threads: of the session; with several the caller stays on a core of its own while timed.
    """

    def __init__(
        self,
        session: Any,
        feed: dict[str, Array],
        *,
        kernels: float,
        overhead_ms: float,
        keep: list[Any],
        threads: int,
    ) -> None:
        self._session = session
        self._keep = (feed, keep)
        self._binding = session.io_binding()
        for name, value in feed.items():
            self._binding.bind_cpu_input(name, value)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        self._kernels = kernels
        self._overhead_ms = overhead_ms
        self._run_ms = 0.0
        self._core = own_cores(threads)[:1]

    def block(self, min_ms: float) -> tuple[float, float, int]:
        """Run for ``min_ms`` or longer; returns ms per kernel, wall ms, and kernels executed."""
        if self._run_ms <= 0:
            self._run_ms = self._time(1)
        count = max(1, -(-int(min_ms * 1e6) // max(1, int(self._run_ms * 1e6))))
        wall_ms = self._time(count)
        while wall_ms < min_ms:  # the first estimate was slow: caches were cold
            count = max(count + 1, int(count * 1.2 * min_ms / wall_ms))
            wall_ms = self._time(count)
        self._run_ms = min(self._run_ms, wall_ms / count)
        net_ms = max(wall_ms / count - self._overhead_ms, 0.02 * wall_ms / count)
        return net_ms / self._kernels, wall_ms, max(1, round(count * self._kernels))

    def _time(self, count: int) -> float:
        run = self._session._sess.run_with_iobinding
        binding = self._binding._iobinding
        former = os.sched_getaffinity(0) if self._core else set()
        if self._core:
            os.sched_setaffinity(0, self._core)
        start = perf_counter()
        for _ in range(count):
            run(binding, None)
        wall_ms = (perf_counter() - start) * 1e3
        if former:
            os.sched_setaffinity(0, former)
        return wall_ms

    def output_shapes(self) -> list[list[int]]:
        """Sizes of what the last run wrote."""
        return [list(value.shape()) for value in self._binding.get_outputs()]


class Loader:
    """Makes workloads from what the host says about them.

    Args:
        setup: the host's settings: ``threads``, ``settings``, ``dtypes``, ``pool`` and the graphs
            ``overheads`` of a run, of further inputs and of readers.
        find: path of a stored file by its digest, or None.
    """

    def __init__(self, setup: Spec, find: Callable[[str], Path | None]) -> None:
        self._setup = setup
        self._find = find
        self._overheads: tuple[float, float, float] | None = None

    def path(self, digest: str) -> Path:
        """A stored file.

        Raises:
            MissingFileError: if it is not here, or was damaged.
        """
        path = self._find(digest)
        if path is None:
            raise MissingFileError(digest)
        return path

    def load(self, spec: Spec) -> Workload:
        """A workload of one kernel, or of a whole network where ``spec`` says so.

        Raises:
            RejectedError: if an input cannot be made.
            MissingFileError: as ``path``.
        """
        threads, settings = self._setup["threads"], self._setup["settings"]
        path = self.path(spec["file"])
        if spec.get("whole"):
            session = make_session(str(path), session_options(threads, settings, optimise=True))
            feed = random_feed(session, self._setup["dtypes"])
            return Workload(session, feed, kernels=1, overhead_ms=0.0, keep=[], threads=threads)
        options = session_options(threads, settings, optimise=False)
        weights = make_weights(spec["weights"], self._setup["pool"])
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in weights.values()]
        if spec["inline"]:
            for name, value in zip(weights, values):
                options.add_initializer(name, value)
        elif values:
            options.add_external_initializers(list(weights), values)
        feed = make_feed(spec["feed"])
        return Workload(
            make_session(path.read_bytes(), options),
            feed,
            kernels=spec["kernels"],
            overhead_ms=self._overhead_ms(spec, len(feed)),
            keep=[values, weights],
            threads=threads,
        )

    def _overhead_ms(self, spec: Spec, inputs: int) -> float:
        if not spec.get("net"):
            return 0.0
        if self._overheads is None:
            run, fed, read = (self._least(graph) for graph in self._setup["overheads"])
            more, readers = self._setup["overheads"][1:]
            feed_ms = (fed - run) / (len(more["feed"]) - 1)
            read_ms = (read - run) / readers["readers"]
            self._overheads = (run, max(feed_ms, 0.0), max(read_ms, 0.0))
        run, feed_ms, read_ms = self._overheads
        return run + feed_ms * (inputs - 1) + read_ms * float(spec["readers"])

    def _least(self, spec: Spec) -> float:
        workload = self.load(spec)
        return min(workload.block(0.5)[0] for _ in range(20))
