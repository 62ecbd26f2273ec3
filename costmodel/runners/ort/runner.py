"""OrtRunner: ONNX Runtime on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import onnxruntime

from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.network import Network
from costmodel.onnx_model.inputs import bound_model
from costmodel.op import SESSION, Op, Shape
from costmodel.runners.ort.device import this_device
from costmodel.runners.ort.lower import lower, runtime_version, session_op
from costmodel.runners.ort.rebuild import RELABEL, Rebuilt, num_turns, readers_graph, rebuild
from costmodel.runners.ort.session import (
    SETTINGS,
    SessionWorkload,
    is_from_runtime,
    make_session,
    random_feed,
    session_options,
)

#: Channel block of the NCHWc layout per instruction set, as MLAS chooses it.
BLOCKS = {"avx512": 16, "avx2": 8}
#: Kernels quicker than this are timed as replicas in one graph, so that overhead drops out.
REPLICATE_BELOW_MS = 0.05
#: Time that one run of a replicated graph should last, and may last to have cold weights.
_REPLICATED_RUN_MS = 0.4
_COLD_RUN_MS = 4.0
_MAX_REPLICAS = 128
#: Weights that the replicas of one run read together, so that none stays in a near cache.
COLD_BYTES = 8 << 20
#: Bandwidth that decides whether cold data can matter at all, and the share that matters.
_COLD_BYTES_PER_MS = 20e6
_COLD_SHARE = 0.005


def num_replicas(op: Op, latency_ms: float) -> int:
    """Copies of the kernel in one graph: enough to drown the overhead and to keep its data cold.

    In a network every kernel's weights were evicted from the near caches by the rest of the
    network; a kernel alone would find them there. Trial on 7x7 layers with 2 MB of weights: 0.31 ms
    alone and warm, 0.41 ms in the network. The same holds for activations, see ``TURN_BYTES``.

    Args:
        op: the kernel.
        latency_ms: its time alone with warm weights.
    """
    latency_ms = max(latency_ms, 1e-4)
    replicas = 1
    if latency_ms < REPLICATE_BELOW_MS:
        replicas = max(4, int(_REPLICATED_RUN_MS / latency_ms))
    weight_bytes = 4 * op.num_weights
    if weight_bytes / _COLD_BYTES_PER_MS > _COLD_SHARE * latency_ms:
        wanted = -(-COLD_BYTES // weight_bytes)
        replicas = max(replicas, min(wanted, int(_COLD_RUN_MS / latency_ms)))
    moved_bytes = 4 * (op.num_input_elements + op.num_output_elements)
    turns = num_turns(op, _MAX_REPLICAS)
    if turns > 1 and moved_bytes / _COLD_BYTES_PER_MS > _COLD_SHARE * latency_ms:
        replicas = max(replicas, min(2 * turns, int(_COLD_RUN_MS / latency_ms)))
    return min(replicas, _MAX_REPLICAS)


class OrtRunner:
    """ONNX Runtime's CPU provider on this machine; a ``Runner``.

    Args:
        threads: intra-op threads of each kernel.

    Raises:
        InvalidInputError: if ``threads`` is not between 1 and 1024.
    """

    def __init__(self, *, threads: int = 1) -> None:
        if not 1 <= int(threads) <= 1024:
            message = f"threads must be between 1 and 1024. Received: {threads}."
            raise InvalidInputError(message)
        self._threads = int(threads)
        self._replicas: dict[Op, int] = {}

    @cached_property
    def device(self) -> Device:
        """This machine's processor under the installed ONNX Runtime."""
        options = {"optimisation": "all", **SETTINGS}
        return this_device(self._threads, runtime_version(), options)

    @property
    def block(self) -> int:
        """Channels per block of the NCHWc layout here; 1 where there is none."""
        return BLOCKS.get(self.device.isa, 1)

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The Ops that the runtime executes for ``model``, from its own optimised graph."""
        return lower(bound_model(model, sizes), model.stem, self._threads, self.block)

    @cached_property
    def _overheads_ms(self) -> tuple[float, float, float]:
        """Fixed cost of one run, of each further input, and of a node that reads a result."""

        def least(rebuilt: Rebuilt) -> float:
            with self._session(rebuilt, 1, 0.0) as empty:
                return min(empty.block(0.5).latency_ms for _ in range(20))

        run = least(rebuild(session_op(1, 1), 1))
        feed = (least(rebuild(session_op(33, 1), 1)) - run) / 32
        read = (least(readers_graph(_MAX_REPLICAS)) - run) / _MAX_REPLICAS
        return run, max(feed, 0.0), max(read, 0.0)

    def load_op(self, op: Op) -> SessionWorkload:
        """Rebuild one executed Op, replicated when it is quick.

        The time of ``R`` replicas less that of an empty session is the slope between 0 and R
        replicas, which is what a network pays per kernel.

        Raises:
            UnsupportedOpError: if the Op cannot be rebuilt or the runtime rejects it.
        """
        try:
            if op.kind == SESSION:
                return self._workload(op, 1)
            if op in self._replicas:  # found on an earlier visit
                return self._workload(op, self._replicas[op])
            single = self._workload(op, 1)
            single.block(0.0)
            _require_outputs(op, single.output_shapes())
            latency_ms = min(single.block(0.1).latency_ms for _ in range(2))
            replicas = self._replicas[op] = num_replicas(op, latency_ms)
            if replicas == 1:
                return single
            single.close()
            return self._workload(op, replicas)
        except UnsupportedOpError:
            raise
        except Exception as error:
            if not is_from_runtime(error):
                raise
            message = f"ONNX Runtime rejects {op.label} ({op.implementation}): {error}"
            raise UnsupportedOpError(message) from error

    def _workload(self, op: Op, replicas: int) -> SessionWorkload:
        rebuilt = rebuild(op, replicas)
        overhead_ms = 0.0
        if op.kind != SESSION:
            run, feed, read = self._overheads_ms
            overhead_ms = run + feed * (len(rebuilt.feed) - 1) + read * rebuilt.readers
        kernels = 2 * replicas - 1 if op.kind in RELABEL else replicas
        return self._session(rebuilt, kernels, overhead_ms)

    def _session(self, rebuilt: Rebuilt, kernels: int, overhead_ms: float) -> SessionWorkload:
        options = session_options(self._threads, optimise=False)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in rebuilt.weights.values()]
        if rebuilt.inline:
            for name, value in zip(rebuilt.weights, values, strict=True):
                options.add_initializer(name, value)
        elif values:
            options.add_external_initializers(list(rebuilt.weights), values)
        return SessionWorkload(
            make_session(rebuilt.model, options),
            rebuilt.feed,
            replicas=kernels,
            overhead_ms=overhead_ms,
            keep=values,
            threads=self._threads,
        )

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> SessionWorkload:
        """Load a whole model, optimised, with random inputs.

        Raises:
            ModelFormatError: if the file cannot be read, or the runtime cannot load or run it.
        """
        source = bound_model(model, sizes).SerializeToString()
        try:
            session = make_session(source, session_options(self._threads, optimise=True))
            workload = SessionWorkload(session, random_feed(session), threads=self._threads)
            workload.block(0.0)
        except Exception as error:
            if not is_from_runtime(error):
                raise
            message = f"{model}: ONNX Runtime cannot run this model: {error}"
            raise ModelFormatError(message) from error
        return workload


def _require_outputs(op: Op, shapes: tuple[Shape, ...]) -> None:
    """Refuse to time other work than the Op says: blocked kernels check no sizes."""
    if shapes != op.outputs:
        message = f"{op.label} ({op.implementation}) writes {shapes}, not {op.outputs} as it says."
        raise UnsupportedOpError(message)
