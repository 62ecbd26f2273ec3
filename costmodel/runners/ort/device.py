"""Describes this machine to ONNX Runtime's tables: processor, instruction set, caches, state."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.instruction_sets import name_instruction_set
from costmodel.runners.ort.nvidia import find_gpu
from costmodel.runners.ort.providers import CPU, Setup

_CPUINFO = Path("/proc/cpuinfo")
_CPU0 = Path("/sys/devices/system/cpu/cpu0")
#: The instruction sets that numpy finds where the system has no file that tells, in Linux's words.
_FOUND = {
    "AVX": ("avx",),
    "AVX2": ("avx", "avx2"),
    "AVX512_SKX": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    "FMA3": ("avx", "fma"),
    "X86_V3": ("avx", "avx2", "fma"),
    "X86_V4": ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
}


def this_device(
    threads: int,
    version: str,
    options: Mapping[str, str],
    setup: Setup = CPU,
    dtype: str = "float32",
) -> Device:
    """The machine this process runs on, as one of ONNX Runtime's providers sees it.

    Args:
        threads: intra-op threads.
        version: of ONNX Runtime.
        options: settings that change what is executed.
        setup: the provider; for one on an NVIDIA GPU that is the device, else the processor.
        dtype: element type that networks are converted to.

    Raises:
        InvalidInputError: for more threads than there are processors.
    """
    require_processors(threads)
    info = _cpuinfo()
    gpu = find_gpu(setup.device_id) if setup.provider.memory == "cuda" else None
    return Device(
        name=gpu.name if gpu else processor_name(info),
        runtime="onnxruntime",
        runtime_version=version,
        provider=setup.provider.name,
        isa=gpu.generation if gpu else instruction_set(info),
        threads=threads,
        dtype=dtype,
        caches=() if gpu else cache_sizes(),
        options=tuple(sorted(options.items())),
        state={**machine_state(info), **(gpu.state if gpu else {})},
    )


def require_processors(threads: int) -> None:
    """Refuse more threads than this machine has processors: they would wait for each other.

    A table of a larger machine is for predicting; only what measures here asks this.

    Raises:
        InvalidInputError: with the number that there is.
    """
    most = psutil.cpu_count(logical=True) or threads
    if threads > most:
        message = (
            f"{threads} threads cannot be timed here: this machine has {most} processors. Give "
            f"--threads {most} or fewer (in Python, options={{'threads': {most}}})."
        )
        raise InvalidInputError(message)


def own_instruction_set() -> str:
    """The vector instructions of this machine's processor, whatever provider is used."""
    return instruction_set(_cpuinfo())


def _cpuinfo() -> dict[str, str]:
    """First processor's entries; where the system has no such file, what numpy knows of it."""
    if not _CPUINFO.exists():
        simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
        names: Sequence[str] = [*simd.get("baseline", ()), *simd.get("found", ())]
        found = {word for name in names for word in _FOUND.get(name, ())}
        return {"flags": " ".join(sorted(found))} if found else {}
    first = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", maxsplit=1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def processor_name(info: Mapping[str, str]) -> str:
    """Model name with family and model number, which cloud names such as ``AMD EPYC`` leave open.

    >>> processor_name({"model name": "AMD EPYC", "cpu family": "25", "model": "17"})
    'AMD EPYC family 25 model 17'
    """
    name = info.get("model name") or info.get("Hardware") or platform.processor()
    name = name or platform.machine()
    numbers = [f"{key} {info[field]}" for key, field in _NUMBERS if info.get(field)]
    return " ".join([name, *numbers])


_NUMBERS = (("family", "cpu family"), ("model", "model"))


def instruction_set(info: Mapping[str, str], machine: str = "") -> str:
    """The vector instructions that decide ONNX Runtime's kernels and channel block.

    Args:
        info: what the system says of a processor.
        machine: its family; this one's by default.

    >>> instruction_set({"flags": "fma avx2"}), instruction_set({"Features": "asimd"})
    ('avx2', 'neon')
    """
    flags = set(f"{info.get('flags', '')} {info.get('Features', '')}".split())
    return name_instruction_set(flags, machine or platform.machine())


def cache_sizes() -> tuple[int, ...]:
    """Data and unified cache sizes in bytes, level 1 upward; empty where unknown."""
    sizes: dict[int, int] = {}
    for index in sorted(_CPU0.glob("cache/index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            level = int((index / "level").read_text())
            text = (index / "size").read_text().strip()
            sizes[level] = int(text.rstrip("KM")) * (1024 if text.endswith("K") else 1 << 20)
        except (OSError, ValueError):
            continue
    return tuple(sizes[level] for level in sorted(sizes))


def machine_state(info: Mapping[str, str]) -> dict[str, str]:
    """What the machine was doing: governor, clocks, load, kernel, hypervisor, date."""
    state = {
        "cores": str(psutil.cpu_count(logical=True) or 0),
        "system": f"{platform.system()} {platform.release()}",
        "hypervisor": "yes" if "hypervisor" in info.get("flags", "").split() else "no",
        "load": f"{psutil.getloadavg()[0]:.2f}",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if info.get("cpu MHz"):
        state["mhz"] = info["cpu MHz"]
    governor = _CPU0 / "cpufreq" / "scaling_governor"
    if governor.exists():
        state["governor"] = governor.read_text().strip()
    return state
