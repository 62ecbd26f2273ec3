"""What a shrunk network must equal: the original, its dead channels read as zero."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.gates.fold import layers_by_path
from morphnet_core.groups import Grouping


@contextlib.contextmanager
def zeroed(model: Any, grouping: Grouping, alive: NDArray[np.bool_]) -> Iterator[Any]:
    """The model itself, while every kernel's rows that read dead channels are zero.

    Only layers that mix channels read: convolutions, dense layers. What leaves a model is always
    alive, and all else hands channels on one by one.

    Args:
        model: the original model; its weights are as before when the context ends.
        grouping: its groups.
        alive: which units are alive; apply ``cascade`` first to compare with a shrunk model.

    Yields:
        ``model``, to be called within the context.
    """
    readers = _readers(grouping)
    kept: list[tuple[Any, Any]] = []
    try:
        for path, layer in layers_by_path(model).items():
            if path not in readers or not getattr(layer, "weights", ()):
                continue
            units = grouping.units[readers[path]]
            dead = (units >= 0) & ~alive[units]
            kernel = _mixing(layer)
            if kernel is None or not dead.any():
                continue
            before = np.asarray(keras.ops.convert_to_numpy(kernel))
            kept.append((kernel, before))
            kernel.assign(_without(layer, before, dead))
        yield model
    finally:
        for kernel, before in kept:
            kernel.assign(before)


def _readers(grouping: Grouping) -> dict[str, str]:
    """First tensor that each layer of the model reads."""
    found: dict[str, str] = {}
    for layer in grouping.network.layers:
        found.setdefault(layer.origin or layer.name, layer.inputs[0])
    return found


def _mixing(layer: Any) -> Any:
    """The weight in which channels read are summed; None where there is none."""
    names = {cls.__name__ for cls in type(layer).__mro__}
    if any(name.startswith("Separable") for name in names):
        return layer.pointwise_kernel
    if any(name.startswith(("Conv", "Dense")) for name in names):
        return layer.kernel
    return None


def _without(layer: Any, kernel: NDArray[Any], dead: NDArray[np.bool_]) -> NDArray[Any]:
    """A kernel whose rows of dead channels are zero."""
    kernel = kernel.copy()
    name = type(layer).__name__
    if name == "Dense":
        kernel[dead] = 0
    elif "Transpose" in name:
        kernel[..., dead] = 0
    elif name.startswith("Separable"):
        kernel[..., np.repeat(dead, layer.depth_multiplier), :] = 0
    else:
        per, filters = kernel.shape[-2], kernel.shape[-1] // layer.groups
        for channel in np.flatnonzero(dead):
            group, row = divmod(int(channel), per)
            kernel[..., row, group * filters : (group + 1) * filters] = 0
    return kernel
