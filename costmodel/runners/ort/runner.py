"""OrtRunner: ONNX Runtime on this machine, by any of its providers and element types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import onnx
import onnxruntime

from costmodel.device import Device
from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.instruction_sets import find_instruction_set
from costmodel.network import Network, model_digest, session_op
from costmodel.onnx_model.inputs import bound_model
from costmodel.op import SESSION, Op
from costmodel.registry import KeepsOptions, checked_threads, require_one_of
from costmodel.runners.ort.bound import SETTINGS, session_options
from costmodel.runners.ort.convert import DTYPES, RECIPES, convert
from costmodel.runners.ort.covers import name_nodes
from costmodel.runners.ort.device import own_instruction_set, this_device
from costmodel.runners.ort.integer import has_parameters
from costmodel.runners.ort.operands import PROVIDER
from costmodel.runners.ort.optimised import (
    Executor,
    LocalExecutor,
    lower,
    runtime_version,
)
from costmodel.runners.ort.providers import CPU, CPU_NAME, PROVIDERS, Setup, Value, find_setup
from costmodel.runners.ort.rebuild import RELABEL, Rebuilt, num_turns, readers_graph, rebuild
from costmodel.runners.ort.session import (
    SessionWorkload,
    is_from_runtime,
    make_session,
    random_feed,
    refused_as,
)
from costmodel.runners.workload import require_outputs

#: Kernels quicker than this are timed as replicas in one graph, so that overhead drops out.
REPLICATE_BELOW_MS = 0.05
#: Time that one run of a replicated graph should last, and may last to have cold weights.
_REPLICATED_RUN_MS = 0.4
_COLD_RUN_MS = 4.0
_MAX_REPLICAS = 256
#: Copies at most where small weights are to be read from as far away as large ones. With 256 a row
#: of features times 47 kB of weights took 1.9 us, from the last cache; what ``COLD_BYTES`` says of
#: all rows held for weights beyond 128 kB only, and in networks such layers took twice as long.
_MAX_COLD = 1024
#: How many times quicker than its second run a kernel may still become.
_MOST_QUICKER = 4.0
#: Copies of a kernel that costs nothing but its ends.
_RELABELLED = 128
#: How much dearer a run is where an accelerator has to be woken and waited for.
_DEVICE_SLOWNESS = 20.0
#: What the options of a provider are called among a runner's.
_OPTION = "option."
#: Weights that the replicas of one run read together, so that none stays in a cache: so many lie in
#: a network between two runs of a kernel. With 8 MiB a dense layer took 46 or 13 us per MiB,
#: by how many replicas its time asked for, and 50 to 66 in networks of more than 10 MiB.
COLD_BYTES = 32 << 20
#: The same for integer kernels, each copy of which packs weights of its own.
_PACKED_BYTES = 8 << 20
#: Bandwidth that decides whether cold data can matter at all, and the share that matters.
_COLD_BYTES_PER_MS = 20e6
_COLD_SHARE = 0.005


def num_replicas(op: Op, latency_ms: float, slowness: float = 1.0) -> int:
    """Copies of the kernel in one graph: enough to drown the overhead and to keep its data cold.

    In a network every kernel's weights were evicted from the near caches by the rest of the
    network; a kernel alone would find them there. Trial on 7x7 layers with 2 MB of weights: 0.31 ms
    alone and warm, 0.41 ms in the network. The same holds for activations, see ``TURN_BYTES``. Both
    are counted as float32 whatever the type is: a network of narrower types is smaller by as much,
    and so is what lies between two runs of a kernel.

    Args:
        op: the kernel.
        latency_ms: its time alone with warm weights.
        slowness: fixed cost of a run, in those of the CPU: what must drown.
    """
    if op.kind in RELABEL:
        # The first and the last of them copy what they are fed and give: they must drown, too.
        return _RELABELLED
    latency_ms = max(latency_ms, 1e-4)
    replicas = 1
    if latency_ms < REPLICATE_BELOW_MS * slowness:
        replicas = min(max(4, int(_REPLICATED_RUN_MS * slowness / latency_ms)), _MAX_REPLICAS)
    read_bytes = 4 * op.num_weights
    if read_bytes / _COLD_BYTES_PER_MS > _COLD_SHARE * latency_ms:
        wanted = min(-(-COLD_BYTES // read_bytes), _MAX_COLD)
        replicas = max(replicas, min(wanted, int(_COLD_RUN_MS / latency_ms)))
    turns = num_turns(op, _MAX_REPLICAS)
    moved_bytes = 4 * (op.num_input_elements + op.num_output_elements)
    if turns > 1 and moved_bytes / _COLD_BYTES_PER_MS > _COLD_SHARE * latency_ms:
        wanted = min(2 * turns, _MAX_REPLICAS)
        if has_parameters(op) and op.weights:
            # Every copy of an integer kernel packs weights of its own. A trial with no bound on
            # them made 3x3 maps of MobileNetV2 take 53 us instead of 32: out of the last cache.
            wanted = min(wanted, max(1, _PACKED_BYTES // op.num_weights))
        replicas = max(replicas, min(wanted, int(_COLD_RUN_MS / latency_ms)))
    return replicas


class OrtRunner(KeepsOptions):
    """One of ONNX Runtime's providers on this machine; a ``Runner``.

    Networks of another element type than float32 are converted first, the same for lowering and
    for timing. On the command line: ``--runner-option provider=cuda --runner-option dtype=int8
    --runner-option option.device_id=1``.

    Args:
        threads: intra-op threads of each kernel.
        provider: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ``coreml``, ``directml``,
            ``xnnpack``, ``nnapi``, ``qnn`` or ``webgpu``.
        dtype: ``float32``; ``float16``; or ``int8``, quantised as ``quantise`` says.
        provider_options: the provider's own options by name, beside those chosen for it.
        more: the same as ``option.NAME``, which a command line can spell.

    Raises:
        InvalidInputError: if ``threads`` is not between 1 and 1024, or an option is unknown.
        MissingProviderError: if the installed runtime lacks the provider.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        provider: str = "cpu",
        dtype: str = "float32",
        provider_options: Mapping[str, Value] | None = None,
        **more: Value,
    ) -> None:
        require_one_of("dtype", dtype, DTYPES)
        unknown = [name for name in more if not name.startswith(_OPTION) or name == _OPTION]
        if unknown:
            message = (
                f"This runner has no option {unknown[0]!r}. It takes threads, provider, dtype, and "
                f"the provider's own options as {_OPTION}NAME."
            )
            raise InvalidInputError(message)
        options = {name.removeprefix(_OPTION): value for name, value in more.items()}
        self._threads = checked_threads(threads)
        self._dtype = dtype
        self._setup = find_setup(
            str(provider), {**(provider_options or {}), **options}, dtype, self._threads
        )
        self._symmetric = self._setup.provider is PROVIDERS["tensorrt"]
        self._replicas: dict[Op, int] = {}
        self._converted: dict[tuple[object, ...], tuple[onnx.ModelProto, onnx.ModelProto]] = {}

    @cached_property
    def device(self) -> Device:
        """This machine under the installed ONNX Runtime, its provider and element type."""
        options = {"optimisation": "all", **SETTINGS}
        options |= {f"{_OPTION}{name}": value for name, value in self._setup.options}
        if not self._setup.is_cpu:
            options["io_memory"] = self._setup.provider.memory
        if self._dtype != "float32":
            recipe = "int8 symmetric" if self._symmetric and self._dtype == "int8" else self._dtype
            options["conversion"] = RECIPES[recipe]
        return this_device(self._threads, runtime_version(), options, self._setup, self._dtype)

    @property
    def block(self) -> int:
        """Channels per block of the NCHWc layout here; 1 where no build has one."""
        return find_instruction_set(own_instruction_set()).own_block

    def _models(
        self, model: Path, sizes: Mapping[str, int]
    ) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        """A network as written and as it is run; the last conversion is kept."""
        if self._dtype == "float32":
            written = bound_model(model, sizes)
            return written, written
        key = (model_digest(model, sizes), model.stem)
        if key not in self._converted:
            written = bound_model(model, sizes)
            name_nodes(written.graph)
            run = convert(written, self._dtype, model.stem, symmetric=self._symmetric)
            self._converted = {key: (written, run)}
        return self._converted[key]

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The Ops that the runtime executes for ``model``, from its own optimised graph.

        A kernel that another provider than this runner's took, such as one that only the CPU has,
        carries that provider as an attribute and is timed there; copies between the two are Ops.
        Of a provider that compiles whole parts of a graph nobody knows the kernels: its Ops are
        those of the graph it is given, timed one by one, and their shares of time are unknown.
        """
        return self.lower_by(model, sizes, LocalExecutor(self._threads, self._setup), self.block)

    def lower_by(
        self, model: Path, sizes: Mapping[str, int], executor: Executor, block: int
    ) -> Network:
        """The same with another's hands: a runtime that runs elsewhere.

        Args:
            model: ONNX file.
            sizes: values of open dimensions.
            executor: loads and runs what this runner would.
            block: channels per block of the NCHWc layout there.
        """
        written, run = self._models(model, sizes)
        return lower(
            run,
            model.stem,
            self._threads,
            block,
            executor,
            written=written,
            provider=self._setup.provider.name,
        )

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
            latency_ms = single.block(0.0).latency_ms
            require_outputs(op, single.output_shapes())
            # Further runs tell nothing of a kernel that stays alone however warm it becomes.
            if self._num_replicas(op, latency_ms / _MOST_QUICKER) > 1:
                latency_ms = min(single.block(0.1).latency_ms for _ in range(2))
            replicas = self._replicas[op] = self._num_replicas(op, latency_ms)
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

    def _num_replicas(self, op: Op, latency_ms: float) -> int:
        if self._setup.provider.whole_graph:
            return 1  # copies would be compiled into one kernel, or away
        device = self._setup.provider.memory != "cpu"
        return num_replicas(op, latency_ms, _DEVICE_SLOWNESS if device else 1.0)

    def _workload(self, op: Op, replicas: int) -> SessionWorkload:
        rebuilt = rebuild(op, replicas)
        overhead_ms = 0.0
        if op.kind != SESSION:
            run, feed, read = self._overheads_ms
            overhead_ms = run + feed * (len(rebuilt.feed) - 1) + read * rebuilt.readers
        kernels = 2 * replicas - 1 if op.kind in RELABEL else replicas
        setup = self._setup
        home = op.attribute(PROVIDER, setup.provider.name)
        if home == CPU_NAME:
            setup = CPU
        elif home != setup.provider.name:
            message = f"{op.label} is a kernel of {home}; this runner has {setup.provider.name}."
            raise UnsupportedOpError(message)
        return self._session(
            rebuilt, kernels, overhead_ms, setup, alone=op.kind != SESSION and replicas == 1
        )

    def _session(
        self,
        rebuilt: Rebuilt,
        kernels: int,
        overhead_ms: float,
        setup: Setup | None = None,
        *,
        alone: bool = False,
    ) -> SessionWorkload:
        setup = setup or self._setup
        options = session_options(self._threads, optimise=False, ordered=rebuilt.ordered)
        if alone and not setup.is_cpu:
            # Never a number of the CPU's for a kernel that the provider does not have.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in rebuilt.weights.values()]
        if rebuilt.inline:
            for name, value in zip(rebuilt.weights, values, strict=True):
                options.add_initializer(name, value)
        elif values:
            options.add_external_initializers(list(rebuilt.weights), values)
        return SessionWorkload(
            make_session(rebuilt.model, options, setup),
            rebuilt.feed,
            replicas=kernels,
            overhead_ms=overhead_ms,
            keep=values,
            threads=self._threads,
            setup=setup,
        )

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> SessionWorkload:
        """Load a whole model, optimised, with random inputs.

        Raises:
            ModelFormatError: if the file cannot be read, or the runtime cannot load or run it.
        """
        source = self._models(model, sizes)[1].SerializeToString()
        with refused_as(f"{model}: ONNX Runtime cannot run this model"):
            options = session_options(self._threads, optimise=True)
            session = make_session(source, options, self._setup)
            workload = SessionWorkload(
                session, random_feed(session), threads=self._threads, setup=self._setup
            )
            workload.block(0.0)
        return workload
