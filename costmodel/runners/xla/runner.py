"""XlaRunner: what JAX compiles, on this machine's CPU, GPU or TPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.network import Network, session_op
from costmodel.op import SESSION, Op
from costmodel.readers.onnx import read_onnx
from costmodel.registry import KeepsOptions, checked_threads, require_one_of
from costmodel.runners.ort.device import this_device
from costmodel.runners.ort.nvidia import find_gpu
from costmodel.runners.xla import backend

backend.import_jax()  # names the extra before anything below fails to import

import jax  # noqa: E402
import jaxlib  # noqa: E402
import numpy as np  # noqa: E402

from costmodel.runners.xla.optimised import (  # noqa: E402
    Compiled,
    compile_function,
    compile_network,
    lower,
)
from costmodel.runners.xla.program import DTYPES, LAYOUTS  # noqa: E402
from costmodel.runners.xla.rebuild import (  # noqa: E402
    compile_empty,
    compile_op,
    num_replicas,
    num_turns,
    recipe_to_run,
)
from costmodel.runners.xla.workload import XlaWorkload, random_argument  # noqa: E402


class XlaRunner(KeepsOptions):
    """XLA through JAX on this machine; a ``Runner`` for ONNX files.

    Args:
        threads: of the CPU client's pool; JAX keeps the number that it started with.
        dtype: element type of the programs: ``float32`` or ``bfloat16``.
        platform: ``cpu``, ``gpu`` or ``tpu``; empty for a GPU where JAX has a plugin for one, else
            the CPU.
        layout: how images are stored: ``nhwc`` as in deployed programs, or ``nchw``.
        fusions: on the CPU, ``separate`` compiles each convolution into a kernel of its own;
            ``default`` is JAX's way, which joins whole stages of some networks into one kernel. The
            two are as fast within noise, but what is joined can be priced for no other width.

    Raises:
        InvalidInputError: for an unknown value, a platform that JAX lacks, or another number of
            threads than JAX already runs with in this process.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        dtype: str = "float32",
        platform: str = "",
        layout: str = "nhwc",
        fusions: str = "separate",
    ) -> None:
        require_one_of("dtype", dtype, DTYPES)
        if platform:
            require_one_of("platform", platform, backend.PLATFORMS)
        require_one_of("layout", layout, LAYOUTS)
        require_one_of("fusions", fusions, backend.FUSIONS)
        self._threads, self._dtype, self._layout = checked_threads(threads), dtype, layout
        self._device = backend.start(platform, self._threads)
        self._platform = (
            "gpu" if self._device.platform in {"cuda", "rocm"} else str(self._device.platform)
        )
        self._fusions = fusions
        self._options = backend.compiler_options(self._platform, self._threads, fusions)

    @cached_property
    def device(self) -> Device:
        """The processor or accelerator under the installed jaxlib."""
        settings = backend.settings(self._platform, self._fusions, self._layout)
        found = replace(
            this_device(self._threads, str(jaxlib.__version__), settings),
            runtime="xla",
            provider=self._platform,
            dtype=self._dtype,
        )
        if self._platform == "cpu":
            return found
        gpu = find_gpu(0)
        state = {**found.state, "jax": str(jax.__version__), **(gpu.state if gpu else {})}
        kind = str(self._device.device_kind)
        return replace(found, name=kind, isa=kind, threads=1, caches=(), state=state)

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The kernels that XLA runs for ``model``, from the optimised HLO."""
        written = read_onnx(Path(model), sizes)
        return lower(written, self._compiled(written), self._layout)

    def _compiled(self, written: Network) -> Compiled:
        return compile_network(
            written,
            dtype=self._dtype,
            layout=self._layout,
            options=self._options,
            device=self._device,
        )

    @cached_property
    def _feed_ms(self) -> float:
        """What one more argument adds to a call."""

        def least(op: Op) -> float:
            with self._session(op) as empty:
                return min(empty.block(1.0).latency_ms for _ in range(20))

        return max(least(session_op(33, 1)) - least(session_op(1, 1)), 0.0) / 32

    def load_op(self, op: Op) -> XlaWorkload:
        """Compile one executed Op alone, several times in one program when it is quick.

        The cost of calling an empty program with the same arguments is subtracted; that of passing
        on each weight once stays in, because a network's call passes on its kernels' weights.

        Raises:
            UnsupportedOpError: if the Op cannot be rebuilt or XLA makes something else of it.
        """
        if op.kind == SESSION:
            return self._session(op)
        recipe = recipe_to_run(op)
        replicas = num_replicas(op, recipe)
        executable, specs = compile_op(op, recipe, replicas, self._options, self._device)
        try:
            turns = [
                [random_argument(s.shape, s.dtype, self._device) for s in specs]
                for _ in range(num_turns(op, recipe, replicas))
            ]
        except InvalidInputError as error:
            message = f"{op.label}: {error}"
            raise UnsupportedOpError(message) from error
        results = len(recipe.roots) * replicas
        weights = sum(node.opcode == "w" for node in recipe.operands)
        return XlaWorkload(
            executable,
            turns,
            replicas=replicas,
            reference=compile_empty(specs, results, self._options, self._device),
            extra_ms=self._feed_ms * weights,
        )

    def _session(self, op: Op) -> XlaWorkload:
        """An empty program with as many arguments and results."""
        count, results = max(1, len(op.inputs)), max(1, len(op.outputs))

        def empty(*arguments: Any) -> tuple[Any, ...]:
            return tuple(arguments[i % count] + np.float32(1 + i) for i in range(results))

        specs = [jax.ShapeDtypeStruct((1,), np.float32)] * count
        executable = compile_function(empty, specs, self._options, self._device)
        return XlaWorkload(
            executable, [[random_argument((1,), np.float32, self._device) for _ in specs]]
        )

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> XlaWorkload:
        """Compile a whole model, with random inputs and weights on the device.

        Raises:
            ModelFormatError: if the file cannot be read, a layer cannot be built, or XLA cannot
                compile it.
        """
        written = read_onnx(Path(model), sizes)
        compiled = self._compiled(written)
        if compiled.unread:
            name, reason = next(iter(compiled.unread.items()))
            message = (
                f"{model}: the whole network cannot be timed: layer {name!r} is missing ({reason})."
            )
            raise ModelFormatError(message)
        arguments = [random_argument(s.shape, s.dtype, self._device) for s in compiled.specs]
        workload = XlaWorkload(compiled.executable, [arguments])
        try:
            workload.block(0.0)
        except jax.errors.JaxRuntimeError as error:
            message = f"{model}: XLA cannot run this model: {error}"
            raise ModelFormatError(message) from error
        return workload
