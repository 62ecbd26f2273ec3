"""TpuAotRunner: what the TPU compiler estimates, without a TPU.

A *relative static estimate*: the compiler's own count of cycles over the published clock. Held
against thousands of networks timed on Cloud TPU v2 and v3 it ranked them at Spearman 0.98 and 0.93;
measured times were 1.0 to 1.25 times the estimate, small layers worse. See ``calibrate`` for what
to do when something was measured. Nothing here is a latency that a device ever showed.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from costmodel.device import Device
from costmodel.errors import (
    CostModelError,
    InvalidInputError,
    MissingDependencyError,
    ModelFormatError,
    UnsupportedOpError,
)
from costmodel.network import Network, model_digest
from costmodel.op import MODEL, SESSION, Op
from costmodel.protocols import Block
from costmodel.registry import KeepsOptions, require_one_of
from costmodel.runners.tpu_aot.cache import Cache, default_folder, op_key
from costmodel.runners.tpu_aot.calibrate import EstimateCalibration, load_calibration
from costmodel.runners.tpu_aot.generations import generation_of
from costmodel.runners.tpu_aot.messages import Estimate, Request
from costmodel.runners.tpu_aot.pool import Pool
from costmodel.runners.workload import BaseWorkload

DTYPES = ("bfloat16", "float32")
EXTRA = "tpu-aot"
#: The compiler estimates no cost of a run beside its kernels; a table holds no times of zero.
_SESSION_CYCLES = 1
_MOST_JOBS = 16


class EstimatedWorkload(BaseWorkload):
    """A number that is known: its blocks take no time."""

    def __init__(self, latency_ms: float) -> None:
        """Hold an estimate.

        Args:
            latency_ms: one execution, above 0.
        """
        self._latency_ms = latency_ms

    def _block(self, min_ms: float) -> Block:
        """The estimate, as if executed for ``min_ms``; returns at once."""
        runs = max(1, -int(-min_ms // self._latency_ms))
        wall_ms = max(min_ms, runs * self._latency_ms)
        return Block(latency_ms=self._latency_ms, wall_ms=wall_ms, runs=runs)


class TpuAotRunner(KeepsOptions):
    """Cloud TPUs of every generation, estimated by their compiler; a ``Runner`` for ONNX files.

    Args:
        generation: ``v2``, ``v3``, ``v4``, ``v5e``, ``v5p``, ``v6e`` or ``7x``.
        dtype: element type of floats.
        jobs: compiling processes at once, 1 to 4 GB each; 0 for one per processor.
        cache: folder of estimates; empty for the user's cache folder.
        calibration: JSON file of ``EstimateCalibration`` that every estimate goes through; it
            becomes part of the device's identity.
        threads: there is one program on one device, so only 1.

    Raises:
        InvalidInputError: for an unknown value, or a calibration that cannot be read.
        MissingDependencyError: without jax and libtpu, or where libtpu does not run.
    """

    def __init__(
        self,
        *,
        generation: str = "v5e",
        dtype: str = "bfloat16",
        jobs: int = 0,
        cache: str = "",
        calibration: str = "",
        threads: int = 1,
    ) -> None:
        self.generation = generation_of(str(generation))
        require_one_of("dtype", dtype, DTYPES)
        if int(threads) != 1 or not 0 <= int(jobs) <= _MOST_JOBS:
            message = (
                f"threads must be 1 (a TPU program has one) and jobs 0 to {_MOST_JOBS}. "
                f"Received: threads={threads}, jobs={jobs}."
            )
            raise InvalidInputError(message)
        _require_compiler()
        self.dtype = dtype
        self.calibration = (
            load_calibration(Path(calibration)) if calibration else EstimateCalibration()
        )
        self._is_calibrated = bool(calibration)
        self.jobs = int(jobs) or min(_MOST_JOBS, os.cpu_count() or 1)
        folder = Path(cache).expanduser() if cache else default_folder()
        self._cache = Cache(folder, compiler_version(), self.generation.name, dtype)
        self._pool = Pool(self.generation.name, dtype, self.jobs)
        self._models: dict[str, Estimate] = {}

    @cached_property
    def device(self) -> Device:
        """One TPU as a program sees it, under the installed compiler."""
        chip = self.generation
        law = (("calibration", self.calibration.label),) if self._is_calibrated else ()
        return Device(
            name=f"TPU {chip.name}",
            runtime="xla",
            runtime_version=compiler_version(),
            provider="libtpu-aot",
            isa=chip.name,
            dtype=self.dtype,
            options=(*law, ("clock_mhz", f"{chip.clock_mhz:g}"), ("layout", "nhwc")),
            provenance="estimated",
            state={
                "numbers": "computed",
                "clock": chip.clock_source,
                "meaning": "relative static estimate: the compiler's cycles over the clock",
            },
        )

    def milliseconds(self, cycles: int) -> float:
        """Cycles at the published clock."""
        return cycles / (1000.0 * self.generation.clock_mhz)

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The Ops that the compiled program of ``model`` executes.

        Raises:
            ModelFormatError: if the file cannot be read, or the compiler rejects it.
            InvalidInputError: if ``sizes`` does not fit the file.
        """
        network = self.estimate_model(model, sizes).network
        assert network is not None
        return network

    def estimate_model(self, model: Path, sizes: Mapping[str, int]) -> Estimate:
        """The whole network compiled at once.

        Raises:
            ModelFormatError: as ``lower``.
            InvalidInputError: as ``lower``.
        """
        model = Path(model)
        key = f"model {model.stem} {model_digest(model, sizes)}"
        if key not in self._models:
            found = self._cache.get(key)
            if found is None or found.network is None:
                request = Request(model=str(model.resolve()), sizes=dict(sizes))
                found = self._pool.estimate(request)
                self._cache.put(key, found)
            self._models[key] = found
        return self._models[key]

    def estimate(self, op: Op, *, alone: bool = False) -> Estimate:
        """One Op as it is inside a network.

        Args:
            op: from ``lower``.
            alone: compile it on its own instead, operands in slow memory; the estimate then also
                has XLA's own roofline (``optimal_ms``).

        Raises:
            UnsupportedOpError: if it cannot be built or the compiler rejects it.
            CostModelError: if the compiler dies of it.
        """
        if op.kind == SESSION:
            return Estimate(cycles=_SESSION_CYCLES, kernels=0)
        if op.kind == MODEL:
            message = "A 'model' row is a whole network, not a kernel. Use load_model for it."
            raise UnsupportedOpError(message)
        key = op_key(op, alone=alone)
        found = self._cache.get(key)
        if found is None:
            try:
                found = self._pool.estimate(Request(op=op, alone=alone))
            except UnsupportedOpError as error:
                self._cache.put(key, error)
                raise
            self._cache.put(key, found)
        return found

    def estimate_all(
        self, ops: Sequence[Op], done: Callable[[int, Op], object] = lambda *_: None
    ) -> dict[Op, Estimate | CostModelError]:
        """All of several Ops, compiled on all processors at once and kept on disk.

        Args:
            ops: from ``lower``; repeated ones are compiled once.
            done: told, from any thread, how many are finished and which was the last.

        Returns:
            By Op, the estimate or why there is none.
        """
        unique = list(dict.fromkeys(op for op in ops if op.kind != MODEL))
        finished, lock = [0], threading.Lock()

        def one(op: Op) -> Estimate | CostModelError:
            try:
                return self.estimate(op)
            except CostModelError as error:
                return error
            finally:
                with lock:
                    finished[0] += 1
                    done(finished[0], op)

        with ThreadPoolExecutor(self.jobs) as executor:
            futures = [executor.submit(one, op) for op in unique]
            try:
                return {op: item.result() for op, item in zip(unique, futures, strict=True)}
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                self.close()
                raise

    def load_op(self, op: Op) -> EstimatedWorkload:
        """The estimate of one Op, compiled now unless it is known.

        Raises:
            UnsupportedOpError: if it cannot be built or the compiler rejects it.
        """
        if op.kind == SESSION:
            least_ms = self.milliseconds(_SESSION_CYCLES)
            return EstimatedWorkload(max(self.calibration.offset_ms, least_ms))
        found = self.estimate(op)
        if found.cycles < 1:
            message = (
                f"The compiler for TPU {self.generation.name} gives no cycles for {op.label}, so "
                "there is no estimate to keep."
            )
            raise UnsupportedOpError(message)
        return EstimatedWorkload(self.calibration.apply(self.milliseconds(found.cycles), runs=0))

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> EstimatedWorkload:
        """The estimate of a whole ONNX file.

        Raises:
            ModelFormatError: if the file cannot be read, or the compiler rejects it.
        """
        found = self.estimate_model(model, sizes)
        if found.cycles < 1:
            message = f"{model}: the compiler gives no cycles for this network."
            raise ModelFormatError(message)
        assert found.network is not None
        kernels = sum(op.kind != SESSION for op in found.network.ops)
        law = self.calibration
        return EstimatedWorkload(law.apply(self.milliseconds(found.cycles), kernels=kernels))

    def close(self) -> None:
        """End the compiling processes; they start again when needed."""
        self._pool.close()


def compiler_version() -> str:
    """Name and version of what decides the estimates."""
    return f"libtpu {version('libtpu')} jax {version('jax')}"


def _require_compiler() -> None:
    compiler, what = "libtpu", "Estimating TPU kernels without a TPU"
    system = f"{platform.system()} {platform.machine()}"
    if system not in {"Linux x86_64", "Linux AMD64"}:
        what += f" works on Linux on x86-64 only (this is {system}); it"
        raise MissingDependencyError(compiler, EXTRA, what)
    for package in ("jax", compiler):
        try:
            version(package)
        except PackageNotFoundError:
            raise MissingDependencyError(package, EXTRA, what) from None
