"""Runtime: ONNX Runtime's sessions on the device, with inputs and weights made here.

Mirrors ``costmodel.runners.ort``: the files come from the host ready to run, and the host says how
each input, weight and overhead is made. Values do not matter, but where they lie in memory does.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple

import numpy as np
import onnxruntime

from costmodel.runners.ort.bound import (
    BoundSession,
    aligned,
    feed_of,
    input_values,
    session_options,
    weight_cut,
)
from costmodel.timing.stretch import Stretches, kernel_time

Array = Any
Spec = Dict[str, Any]
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
    return aligned(np.resize(drawn, size))


@lru_cache(maxsize=None)
def _pool(size: int, scale: float) -> Array:
    """Numbers that weights are cut from."""
    pool = _normal(7, size)
    pool *= scale
    return pool


@lru_cache(maxsize=None)
def _positive_pool(size: int, scale: float) -> Array:
    return aligned(np.abs(_pool(size, scale)[: 1 << 20]) + np.float32(0.5))


@lru_cache(maxsize=None)
def _source(size: int, scale: float, dtype: str, rank: int) -> Array:
    """Values for weights of one type; biases, scales and variances are positive."""
    values = _pool(size, scale) if rank > 1 else _positive_pool(size, scale)
    if dtype == "float32":
        return values
    if dtype.startswith(_FLOATS):
        return aligned(values[: size // 2].astype(dtype))
    low = 0 if np.dtype(dtype).kind == "u" else -_MOST_INTEGER
    drawn = np.random.default_rng(7).integers(low, _MOST_INTEGER, _DRAWN, dtype=np.int8)
    return aligned(np.resize(drawn, size // 4).astype(dtype))


def make_input(shape: tuple[int, ...], dtype: str) -> Array:
    """Values of one input."""
    return input_values(shape, dtype, _values())


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
            made[key] = aligned(value, copy=True) if slot else value
        feed[name] = made[key]
    return feed


def make_weights(entries: list[list[Any]], pool: Spec) -> dict[str, Array]:
    """Weights from ``[name, shape, dtype]``: views that follow each other through one pool."""
    offset = 0
    weights = {}
    for name, shape, dtype in entries:
        source = _source(pool["size"], pool["scale"], dtype, min(len(shape), 2))
        weights[name], offset = weight_cut(source, shape, offset)
    return weights


def make_session(source: Any, options: Any) -> Any:
    """A session on the CPU provider; ``source`` is a path or the file's bytes."""
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Block(NamedTuple):
    """One timed stretch: ms per kernel, wall ms, and kernels executed."""

    latency_ms: float
    wall_ms: float
    runs: int


class Workload:
    """One session with bound inputs and outputs.

    Args:
        bound: the session.
        kernels: executions of the kernel in one run.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``kernels``.
        keep: values that the session reads without owning them.
    """

    def __init__(
        self, bound: BoundSession, *, kernels: float, overhead_ms: float, keep: list[Any]
    ) -> None:
        self._keep = keep
        self._kernels = kernels
        self._overhead_ms = overhead_ms
        self._stretches = Stretches(bound.time)
        self.output_shapes = bound.output_shapes

    def block(self, min_ms: float) -> Block:
        """Run for ``min_ms`` or longer."""
        count, wall_ms = self._stretches.run(min_ms)
        latency_ms, runs = kernel_time(count, wall_ms, self._overhead_ms, self._kernels)
        return Block(latency_ms, wall_ms, runs)


class Loader:
    """Makes workloads from what the host says about them.

    Args:
        setup: the host's settings: ``threads``, ``pool`` and the graphs ``overheads`` of a run, of
            further inputs and of readers.
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
            UnfitInputError: if an input cannot be made.
            MissingFileError: as ``path``.
        """
        threads = self._setup["threads"]
        path = self.path(spec["file"])
        if spec.get("whole"):
            session = make_session(str(path), session_options(threads, optimise=True))
            whole = BoundSession(session, feed_of(session, make_input), threads)
            return Workload(whole, kernels=1, overhead_ms=0.0, keep=[])
        options = session_options(threads, optimise=False, ordered=spec["ordered"])
        weights = make_weights(spec["weights"], self._setup["pool"])
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in weights.values()]
        if spec["inline"]:
            for name, value in zip(weights, values):
                options.add_initializer(name, value)
        elif values:
            options.add_external_initializers(list(weights), values)
        feed = make_feed(spec["feed"])
        return Workload(
            BoundSession(make_session(path.read_bytes(), options), feed, threads),
            kernels=spec["kernels"],
            overhead_ms=self._overhead_ms(spec, len(feed)),
            keep=[values, weights],
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
        return min(workload.block(0.5).latency_ms for _ in range(20))
