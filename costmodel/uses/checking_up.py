"""``doctor``: what is installed and usable here, to paste into a report of what went wrong."""

from __future__ import annotations

import getpass
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from costmodel import __version__
from costmodel.device import Device
from costmodel.profiler.lock import device_lock
from costmodel.timing.lock import note_path, read_note
from costmodel.uses.listing import Devices, Listed, devices

#: Packages whose version decides what happens here: those it is made of, then runtimes and readers.
PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "msgspec", "filelock", "psutil", "typer"),
    *("onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    *("onnxruntime-qnn", "openvino", "ai-edge-litert", "jax", "jaxlib", "libtpu"),
    *("keras", "tensorflow", "torch", "matplotlib", "pyarrow"),
)
#: Shorter names of people and hosts are words like any other.
_SHORTEST_NAME = 3
_ANYBODY = frozenset({"root", "user", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckUp:
    """What is installed and usable on this machine; nothing in it tells whose it is.

    Attributes:
        versions: of this package, Python, the system and ``PACKAGES``; those that are not installed
            are left out.
        processor: name, instruction set, cores, caches and memory, as texts.
        runners: every registered one, usable here or not.
        providers: ONNX Runtime's execution providers, usable here or not.
        places: what has to be written to, and whether it can be.
        locks: whether somebody profiles on this processor right now.
        matching: shipped profiles of this very processor.
        alike: shipped profiles of other processors with its instruction set.
    """

    versions: Mapping[str, str]
    processor: Mapping[str, str]
    runners: tuple[Listed, ...]
    providers: tuple[Listed, ...]
    places: Mapping[str, str]
    locks: Mapping[str, str]
    matching: tuple[str, ...]
    alike: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """It as plain values."""
        return {
            "versions": dict(self.versions),
            "processor": dict(self.processor),
            "runners": [_usable(item) for item in self.runners],
            "providers": [_usable(item) for item in self.providers],
            "places": dict(self.places),
            "locks": dict(self.locks),
            "matching_profiles": list(self.matching),
            "alike_profiles": list(self.alike),
        }


def doctor() -> CheckUp:
    """Look at this machine: versions, processor, runners, providers, locks and profiles.

    Returns:
        Values for people and for issues. Home folders, user and host names are taken out of
        whatever a runtime says.

    >>> doctor().versions["costmodel"] == __version__
    True
    """
    listed = devices()
    device = next((item.device for item in listed.runners if item.name == "ort"), None)
    matching, alike = _profiles(listed, device)
    return CheckUp(
        versions=_versions(),
        processor=_processor(device),
        runners=tuple(map(_private, listed.runners)),
        providers=tuple(map(_private, listed.providers)),
        places=_places(),
        locks={"processor": _holder(device)} if device else {},
        matching=matching,
        alike=alike,
    )


def _versions() -> dict[str, str]:
    found = {
        "costmodel": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor(device: Device | None) -> dict[str, str]:
    found = {
        "cores": f"{psutil.cpu_count(logical=False) or '?'} ({psutil.cpu_count()} threads)",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.1f} GiB",
    }
    if device is None:
        return found
    levels = enumerate(device.caches, start=1)
    caches = ", ".join(f"L{level} {size >> 10} KiB" for level, size in levels)
    names = ("hypervisor", "governor", "load")
    told = {name: device.state[name] for name in names if name in device.state}
    named = {"name": device.name, "instruction set": device.isa, "caches": caches or "not told"}
    return {**named, **found, **told}


def _places() -> dict[str, str]:
    """Whether a file can be made where tables, locks and caches go."""
    cache = os.environ.get("XDG_CACHE_HOME")
    folders = {
        "this folder, for tables": Path.cwd(),
        "temporary folder, for locks": Path(tempfile.gettempdir()),
        "cache, for compiled estimates": Path(cache) if cache else Path.home() / ".cache",
    }
    return {name: _can_write(folder) for name, folder in folders.items()}


def _can_write(folder: Path) -> str:
    there = next((item for item in (folder, *folder.parents) if item.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return f"not writable ({error.strerror})"
    return "writable" if there == folder else "writable, not made yet"


def _holder(device: Device) -> str:
    """Whether a profiler holds the device's lock; its command line may be private."""
    path = device_lock(device)
    if not path.exists():
        return "free"
    try:
        with FileLock(path, timeout=0):
            return "free"
    except Timeout:
        note = read_note(note_path(path))
        return f"held by process {note.get('pid', '?')} since {note.get('since', '?')}"
    except OSError as error:
        return f"cannot be taken ({error.strerror})"


def _profiles(listed: Devices, device: Device | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if device is None:
        return (), ()
    known = {item.name: item.device for item in listed.profiles if item.device is not None}
    matching = tuple(name for name, found in known.items() if found.name == device.name)
    alike = tuple(
        name
        for name, found in known.items()
        if found.isa == device.isa and name not in matching and device.isa
    )
    return matching, alike


def _usable(item: Listed) -> dict[str, object]:
    return {**item.to_json(), "usable": item.device is not None}


def _private(item: Listed) -> Listed:
    """A runner whose reason names no home folder, user or host."""
    return replace(item, reason=without_names(item.reason))


def without_names(text: str) -> str:
    """``text`` without this user's home folder, name and host.

    >>> without_names(f"{Path.home()}/models/net.onnx is missing")
    '~/models/net.onnx is missing'
    """
    text = text.replace(str(Path.home()), "~")
    names = {"<host>": platform.node().partition(".")[0]}
    with suppress(OSError, KeyError):
        names["<user>"] = getpass.getuser()
    for stand_in, name in names.items():
        if len(name) >= _SHORTEST_NAME and name not in _ANYBODY:
            text = re.sub(rf"\b{re.escape(name)}\b", stand_in, text)
    return text
