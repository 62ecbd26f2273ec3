"""Describe: a Device made of what the agent says about its machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from costmodel.device import Device
from costmodel.runners.ort.bound import SETTINGS
from costmodel.runners.ort.device import instruction_set, processor_name


def hardware_name(facts: Mapping[str, Any]) -> str:
    """Name of the hardware: the board and its chip, or the processor as a local profile names it.

    >>> hardware_name({"cpuinfo": {}, "model": "Board 4", "soc": "x,y42", "machine": "aarch64"})
    'Board 4 (x,y42)'
    """
    info: Mapping[str, str] = facts["cpuinfo"]
    if info.get("model name") and not facts["model"]:
        return processor_name(info)
    board = facts["model"] or info.get("Hardware") or ""
    chip = facts["soc"]
    if board and chip and chip.lower() not in board.lower():
        return f"{board} ({chip})"
    return board or chip or f"{facts['machine']}{_part(info)}"


def _part(info: Mapping[str, str]) -> str:
    """Maker and design of an ARM processor that has no name."""
    numbers = [info.get(key, "") for key in ("CPU implementer", "CPU part")]
    return f" {'/'.join(numbers)}" if all(numbers) else ""


def remote_device(
    facts: Mapping[str, Any],
    *,
    address: str,
    version: str,
    threads: int,
    cores: str,
    emulated: bool,
    state: Mapping[str, str],
) -> Device:
    """The device behind an agent; on equal hardware equal to what a local profile calls it.

    Args:
        facts: from the agent.
        address: of the device.
        version: of ONNX Runtime there.
        threads: of one kernel.
        cores: the processors that work, where they are a choice; empty otherwise.
        emulated: whether the user says that the processor is emulated.
        state: clocks, governor and temperature now.
    """
    options = {"optimisation": "all", **SETTINGS} | ({"cores": cores} if cores else {})
    flags = facts["cpuinfo"].get("flags", "").split()
    return Device(
        name=hardware_name(facts),
        runtime="onnxruntime",
        runtime_version=version,
        provider="CPUExecutionProvider",
        isa=instruction_set(facts["cpuinfo"], facts["machine"]),
        threads=threads,
        caches=tuple(facts["caches"]),
        options=tuple(sorted(options.items())),
        # Emulated time tells nothing about the processor that is emulated.
        provenance="estimated" if emulated or facts["emulated"] else "measured",
        state={
            "address": re.sub(r"//[^/@]*@", "//", address),
            "cores": str(len(facts["cores"])),
            "system": str(facts["system"]),
            "soc": str(facts["soc"]),
            "hypervisor": "yes" if "hypervisor" in flags else "no",
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **state,
        },
    )


def cores_text(chosen: tuple[int, ...]) -> str:
    """Processors as a list of ranges.

    >>> cores_text((0, 2, 3, 4))
    '0,2-4'
    """
    pieces: list[list[int]] = []
    for core in chosen:
        if pieces and core == pieces[-1][-1] + 1:
            pieces[-1].append(core)
        else:
            pieces.append([core])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in pieces)
