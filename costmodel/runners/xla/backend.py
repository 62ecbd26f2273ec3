"""Starts JAX with settings that make times mean what they say, and names the device."""

from __future__ import annotations

import ctypes
import os
import platform as system
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from costmodel.errors import InvalidInputError, MissingDependencyError

PLATFORMS = ("cpu", "gpu", "tpu")
#: How far XLA's CPU compiler may join convolutions: as JAX does by default (whole stages of a
#: network become one kernel, which no table can price for another width), or each by itself.
FUSIONS: Mapping[str, str] = {
    "default": "",
    "separate": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}
_FUSION_FLAG = "xla_cpu_experimental_ynn_fusion_type"
#: glibc's switches: never map large blocks afresh, never give memory back while timing.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: Threads that the CPU client was started with here; empty before.
_started: list[int] = []


def import_jax() -> Any:
    """The package, or an error that names the extra.

    Raises:
        MissingDependencyError: if JAX is not installed.
    """
    try:
        import jax
    except ImportError as error:
        raise MissingDependencyError(error.name or "jax", "xla", "The XLA runner") from error
    return jax


def start(platform: str, threads: int) -> Any:
    """Start JAX's backend once, or check that it runs with what is asked for.

    The CPU client takes its number of threads from the environment when it starts and never again.

    Args:
        platform: ``cpu``, ``gpu``, ``tpu``, or empty for JAX's own choice (``cpu`` where JAX has
            not started and no GPU plugin is installed).
        threads: of the CPU client.

    Returns:
        The JAX device.

    Raises:
        InvalidInputError: if JAX started before with another number of threads, or has no such
            platform.
        MissingDependencyError: if JAX is not installed.
    """
    jax = import_jax()
    running = _is_running()
    if not running:
        with _environment({"NPROC": str(threads), "TPU_SKIP_MDS_QUERY": "1"}):
            chosen = "cpu" if platform in {"", "cpu"} and not _has_gpu_plugin() else platform
            if chosen == "cpu":
                jax.config.update("jax_platforms", "cpu")
            jax.config.update("jax_cpu_enable_async_dispatch", False)  # noqa: FBT003 - its API
            device = _device(jax, platform)
        _started.append(threads)
        _keep_memory()
    else:
        device = _device(jax, platform)
    if device.platform == "cpu" and running and started_threads() != threads:
        message = (
            f"JAX already runs in this process with a pool of {started_threads()} threads, and it "
            f"keeps them; threads={threads} was asked for. Make the runner in a process of its "
            "own, before anything else uses JAX."
        )
        raise InvalidInputError(message)
    return device


def started_threads() -> int:
    """Threads of the CPU client; those it would take where JAX has not started."""
    if _started:
        return _started[0]
    if os.environ.get("NPROC", "").isdigit():
        return int(os.environ["NPROC"])
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _is_running() -> bool:
    try:
        from jax._src import xla_bridge
    except ImportError:
        return False
    return bool(getattr(xla_bridge, "_backends", None))


def _has_gpu_plugin() -> bool:
    from importlib.metadata import distributions

    names = (str(item.metadata["Name"] or "").lower().replace("_", "-") for item in distributions())
    return any(name.startswith(("jax-cuda", "jax-rocm")) for name in names)


def _device(jax: Any, platform: str) -> Any:
    try:
        return jax.devices(platform or None)[0]
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0][:300]
        message = (
            f"JAX has no platform {platform!r} here: {first} "
            "Install JAX for it (pip install 'jax[cuda12]' or 'jax[tpu]'), check that the driver "
            "sees the device, and leave JAX_PLATFORMS unset or let it name the platform."
        )
        raise InvalidInputError(message) from error


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _keep_memory() -> str:
    """Let the allocator keep what it has.

    XLA's CPU client asks for its buffers afresh in every run; given back in between, each run would
    pay for the system's zeroing of pages, by an amount that depends on the process's history.
    """
    if system.system() != "Linux":
        return "default"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return "default"
    kept = mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return "kept" if kept else "default"


def compiler_options(platform: str, threads: int, fusions: str) -> dict[str, Any]:
    """Options of every compilation."""
    if platform == "gpu":
        # A recorded command buffer would be one instruction of many kernels.
        return {"xla_gpu_enable_command_buffer": ""}
    if platform != "cpu":
        return {}
    options: dict[str, Any] = {"xla_cpu_multi_thread_eigen": threads > 1}
    if FUSIONS[fusions]:
        options[_FUSION_FLAG] = FUSIONS[fusions]
    return options


def plain_products(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under which a product alone stays one.

    A pointwise convolution becomes a product only after XLA has decided which products its library
    gets; a product that is written as one would be given to the library.
    """
    if "xla_cpu_multi_thread_eigen" not in options:
        return dict(options)
    return {**options, _FUSION_FLAG: "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}


def settings(platform: str, fusions: str, layout: str) -> dict[str, str]:
    """What belongs to the device's identity."""
    if platform != "cpu":
        apart = {"command_buffers": "off"} if platform == "gpu" else {}
        return {**apart, "layout": layout}
    return {"fusions": fusions, "layout": layout, "malloc": _keep_memory()}
