"""What NVIDIA's own tool says of a GPU; nothing is assumed where there is no such tool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

#: What is asked, in this order: identity first, then state by the names it is stored under.
_FIELDS = {
    "name": "",
    "compute_cap": "",
    "driver_version": "gpu_driver",
    "clocks.sm": "gpu_mhz",
    "clocks.max.sm": "gpu_max_mhz",
    "clocks.mem": "gpu_memory_mhz",
    "temperature.gpu": "gpu_celsius",
    "power.limit": "gpu_power_limit_w",
    "pstate": "gpu_pstate",
    "clocks_throttle_reasons.active": "gpu_throttle",
}
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU.

    Attributes:
        name: its product name.
        generation: compute capability, e.g. ``sm_90``; empty where unknown.
        state: driver, clocks, temperature and power limit as the tool prints them.
    """

    name: str
    generation: str = ""
    state: Mapping[str, str] = field(default_factory=dict)


def find_gpu(index: int) -> Gpu | None:
    """The GPU of this number; ``None`` where the tool is missing or does not know it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = f"--query-gpu={','.join(_FIELDS)}"
    command = [tool, query, "--format=csv,noheader,nounits", f"--id={index}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_gpu(done.stdout) if done.returncode == 0 else None


def parse_gpu(text: str) -> Gpu | None:
    """A GPU from one line of the tool's comma-separated answer; ``None`` if it is another's.

    >>> parse_gpu("NVIDIA H100, 9.0, 550.1, 1980, 1980, 2619, 41, 700.00, P0, 0x0").generation
    'sm_90'
    """
    values = [item.strip() for item in text.strip().split("\n")[0].split(",")]
    if len(values) != len(_FIELDS) or not values[0]:
        return None
    known = dict(zip(_FIELDS, values, strict=True))
    generation = known["compute_cap"].replace(".", "")
    return Gpu(
        name=known["name"],
        generation=f"sm_{generation}" if generation.isdecimal() else "",
        state={
            title: known[name]
            for name, title in _FIELDS.items()
            if title and "[" not in known[name]
        },
    )
