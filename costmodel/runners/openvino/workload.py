"""Times inference requests: blocks of runs with inputs resident, a baseline subtracted."""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from costmodel.errors import ModelFormatError
from costmodel.protocols import Block
from costmodel.runners.openvino.core import ov
from costmodel.runners.workload import BaseWorkload
from costmodel.timing.stretch import LEAST_SHARE, Stretches

#: Largest input or weight that is made.
MAX_BYTES = 1 << 31
#: Share of a block's time that its baseline is timed for.
_BASELINE_SHARE = 0.15
_RNG_SEED = 0


def runtime_reason(error: Exception) -> str:
    """What went wrong, without the places in the runtime's sources."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [line for line in lines if line and not line.startswith("Exception from src")]
    return " ".join(kept)[:400]


def fill_inputs(request: Any, compiled: Any, name: str) -> None:
    """Put values into every input tensor: normal floats, zeros for whole numbers, one text.

    Raises:
        ModelFormatError: if an input has no known size or is too large.
    """
    rng = np.random.default_rng(_RNG_SEED)
    for index, port in enumerate(compiled.inputs):
        if port.get_partial_shape().is_dynamic:
            message = f"{name}: input {port.get_any_name()!r} has no fixed size."
            raise ModelFormatError(message)
        shape = tuple(int(n) for n in port.get_shape())
        if prod(shape) * 4 > MAX_BYTES:
            message = f"{name}: an input of size {shape} is over {MAX_BYTES >> 30} GiB."
            raise ModelFormatError(message)
        tensor = request.get_input_tensor(index)
        kind = port.get_element_type().to_string()
        if kind in {"f32", "f16", "f64"}:
            tensor.data[...] = rng.standard_normal(shape, dtype=np.float32)
        elif kind == "bf16":
            values = rng.standard_normal(shape, dtype=np.float32).view(np.uint32) >> 16
            tensor.data.view(np.uint16)[...] = values.astype(np.uint16)
        elif kind == "u8":
            tensor.data[...] = rng.integers(0, 255, shape, dtype=np.uint8)
        elif kind == "string":
            # ``data`` of a text is a copy, and writing into it ends the process.
            tensor.str_data = np.full(shape, "a")
        else:
            tensor.data[...] = 0


class Timed:
    """One compiled model with a request that can be run and timed."""

    def __init__(self, compiled: Any, name: str) -> None:
        self.compiled = compiled
        self.request = compiled.create_infer_request()
        fill_inputs(self.request, compiled, name)
        # The method of the base class: its wrapper copies results and costs 10 us more.
        self._infer = ov._pyopenvino.InferRequest.infer
        self._stretches = Stretches(self._time)
        self.least_ms = float("inf")

    def stretch(self, min_ms: float) -> tuple[float, float, int]:
        """Run for at least ``min_ms``: milliseconds per run, in all, and runs."""
        count, wall_ms = self._stretches.run(min_ms)
        self.least_ms = min(self.least_ms, wall_ms / count)
        return wall_ms / count, wall_ms, count

    def _time(self, count: int) -> float:
        infer, request = self._infer, self.request
        nothing: dict[str, object] = {}
        start = perf_counter()
        for _ in range(count):
            infer(request, nothing, True, False)  # noqa: FBT003 - share outputs, decode no text
        return (perf_counter() - start) * 1e3


class InferWorkload(BaseWorkload):
    """A model, or replicas of a kernel less the same graph without them; a ``Workload``.

    Args:
        full: what is timed.
        replicas: executions of the kernel in one run.
        baseline: the same graph without the kernels; its least time so far is subtracted.
        extra_ms: further fixed cost of one run of ``full``.
    """

    def __init__(
        self,
        full: Timed,
        *,
        replicas: int = 1,
        baseline: Timed | None = None,
        extra_ms: float = 0.0,
    ) -> None:
        self._full: Timed | None = full
        self._replicas = replicas
        self._baseline = baseline
        self._extra_ms = extra_ms

    def _block(self, min_ms: float) -> Block:
        assert self._full is not None
        spent_ms = 0.0
        if self._baseline is not None:
            spent_ms = self._baseline.stretch(_BASELINE_SHARE * min_ms)[1]
        run_ms, wall_ms, count = self._full.stretch(max(min_ms - spent_ms, 0.5 * min_ms))
        net_ms = run_ms * self._share()
        return Block(
            latency_ms=net_ms / self._replicas,
            wall_ms=wall_ms + spent_ms,
            runs=count * self._replicas,
        )

    def _share(self) -> float:
        """The kernels' share of a run, from the least times so far.

        What slows a machine down slows kernels and neighbours alike: their difference, taken block
        by block, would swing by several times as much.
        """
        if self._full is None or self._baseline is None:
            return 1.0
        least_ms = self._full.least_ms
        return max(1.0 - (self._baseline.least_ms + self._extra_ms) / least_ms, LEAST_SHARE)

    def _release(self) -> None:
        """Drop the compiled models."""
        self._full = self._baseline = None
