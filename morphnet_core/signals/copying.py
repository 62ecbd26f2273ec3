"""A copy of a model, layer by layer, with weights: what Keras offers only as two steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from costmodel.readers.keras_copy import cloned


def copied(model: Any, **norm_settings: Any) -> Any:
    """A model of the same layers and weights, which shares nothing with the first.

    Args:
        model: a functional or sequential Keras model; what is attached to it is not copied.
        **norm_settings: settings that every ``BatchNormalization`` of the copy gets instead of its
            own; weights that are new then keep their initial values.

    Raises:
        ModelFormatError: if a layer cannot be made again from its settings; names it.
    """

    def settings(layer: Any) -> Mapping[str, Any]:
        return norm_settings if isinstance(layer, keras.layers.BatchNormalization) else {}

    copy, pairs = cloned(model, settings=settings)
    for ours, theirs in pairs:
        for mine, other in _pairs(ours, theirs):
            mine.assign(other)
    return copy


def _pairs(ours: Any, theirs: Any) -> list[tuple[Any, Any]]:
    """Variables of two layers; ours may be a normalisation with more of them."""
    if not isinstance(theirs, keras.layers.BatchNormalization):
        mine, other = (getattr(layer, "weights", ()) for layer in (ours, theirs))
        return list(zip(mine, other, strict=True))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    found = [(getattr(ours, name, None), getattr(theirs, name, None)) for name in names]
    return [(mine, other) for mine, other in found if other is not None]
