"""Versions of the runtimes that the rules were held against, kernel by kernel.

A runtime's optimiser changes with nearly every version: what the rules foresee exactly for one may
differ in a few kernels for another. Where the runtime itself can be asked, nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.device import Device

#: Series of versions, by ``Device.runtime``; of runtimes that were read and not run, there is none.
HELD_AGAINST: Mapping[str, str] = {
    "litert": "2.3",
    "onnxruntime": "1.32",
    "openvino": "2026.4",
    "xla": "0.10.2",
}


def is_held_against(runtime: str, version: str) -> bool:
    """Whether the rules of a runtime were held against this version.

    Args:
        runtime: as ``Device.runtime``.
        version: of it; of what has none, or a compiler of several, nothing is known to differ.

    >>> is_held_against("onnxruntime", "1.32.1"), is_held_against("onnxruntime", "1.3.2")
    (True, False)
    """
    series = HELD_AGAINST.get(runtime)
    if series is None or not version[:1].isdigit():
        return True
    wanted = series.split(".")
    return version.split(".")[: len(wanted)] == wanted


def doubt_of(device: Device) -> str:
    """What to tell of rules for a device's runtime, as a sentence; empty where there is nothing.

    >>> from costmodel.device import Device
    >>> doubt_of(Device(name="board", runtime="onnxruntime", runtime_version="1.20.0"))
    'The rules are those of onnxruntime 1.32; 1.20.0 may put a few kernels together otherwise.'
    """
    if is_held_against(device.runtime, device.runtime_version):
        return ""
    series = HELD_AGAINST[device.runtime]
    return (
        f"The rules are those of {device.runtime} {series}; {device.runtime_version} may put a few "
        "kernels together otherwise."
    )
