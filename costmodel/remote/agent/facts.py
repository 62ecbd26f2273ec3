"""Facts: what the device is, read from ``/proc`` and ``/sys``; the host makes a Device of it."""

from __future__ import annotations

import os
import platform
import struct
from pathlib import Path
from typing import Any

from costmodel.timing.cores import usable_cores

#: ELF machine numbers by family of processors.
_ELF = {3: "x86", 62: "x86", 40: "arm", 183: "arm", 243: "riscv", 22: "s390", 21: "ppc"}
_FAMILIES = (("x86", "x86"), ("amd64", "x86"), ("i", "x86"), ("arm", "arm"), ("aarch", "arm"))
#: Android's own names of the hardware, in files that every user may read.
_ANDROID = Path("system/build.prop")


def read(path: Path) -> str | None:
    """Text of a small file, stripped; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """Whole number in a file; None if there is none."""
    try:
        return int(read(path) or "")
    except ValueError:
        return None


def cpuinfo(root: Path) -> dict[str, str]:
    """Entries of the first processor, and of the whole machine where they stand after it."""
    text = read(root / "proc/cpuinfo") or ""
    stanzas = text.split("\n\n")
    lines = stanzas[0].splitlines()
    if len(stanzas) > 1:
        lines += stanzas[-1].splitlines()  # ARM ends with Hardware, Revision, Model
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def cache_sizes(root: Path, core: int) -> list[int]:
    """Data and unified cache sizes of one processor in bytes, level 1 upward."""
    sizes: dict[int, int] = {}
    for index in sorted((root / ("sys/devices/system/cpu/cpu%d/cache" % core)).glob("index*")):
        level, text = read_number(index / "level"), read(index / "size")
        if read(index / "type") == "Instruction" or level is None or not text:
            continue
        digits = text.rstrip("KM")
        if digits.isdigit():
            unit = 1024 if text.endswith("K") else 1 << 20 if text.endswith("M") else 1
            sizes[level] = int(digits) * unit
    return [sizes[level] for level in sorted(sizes)]


def clusters(root: Path, cores: list[int]) -> list[dict[str, Any]]:
    """Groups of equal processors, the slowest first.

    Args:
        root: where ``sys`` lies.
        cores: processors to group.

    Returns:
        For each group its ``cores``, ``max_mhz`` and ``capacity``, 0 where unknown.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for core in cores:
        folder = root / ("sys/devices/system/cpu/cpu%d" % core)
        khz = read_number(folder / "cpufreq/cpuinfo_max_freq") or 0
        capacity = read_number(folder / "cpu_capacity") or 0
        groups.setdefault((capacity, khz), []).append(core)
    return [
        {"cores": groups[key], "max_mhz": key[1] // 1000, "capacity": key[0]}
        for key in sorted(groups)
    ]


def hardware(root: Path) -> dict[str, Any]:
    """What the device says about itself."""
    cores = usable_cores() or list(range(os.cpu_count() or 1))
    return {
        "machine": platform.machine(),
        "system": "%s %s" % (platform.system(), platform.release()),
        "cpuinfo": cpuinfo(root),
        "model": read(root / "proc/device-tree/model") or "",
        "soc": _soc(root),
        "caches": cache_sizes(root, cores[-1]),
        "cores": cores,
        "clusters": clusters(root, cores),
        "boot": read(root / "proc/sys/kernel/random/boot_id") or "",
        "python": platform.python_version(),
        "emulated": is_emulated(root),
    }


def _soc(root: Path) -> str:
    """Name of the system on a chip; empty where nothing tells."""
    family = read(root / "sys/devices/soc0/family")
    machine = read(root / "sys/devices/soc0/machine")
    if machine:
        return ("%s %s" % (family, machine)).strip() if family else machine
    for line in (read(root / _ANDROID) or "").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("ro.soc.model", "ro.board.platform") and value.strip():
            return value.strip()
    compatible = read(root / "proc/device-tree/compatible") or ""
    return compatible.split("\0")[-1]


def family_of(machine: str) -> str:
    """Processor family of a machine name; empty when unknown.

    >>> family_of("aarch64"), family_of("x86_64"), family_of("sparc")
    ('arm', 'x86', '')
    """
    for start, family in _FAMILIES:
        if machine.lower().startswith(start):
            return family
    return ""


def is_emulated(root: Path) -> bool:
    """Whether another process here runs code of another processor: then ours is emulated.

    An emulator of user programs hides itself from the program that it runs, but not the programs
    beside it.
    """
    mine = family_of(platform.machine())
    pid = os.getppid()
    for _ in range(16):
        if pid <= 0:
            break
        theirs = _elf_family(root / ("proc/%d/exe" % pid))
        if mine and theirs and theirs != mine:
            return True
        pid = _parent(root, pid)
    return False


def _elf_family(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return ""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    order = "<H" if head[5] == 1 else ">H"
    return _ELF.get(struct.unpack(order, head[18:20])[0], "")


def _parent(root: Path, pid: int) -> int:
    text = read(root / ("proc/%d/stat" % pid)) or ""
    rest = text.rpartition(")")[2].split()
    return int(rest[1]) if len(rest) > 1 and rest[1].isdigit() else 0
