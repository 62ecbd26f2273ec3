"""LiteRtRunner: TensorFlow Lite models on this machine's CPU, through XNNPACK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from costmodel.device import Device
from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.lite_model.convert import DTYPES
from costmodel.lite_model.detect import is_lite
from costmodel.lite_model.graph import LiteModel
from costmodel.lite_model.kernels import DELEGATE
from costmodel.lite_model.package import VERSION
from costmodel.lite_model.write import write_model
from costmodel.network import Network, session_op
from costmodel.op import SESSION, Op
from costmodel.registry import KeepsOptions, checked_threads, require_one_of
from costmodel.runners.litert.delegated import lower, open_model
from costmodel.runners.litert.rebuild import (
    moved_bytes,
    readers_model,
    rebuild,
    weight_bytes,
)
from costmodel.runners.litert.session import (
    InvokeWorkload,
    delegated_in_file,
    delegated_operators,
    make_interpreter,
)
from costmodel.runners.ort.device import this_device
from costmodel.runners.workload import require_outputs

#: Kernels quicker than this are timed as replicas in one model, so that overhead drops out.
REPLICATE_BELOW_MS = 0.05
#: Time that one run of replicas should last, and may last to have cold data.
_REPLICATED_RUN_MS = 0.4
_COLD_RUN_MS = 4.0
_MAX_REPLICAS = 128
#: Data that the replicas of one run touch together, at least and at most: as much as a network
#: touches between two uses of a kernel's weights, taken as ``_LAYERS`` such layers. With 8 MiB for
#: all, ResNet20 (1 MB of weights in all) was predicted 5 % too slow; with 32 MiB and more,
#: MobileNetV2 (14 MB) 30 %.
COLD_BYTES = (2 << 20, 24 << 20)
_LAYERS = 12
#: Bandwidth that decides whether cold data can matter at all, and the share that matters.
_COLD_BYTES_PER_MS = 20e6
_COLD_SHARE = 0.005


def num_replicas(op: Op, latency_ms: float) -> int:
    """Copies of the kernel in one model: enough to drown the overhead and keep its data cold.

    Args:
        op: the kernel.
        latency_ms: its time alone with warm data.
    """
    latency_ms = max(latency_ms, 1e-4)
    replicas = 1
    if latency_ms < REPLICATE_BELOW_MS:
        replicas = max(4, int(_REPLICATED_RUN_MS / latency_ms))
    weights = weight_bytes(op)
    touched = moved_bytes(op) + weights
    if touched / _COLD_BYTES_PER_MS > _COLD_SHARE * latency_ms:
        least, most = COLD_BYTES
        wanted = -(-min(max(_LAYERS * weights, least), most) // touched)
        replicas = max(replicas, min(wanted, int(_COLD_RUN_MS / latency_ms)))
    return min(replicas, _MAX_REPLICAS)


class LiteRtRunner(KeepsOptions):
    """LiteRT with its XNNPACK delegate on this machine; a ``Runner``.

    It takes ``.tflite`` files as they are, and ONNX files as TensorFlow's converter would deploy
    them.

    Args:
        threads: of each kernel.
        dtype: ``float32``, or ``int8`` for models quantised throughout: ONNX files are converted
            so, with arbitrary scales; ``.tflite`` files must be so.

    Raises:
        InvalidInputError: if ``threads`` is not between 1 and 1024, or for another dtype.
    """

    def __init__(self, *, threads: int = 1, dtype: str = "float32") -> None:
        require_one_of("dtype", dtype, DTYPES)
        self._threads = checked_threads(threads)
        self._dtype = dtype
        self._replicas: dict[Op, int] = {}

    @cached_property
    def device(self) -> Device:
        """This machine's processor under the installed LiteRT."""
        found = this_device(self._threads, VERSION, {"delegate": "default"})
        return replace(found, runtime="litert", provider=DELEGATE, dtype=self._dtype)

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The operators that LiteRT executes for ``model``, and which of them XNNPACK runs.

        Args:
            model: ``.tflite`` or ONNX file.
            sizes: values of open dimensions.

        Raises:
            ModelFormatError: if the file cannot be read, converted or loaded.
        """
        path = Path(model)
        delegated = delegated_in_file if is_lite(path) else delegated_operators
        return lower(open_model(path, sizes, self._dtype), path.stem, delegated)

    @cached_property
    def _overheads_ms(self) -> tuple[float, float, float]:
        """Fixed cost of one run, of each further input, and of a reader of a result."""

        def least(model: LiteModel) -> float:
            made = make_interpreter(write_model(model), self._threads)
            with InvokeWorkload(made) as empty:
                return min(empty.block(0.5).latency_ms for _ in range(20))

        run = least(rebuild(session_op(1, 1), 1).model)
        feed = (least(rebuild(session_op(33, 1), 1).model) - run) / 32
        read = (least(readers_model(_MAX_REPLICAS)) - run) / _MAX_REPLICAS
        return run, max(feed, 0.0), max(read, 0.0)

    def load_op(self, op: Op) -> InvokeWorkload:
        """Rebuild one executed Op, replicated when it is quick or its data must be cold.

        Raises:
            UnsupportedOpError: if the Op cannot be rebuilt, the runtime rejects it, or it would run
                elsewhere than it says.
        """
        try:
            if op.kind == SESSION:
                return self._workload(op, 1)
            if op in self._replicas:  # found on an earlier visit
                return self._workload(op, self._replicas[op])
            single = self._workload(op, 1)
            single.block(0.0)
            self._require_same_work(op, single)
            latency_ms = min(single.block(0.1).latency_ms for _ in range(2))
            replicas = self._replicas[op] = num_replicas(op, latency_ms)
            if replicas == 1:
                return single
            single.close()
            return self._workload(op, replicas)
        except (ModelFormatError, RuntimeError, ValueError) as error:
            if isinstance(error, UnsupportedOpError):
                raise
            message = f"LiteRT rejects {op.label} ({op.implementation}): {error}"
            raise UnsupportedOpError(message) from error

    def _workload(self, op: Op, replicas: int) -> InvokeWorkload:
        rebuilt = rebuild(op, replicas)
        overhead_ms = 0.0
        if op.kind != SESSION:
            run, feed, read = self._overheads_ms
            extra = len(rebuilt.model.inputs) - 1
            overhead_ms = run + feed * extra + read * rebuilt.readers
        made = make_interpreter(write_model(rebuilt.model), self._threads)
        return InvokeWorkload(made, kernels=rebuilt.kernels, overhead_ms=overhead_ms)

    def _require_same_work(self, op: Op, single: InvokeWorkload) -> None:
        """Refuse to time other work, or work done elsewhere, than the Op says."""
        require_outputs(op, single.output_shapes())
        model = rebuild(op, 1).model
        delegated = len(model.operators) - 1 in delegated_operators(model)
        if delegated != op.implementation.startswith(f"{DELEGATE}:"):
            where = "in XNNPACK" if delegated else "outside XNNPACK"
            message = f"{op.label} says {op.implementation}, but alone it runs {where}."
            raise UnsupportedOpError(message)

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> InvokeWorkload:
        """Load a whole model, with random inputs.

        Raises:
            ModelFormatError: if the file cannot be read, converted, loaded or run.
        """
        opened = open_model(model, sizes, self._dtype)
        try:
            made = make_interpreter(write_model(opened), self._threads)
            workload = InvokeWorkload(made)
            workload.block(0.0)
        except (ModelFormatError, RuntimeError, ValueError) as error:
            message = f"{model}: LiteRT cannot run this model: {error}"
            raise ModelFormatError(message) from error
        return workload
