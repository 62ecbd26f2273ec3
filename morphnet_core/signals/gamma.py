"""Gamma: the scale of the batch normalisations that a unit passes, as in the MorphNet paper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from costmodel.errors import InvalidInputError
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.signals.copying import copied
from morphnet_core.signals.source import Source, Units, as_float32, as_numpy


def gamma_sources(grouping: Grouping, model: Any) -> tuple[Source, ...]:
    """The gammas of every batch normalisation that carries channels which may go.

    It does not matter where between the layer that writes a channel and those that read it the
    normalisation stands, nor what is in between.

    Args:
        grouping: of the model.
        model: the Keras model.

    Returns:
        Sources in the order of the network, with the absolute values of gamma.

    Raises:
        InvalidInputError: if such a normalisation has no gamma; names all of them, and the fix.
    """
    layers = layers_by_path(model)
    found, missing = [], []
    for path, units in _normalised(grouping, layers).items():
        layer = layers[path]
        if not layer.scale:
            missing.append(path)
            continue
        values = partial(_magnitude, layer.gamma)
        found.append(
            Source(
                name=path,
                units=units,
                values=values,
                variable=layer.gamma,
                at="passes",
                offset=layer.beta if layer.center else None,
            )
        )
    if missing:
        message = (
            f"These BatchNormalization layers have no gamma to press on: {', '.join(missing)}. "
            "Build them with scale=True (enable_gammas(model) copies the model with scales of 1), "
            "keep their channels with exclude=[...], or use another signal."
        )
        raise InvalidInputError(message)
    return tuple(found)


def _normalised(grouping: Grouping, layers: Mapping[str, Any]) -> dict[str, Units]:
    """Units of each batch normalisation by path, -1 for those that stay anyway."""
    found: dict[str, Units] = {}
    for layer in grouping.network.layers:
        path = layer.origin or layer.name
        if layer.call or path in found or not layer.inputs:
            continue
        if not isinstance(layers.get(path), keras.layers.BatchNormalization):
            continue
        read = layer.inputs[0]
        rank = len(grouping.sizes[read])
        along = grouping.network.own_axis(grouping.axes[read], rank)
        if layers[path].axis % rank != along:
            continue  # a gamma for each position of another axis
        units = grouping.free_units(read)
        if (units != NOBODY).any():
            found[path] = units
    return found


def _magnitude(gamma: Any) -> Any:
    return ops.abs(as_float32(gamma))


def flush_denormals(sources: tuple[Source, ...]) -> list[str]:
    """Set values too small for normal float32 arithmetic to zero: they only slow training down.

    Returns:
        Names of the sources that had any.
    """
    least = float(np.finfo(np.float32).tiny)
    touched = []
    for source in sources:
        values = as_numpy(source.variable).astype(np.float32)
        tiny = (values != 0.0) & (np.abs(values) < least)
        if tiny.any():
            source.variable.assign(np.where(tiny, np.float32(0.0), values))
            touched.append(source.name)
    return touched


def enable_gammas(model: Any) -> Any:
    """A copy of a model in which every batch normalisation has a gamma.

    Where one was missing it is 1, so the copy computes the same. Compile it before use.

    Args:
        model: a functional or sequential Keras model.
    """
    return copied(model, scale=True)
