"""Which rules hold for a device's rows: those of its runtime, if that runs on a GPU."""

from __future__ import annotations

from collections.abc import Callable

from costmodel.costs.gpu.cuts import delegate_rule, vulkan_rule
from costmodel.costs.gpu.libraries import library_columns, units_of
from costmodel.costs.gpu.phones import phone_columns
from costmodel.costs.gpu.sizes import Floats, Sizes
from costmodel.device import Device

#: Terms, features, and the form of each kernel where one path holds several.
Rules = Callable[[Sizes], tuple[dict[str, Floats], dict[str, Floats], list[str]]]

#: Libraries and back ends that choose among algorithms.
_LIBRARIES = frozenset({"cudnn", "miopen"})
_LIBRARY_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider")


def rules_of(device: Device | None) -> Rules | None:
    """How a device's kernels are looked at; None where it is no GPU, or none that is known.

    >>> rules_of(Device(name="Xeon", runtime="onnxruntime")) is None
    True
    """
    if device is None:
        return None
    if device.runtime == "tflite-gpu":
        delegate = delegate_rule(device.name)
        return lambda sizes: phone_columns(sizes, delegate)
    if device.runtime == "pytorch-vulkan":
        return lambda sizes: phone_columns(sizes, vulkan_rule)
    if device.runtime in _LIBRARIES or device.provider in _LIBRARY_PROVIDERS:
        units = units_of(device.name)
        return lambda sizes: library_columns(sizes, units)
    return None
