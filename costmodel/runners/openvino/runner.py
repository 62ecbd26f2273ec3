"""OpenVinoRunner: OpenVINO's CPU plug-in on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from costmodel.device import PROCESSOR_ISA, Device
from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.network import Network
from costmodel.onnx_model.inputs import bound_model
from costmodel.op import SESSION, Op
from costmodel.registry import KeepsOptions, checked_threads, require_one_of
from costmodel.runners.openvino.core import (
    PRECISIONS,
    compile_model,
    hint_of,
    isa_cap,
    runtime_version,
)
from costmodel.runners.openvino.executed import executed_nodes, instruction_set
from costmodel.runners.openvino.execution_graph import lower
from costmodel.runners.openvino.model import read_model
from costmodel.runners.openvino.rebuild import Rebuilt, readers_model, rebuild, session_model
from costmodel.runners.openvino.verify import verify
from costmodel.runners.openvino.workload import InferWorkload, Timed, runtime_reason
from costmodel.runners.ort.device import require_processors, this_device

#: Time that one run of a rebuilt graph should last, and may last to have cold weights.
_RUN_MS = 0.3
_COLD_RUN_MS = 4.0
_MAX_REPLICAS = 16
#: Weights that the replicas of one run read together, so that none stays in a near cache.
_COLD_BYTES = 8 << 20
#: Activations that replicas move through together.
_TURN_BYTES = 512 << 10
#: Rates of a first guess at a kernel's time: multiply-adds and bytes per millisecond.
_MACS_PER_MS = 4e7
_BYTES_PER_MS = 1e7
#: Blocks of the baseline before anything is subtracted.
_BASELINE_BLOCKS = 6


def num_replicas(op: Op) -> int:
    """Copies of the kernel in one graph: enough to drown the overhead and to keep weights cold.

    From the Op's sizes alone, so that the graph is the same at every visit.
    """
    moved = 4 * (op.num_input_elements + op.num_output_elements + op.num_weights)
    guess_ms = max(op.macs / _MACS_PER_MS, moved / _BYTES_PER_MS, 1e-3)
    wanted = max(2, int(_RUN_MS / guess_ms))
    if op.num_weights:
        cold = -(-_COLD_BYTES // (4 * op.num_weights))
        wanted = max(wanted, min(cold, int(_COLD_RUN_MS / guess_ms)))
    return min(wanted, _MAX_REPLICAS) if guess_ms < _COLD_RUN_MS else 1


def num_turns(op: Op, replicas: int) -> int:
    """Tensors that each input of a rebuilt Op takes turns in, at most one per replica."""
    moved = 4 * (op.num_input_elements + op.num_output_elements)
    return max(1, min(replicas, -(-_TURN_BYTES // max(moved, 1))))


class OpenVinoRunner(KeepsOptions):
    """OpenVINO's CPU plug-in on this machine; a ``Runner``.

    Nothing is sent to the makers of OpenVINO: its converter, which reports its own import, is left
    out. Each setting that decides what is executed is in ``device.options``.

    Args:
        threads: of one inference; the calling thread is one of them.
        dtype: ``float32``; ``bfloat16`` (products in bfloat16 where the processor has it); or
            ``int8``: float networks are quantised, quantised ones are run as they are.

    Raises:
        InvalidInputError: if an argument has no such value, or the plug-in uses other settings.
    """

    def __init__(self, *, threads: int = 1, dtype: str = "float32") -> None:
        require_one_of("dtype", dtype, PRECISIONS)
        self._threads = checked_threads(threads)
        self._dtype = dtype
        self._direct: dict[Op, bool] = {}

    @cached_property
    def device(self) -> Device:
        """This machine's processor under the installed OpenVINO."""
        require_processors(self._threads)  # before OpenVINO starts them
        compiled = compile_model(session_model(1, 1), self._threads, self._dtype)
        options = hint_of(compiled) | isa_cap()
        machine = this_device(self._threads, runtime_version(), options)
        isa = instruction_set(compiled) or machine.isa
        if isa != machine.isa:
            options[PROCESSOR_ISA] = machine.isa
        return replace(
            machine,
            runtime="openvino",
            provider="CPU",
            isa=isa,
            dtype=self._dtype,
            options=tuple(sorted(options.items())),
        )

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The Ops that the runtime executes for ``model``, from its own execution graph."""
        return lower(bound_model(model, sizes), Path(model).stem, self._threads, self._dtype)

    def load_op(self, op: Op) -> InferWorkload:
        """Rebuild one executed Op among neighbours, whose time is subtracted.

        Raises:
            UnsupportedOpError: if the Op cannot be rebuilt, or would run another kernel alone.
        """
        try:
            if op.kind == SESSION:
                model = session_model(len(op.inputs), len(op.outputs))
                return InferWorkload(self._timed(model, SESSION))
            if op in self._direct:  # found and verified on an earlier visit
                return self._load(self._rebuilt(op, direct=self._direct[op]), op)
            return self._first_visit(op)
        except RuntimeError as error:
            message = f"OpenVINO rejects {op.label} ({op.implementation}): {runtime_reason(error)}"
            raise UnsupportedOpError(message) from error

    def _first_visit(self, op: Op) -> InferWorkload:
        """Feed inputs where the kernel lets that be free, else compute them."""
        try:
            made = self._verified(op, direct=True)
        except UnsupportedOpError:
            made = self._verified(op, direct=False)
        return self._load(made, op)

    def _verified(self, op: Op, *, direct: bool) -> Rebuilt:
        """Both graphs, compared with the Op: a third of what a visit to it costs, so done once."""
        made = self._rebuilt(op, direct=direct)
        verify(op, executed_nodes(made.full), executed_nodes(made.baseline), made.replicas)
        self._direct[op] = direct
        return made

    def _rebuilt(self, op: Op, *, direct: bool) -> Rebuilt:
        """Both graphs of an Op, compiled; they depend on nothing but the Op."""
        replicas = num_replicas(op)
        made = rebuild(op, replicas, num_turns(op, replicas), direct=direct)
        full, baseline = (
            compile_model(model, self._threads, self._dtype) for model in (made.full, made.baseline)
        )
        return replace(made, full=full, baseline=baseline)

    def _load(self, made: Rebuilt, op: Op) -> InferWorkload:
        below = Timed(made.baseline, op.label)
        for _ in range(_BASELINE_BLOCKS):
            below.stretch(0.3)
        return InferWorkload(
            Timed(made.full, op.label),
            replicas=made.replicas,
            baseline=below,
            extra_ms=made.more_readers * self._reader_ms,
        )

    def _timed(self, model: object, name: str) -> Timed:
        return Timed(compile_model(model, self._threads, self._dtype), name)

    @cached_property
    def _reader_ms(self) -> float:
        """What reading one element of a tensor costs."""
        few, many = 8, 72
        least = []
        for count in (few, many):
            timed = self._timed(readers_model(count), "readers")
            for _ in range(10):
                timed.stretch(0.5)
            least.append(timed.least_ms)
        return max(0.0, (least[1] - least[0]) / (many - few))

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> InferWorkload:
        """Load a whole model with its inputs in place.

        Raises:
            ModelFormatError: if the file cannot be read, or the runtime cannot load or run it.
        """
        written = read_model(bound_model(model, sizes), str(model), self._dtype)
        try:
            workload = InferWorkload(self._timed(written.model, str(model)))
            workload.block(0.0)
        except RuntimeError as error:
            message = f"{model}: OpenVINO cannot run this model: {runtime_reason(error)}"
            raise ModelFormatError(message) from error
        return workload
