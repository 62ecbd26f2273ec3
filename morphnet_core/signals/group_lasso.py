"""Group lasso: the norm of all weights that make one output channel."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from costmodel.errors import InvalidInputError
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.gates.insert import SEPARABLE, TRANSPOSED
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.groups.rules_mixing import einsum_places
from morphnet_core.signals.source import Source, as_float32, root


def group_lasso_sources(
    grouping: Grouping, model: Any, l1_fraction: float = 0.0
) -> tuple[Source, ...]:
    """Norms of the kernels of every layer that writes channels which may go.

    Per output channel ``(1 - l1_fraction) * L2 / sqrt(dim) + l1_fraction * L1 / dim``, where
    ``dim`` is the number of weights of one channel: the original's, after arXiv 1611.06321.

    Args:
        grouping: of the model.
        model: the Keras model.
        l1_fraction: share of the L1 norm, 0 to 1.

    Raises:
        InvalidInputError: if ``l1_fraction`` is out of range.
    """
    if not 0.0 <= l1_fraction <= 1.0:
        message = f"l1_fraction is the share of the L1 norm, 0 to 1. Received: {l1_fraction}."
        raise InvalidInputError(message)
    layers = layers_by_path(model)
    found: dict[str, Source] = {}
    for layer in grouping.mixers:
        path = layer.origin or layer.name
        kernel = _kernel(layers.get(path))
        units = grouping.free_units(layer.outputs[0])
        if layer.call or kernel is None or not (units != NOBODY).any():
            continue
        variable, axis = kernel
        found[path] = Source(
            name=path,
            units=units,
            values=partial(channel_norms, variable, axis, l1_fraction),
            variable=variable,
            at="writes",
            offset=getattr(layers[path], "bias", None),
            axis=axis,
        )
    return tuple(found.values())


def channel_norms(kernel: Any, axis: int, l1_fraction: float) -> Any:
    """Norm of the weights of each output channel, float32.

    Args:
        kernel: variable or tensor.
        axis: its axis of output channels.
        l1_fraction: share of the L1 norm.
    """
    weights = as_float32(kernel)
    others = [index for index in range(len(weights.shape)) if index != axis % len(weights.shape)]
    norm = root(ops.mean(ops.square(weights), axis=others))
    if l1_fraction == 0.0:
        return norm
    return (1.0 - l1_fraction) * norm + l1_fraction * ops.mean(ops.abs(weights), axis=others)


def _kernel(layer: Any) -> tuple[Any, int] | None:
    """The kernel of a layer that writes channels, and its axis of outputs."""
    if isinstance(layer, SEPARABLE):
        return layer.pointwise_kernel, -1
    if isinstance(layer, TRANSPOSED):
        return layer.kernel, -2
    kernel = getattr(layer, "kernel", None)
    if isinstance(layer, keras.layers.EinsumDense):
        places = einsum_places(layer.equation.replace("...", ""))
        return None if places is None else (kernel, places.columns)
    return None if kernel is None else (kernel, -1)
