"""Sessions whose inputs and outputs stay where they are, run in stretches and timed.

Python 3.8 and nothing of ours but ``costmodel.timing``: a remote device gets this very file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime

from costmodel.timing.cores import own_cores, stay_on, usable_cores

#: Settings that change what is executed or how fast; part of the device's identity.
SETTINGS = {
    "session.intra_op.allow_spinning": "1",
    # Pruned networks are full of denormal weights, which are 10 to 30 times slower on x86.
    "session.set_denormal_as_zero": "1",
}

#: numpy types of the element types that ONNX Runtime prints.
DTYPES = {
    "float": "float32",
    "double": "float64",
    "string": "str",
    **{
        name: name
        for name in (
            *("float16", "bfloat16", "int64", "int32", "int16", "int8"),
            *("uint8", "uint16", "uint32", "uint64", "bool"),
        )
    },
}

#: From so many bytes on numpy asks for large pages.
_LARGE_BYTES = 1 << 22
#: Largest input or weight that is made.
MAX_BYTES = 1 << 31


def session_options(threads: int, *, optimise: bool, ordered: bool = False) -> Any:
    """Options of every session: sequential, fixed threads pinned one to a core.

    Args:
        threads: intra-op threads; the calling thread is one of them.
        optimise: all graph optimisations, or none for graphs that already went through them.
        ordered: run nodes as they are written; else independent chains run one after the other.
    """
    options = onnxruntime.SessionOptions()
    if ordered:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    for key, value in SETTINGS.items():
        options.add_session_config_entry(key, value)
    cores = own_cores(threads)
    if cores:
        # The runtime numbers processors from 1; the calling thread's is the first.
        pool = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", pool)
    return options


#: Where the runtime lets its own tensors begin: at a cache line, which is a whole vector.
ALIGNMENT = 64


def aligned(values: Any, *, copy: bool = False) -> Any:
    """The same values where the runtime's own tensors would begin.

    numpy starts an array at any 16 bytes, and then every vector of AVX-512 is read from two cache
    lines: convolutions take up to 20 % longer than in a network.

    Args:
        values: an array; one of texts is returned as it is.
        copy: whether memory of its own is wanted in any case.
    """
    if values.dtype == object:
        return values
    if not copy and values.ctypes.data % ALIGNMENT == 0 and _lies_well(values):
        return values
    found = _room(values.size, values.dtype).reshape(values.shape)
    found[...] = values
    return found


def _lies_well(values: Any) -> bool:
    """Whether an array is in one piece and, if large, in pages of the usual size.

    numpy's own large arrays begin at a cache line now and then, where it takes up memory again.
    """
    if not values.flags.c_contiguous or values.nbytes < _LARGE_BYTES:
        return bool(values.flags.c_contiguous)
    holder = values
    while isinstance(holder, np.ndarray):
        holder = holder.base
    return isinstance(holder, mmap.mmap) or isinstance(getattr(holder, "obj", None), mmap.mmap)


def _room(count: int, dtype: Any) -> Any:
    """An aligned vector of anything, in pages of the usual size.

    For large arrays numpy asks Linux for pages of 2 MiB and the runtime does not: a convolution of
    9 MiB of weights that lie in such pages takes 630 us instead of 731.
    """
    length = count * np.dtype(dtype).itemsize
    if length >= _LARGE_BYTES:
        held: Any = np.frombuffer(mmap.mmap(-1, length), dtype=np.uint8)
    else:
        held = np.empty(length + ALIGNMENT, dtype=np.uint8)
    start = -held.ctypes.data % ALIGNMENT
    return held[start : start + length].view(dtype)


def _repeated(values: Any, count: int) -> Any:
    """``count`` values from a vector, aligned: itself again and again."""
    found = _room(count, values.dtype)
    for start in range(0, count, len(values)):
        piece = found[start : start + len(values)]
        piece[:] = values[: len(piece)]
    return found


def input_values(shape: tuple[int, ...], dtype: str, normal: Any) -> Any:
    """Input values: normal for floats, never all zero; zeros for integers, always valid indices.

    Args:
        shape: sizes.
        dtype: element type; texts are all the same.
        normal: normal numbers that floats are cut from; repeated where they are too few.
    """
    if dtype == "str":
        return np.full(shape, "a", dtype=object)
    if not dtype.startswith(("float", "bfloat")):
        return aligned(np.zeros(shape, dtype=dtype))
    count = prod(shape)
    values = normal[:count] if count <= normal.size else _repeated(normal, count)
    return aligned(values.reshape(shape).astype(dtype, copy=False))


class UnfitInputError(Exception):
    """An input of a model that no value can be made for."""


def feed_of(session: Any, make: Callable[[tuple[int, ...], str], Any]) -> dict[str, Any]:
    """A value for every input of a session whose sizes are bound.

    Args:
        session: whose inputs.
        make: the value of a size and an element type.

    Raises:
        UnfitInputError: if an input is no tensor of known size, of a type without values, or huge.
    """
    feed = {}
    for item in session.get_inputs():
        dtype = DTYPES.get(item.type[len("tensor(") : -1], "")
        if dtype in ("", "bfloat16") or not all(isinstance(n, int) for n in item.shape):
            message = (
                f"Input {item.name!r} is {item.type} of size {item.shape}. Expected a tensor of "
                "a known size, of numbers that numpy has, or of texts."
            )
            raise UnfitInputError(message)
        if prod(item.shape) * (8 if dtype == "str" else np.dtype(dtype).itemsize) > MAX_BYTES:
            message = f"Input {item.name!r} of size {item.shape} is over {MAX_BYTES >> 30} GiB."
            raise UnfitInputError(message)
        feed[item.name] = make(tuple(item.shape), dtype)
    return feed


def weight_cut(source: Any, shape: tuple[int, ...], offset: int) -> tuple[Any, int]:
    """Values of one weight, and where the next one starts.

    Args:
        source: a pool of numbers, aligned, repeated where they are too few.
        shape: sizes of the weight.
        offset: where in the pool it may start.
    """
    count = prod(shape)
    if count > len(source):
        return _repeated(source, count).reshape(shape), offset
    line = ALIGNMENT // source.itemsize
    start = offset % (len(source) - count + 1) // line * line
    return source[start : start + count].reshape(shape), offset + count + line


class BoundSession:
    """One session with bound inputs and outputs.

    Args:
        session: ready to run.
        feed: input values by name; kept alive as long as this is.
        threads: of the session. With several, the calling thread stays on a processor of its own
            while it is timed: beside a spinning pool thread it would get half of one.
        memory: where inputs and outputs lie; other than ``cpu``, a stretch ends when the device has
            done all of it.
        device_id: number of the device that the memory belongs to.
    """

    def __init__(
        self,
        session: Any,
        feed: Mapping[str, Any],
        threads: int = 1,
        memory: str = "cpu",
        device_id: int = 0,
    ) -> None:
        self._session = session
        self._kept = [feed]
        self._binding = session.io_binding()
        self._memory = memory
        self._core = own_cores(threads)[:1]
        # The runtime binds no texts: they are handed over anew in every run.
        self._texts = any(value.dtype == object for value in feed.values())
        if self._texts:
            return
        for name, value in feed.items():
            if memory == "cpu":
                self._binding.bind_cpu_input(name, value)
                continue
            there = onnxruntime.OrtValue.ortvalue_from_numpy(value, memory, device_id)
            self._binding.bind_ortvalue_input(name, there)
            self._kept.append(there)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, memory, device_id)

    def time(self, count: int) -> float:
        """Wall milliseconds of ``count`` runs; calls the binding itself, its wrapper costs 1 us."""
        run = self._session._sess.run_with_iobinding
        arguments: tuple[Any, ...] = (self._binding._iobinding, None)
        if self._texts:
            run = self._session._sess.run
            arguments = ([item.name for item in self._session.get_outputs()], self._kept[0], None)
        former = usable_cores() if self._core else []
        stay_on(self._core)
        if self._memory != "cpu":
            self._binding.synchronize_inputs()
        start = perf_counter()
        for _ in range(count):
            run(*arguments)
        if self._memory != "cpu":
            self._binding.synchronize_outputs()
        wall_ms = (perf_counter() - start) * 1e3
        stay_on(former)
        return wall_ms

    def output_shapes(self) -> list[list[int]]:
        """Sizes of what the last run wrote."""
        return [list(value.shape()) for value in self._binding.get_outputs()]
