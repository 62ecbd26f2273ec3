"""Times a compiled program: argument sets taking turns, overhead subtracted, devices waited for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from math import prod
from time import perf_counter
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.protocols import Block
from costmodel.runners.workload import BaseWorkload
from costmodel.timing.stretch import Stretches, kernel_time

#: Largest single argument that is made.
MAX_BYTES = 1 << 31
#: Rounds of the empty program beside one block, at most.
_MOST_EMPTY = 50


class XlaWorkload(BaseWorkload):
    """A compiled program with its arguments on the device; a ``Workload``.

    Calls are queued and waited for once per block, as far as the platform is asynchronous; no copy
    to or from the device lies inside a block.

    Args:
        executable: compiled function of one argument each.
        turns: argument lists that calls take in turn, so that none finds its data in near caches.
        replicas: executions of the Op in one call.
        reference: an empty program of the same arguments; its least time is subtracted.
        extra_ms: added to each execution: what a network's call pays to pass on its weights.
    """

    def __init__(
        self,
        executable: Any,
        turns: Sequence[Sequence[Any]],
        *,
        replicas: int = 1,
        reference: Any = None,
        extra_ms: float = 0.0,
    ) -> None:
        self._call = executable
        self._turns = [list(turn) for turn in turns]
        self._replicas = replicas
        self._reference = reference
        self._extra_ms = extra_ms
        self._empty_ms = 0.0
        self._stretches: Stretches | None = None

    def _block(self, min_ms: float) -> Block:
        if self._stretches is None:
            self._time(self._call, len(self._turns))  # the first call also sets things up
            self._stretches = Stretches(partial(self._time, self._call), len(self._turns))
        count, wall_ms = self._stretches.run(min_ms)
        empty_ms = self._time_empty(count)
        latency_ms, runs = kernel_time(count, wall_ms, empty_ms, self._replicas)
        return Block(latency_ms=latency_ms + self._extra_ms, wall_ms=wall_ms, runs=runs)

    def _time_empty(self, count: int) -> float:
        """Least time of one call that does nothing, seen so far: it is a constant, its noise not.

        It is timed beside every block with the same arguments, because what a call costs depends on
        how many there are and on how long ago they were last touched.
        """
        if self._reference is None:
            return 0.0
        if not self._empty_ms:
            self._time(self._reference, len(self._turns))
        empty_ms = self._time(self._reference, min(count, _MOST_EMPTY * len(self._turns)))
        empty_ms /= min(count, _MOST_EMPTY * len(self._turns))
        self._empty_ms = min(self._empty_ms or empty_ms, empty_ms)
        return self._empty_ms

    def _time(self, call: Any, count: int) -> float:
        """Wall milliseconds of ``count`` calls, waited for at the end."""
        turns = self._turns
        rounds = max(1, count // len(turns))
        result: Any = None
        start = perf_counter()
        for _ in range(rounds):
            for turn in turns:
                result = call(*turn)
        jax.block_until_ready(result)
        return (perf_counter() - start) * 1e3 * count / (rounds * len(turns))

    def _release(self) -> None:
        """Drop the executable and its arguments."""
        self._call = self._reference = self._stretches = None
        self._turns = []


@cache
def _pool() -> NDArray[np.float32]:
    """Numbers that arguments are cut from: positive, so that each is a valid variance."""
    rng = np.random.default_rng(7)
    values = np.abs(rng.standard_normal(1 << 22, dtype=np.float32))
    return np.asarray((values + np.float32(0.05)) * np.float32(0.1))


def random_argument(shape: Sequence[int], dtype: Any, device: Any) -> Any:
    """An array on the device: small positive floats, zeros for whole numbers (valid indices).

    Raises:
        InvalidInputError: if it would be larger than ``MAX_BYTES``.
    """
    kind = np.dtype(dtype)
    count = prod(shape)
    if count * kind.itemsize > MAX_BYTES:
        message = f"An argument of size {tuple(shape)} is over {MAX_BYTES >> 30} GiB."
        raise InvalidInputError(message)
    if not jax.numpy.issubdtype(kind, np.floating):
        return jax.device_put(np.zeros(shape, kind), device)
    values = _pool()[:count] if count <= _pool().size else np.resize(_pool(), count)
    return jax.device_put(values.reshape(shape).astype(kind), device)
