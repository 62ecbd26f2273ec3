"""Multiplies gates into the kernels that read the gated channels, so that no gate is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates.insert import READERS, SEPARABLE, TRANSPOSED, functional, is_nested


def fold_gates(model: Any, scales: Mapping[str, NDArray[np.floating[Any]]]) -> None:
    """Multiply what each layer reads of each channel by a number, in place.

    Args:
        model: the model, without gates.
        scales: per reading layer, by its path: one factor per channel that it reads.

    Raises:
        InvalidInputError: if a path is no layer of the model, or a layer has no kernel to fold
            into.
    """
    layers = layers_by_path(model)
    for path, scale in scales.items():
        if path not in layers:
            message = f"Model {model.name!r} has no layer {path!r} to fold gates into."
            raise InvalidInputError(message)
        _fold(layers[path], path, np.asarray(scale, dtype=np.float64))


def layers_by_path(model: Any, prefix: str = "") -> dict[str, Any]:
    """Every layer and operation of a model by its path; those of nested models as ``model/layer``.

    Nested models are not in it themselves.
    """
    found: dict[str, Any] = {}
    for operation in functional(model).operations:
        path = f"{prefix}{operation.name}"
        if is_nested(operation):
            found.update(layers_by_path(operation, f"{path}/"))
        else:
            found[path] = operation
    return found


def _fold(layer: Any, path: str, scale: NDArray[np.float64]) -> None:
    if isinstance(layer, SEPARABLE):
        variable, axis = layer.depthwise_kernel, -2
    elif isinstance(layer, TRANSPOSED):
        variable, axis = layer.kernel, -1
    elif isinstance(layer, READERS):
        variable, axis = layer.kernel, -2
    else:
        message = f"Layer {path!r} ({type(layer).__name__}) has no kernel to fold gates into."
        raise InvalidInputError(message)
    kernel = ops.convert_to_numpy(ops.convert_to_tensor(variable)).astype(np.float64)
    variable.assign(_scaled(kernel, scale, axis, int(getattr(layer, "groups", 1)), path))


def _scaled(
    kernel: NDArray[np.float64], scale: NDArray[np.float64], axis: int, groups: int, path: str
) -> NDArray[np.float64]:
    """``kernel`` times ``scale`` along its input axis; a grouped one has only a group's inputs."""
    if kernel.shape[axis] * groups != len(scale):
        message = (
            f"Layer {path!r} reads {kernel.shape[axis] * groups} channels and is given "
            f"{len(scale)} factors."
        )
        raise InvalidInputError(message)
    if groups == 1:
        shape = [1] * kernel.ndim
        shape[axis] = len(scale)
        return kernel * scale.reshape(shape)
    # Output o belongs to group o // (outputs / groups) and reads that group's inputs.
    per_group = kernel.shape[-1] // groups
    by_output = np.repeat(scale.reshape(groups, -1).T, per_group, axis=1)
    return kernel * by_output
