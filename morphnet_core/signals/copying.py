"""A copy of a model, layer by layer, with weights: what Keras offers only as two steps."""

from __future__ import annotations

from typing import Any

import keras

from morphnet_core.gates.fold import layers_by_path


def copied(model: Any, **norm_settings: Any) -> Any:
    """A model of the same layers and weights, which shares nothing with the first.

    Args:
        model: a functional or sequential Keras model; what is attached to it is not copied.
        **norm_settings: settings that every ``BatchNormalization`` of the copy gets instead of its
            own; weights that are new then keep their initial values.
    """

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config.update(norm_settings)
        return type(layer).from_config(config)

    inputs: Any = [
        keras.Input(batch_shape=item.shape, dtype=item.dtype, name=item.name)
        for item in model.inputs
    ]  # without them, a clone of a sequential model names its input itself
    if not isinstance(model, keras.Sequential):
        inputs = keras.tree.pack_sequence_as(model.input, inputs)
    copy = keras.models.clone_model(
        model, input_tensors=inputs, clone_function=clone, recursive=True
    )
    ours = layers_by_path(copy)
    for path, layer in layers_by_path(model).items():
        if not isinstance(layer, keras.layers.InputLayer):  # those may be renamed
            for mine, theirs in _pairs(ours[path], layer):
                mine.assign(theirs)
    return copy


def _pairs(ours: Any, theirs: Any) -> list[tuple[Any, Any]]:
    """Variables of two layers; ours may be a normalisation with more of them."""
    if not isinstance(theirs, keras.layers.BatchNormalization):
        mine, other = (getattr(layer, "weights", ()) for layer in (ours, theirs))
        return list(zip(mine, other, strict=True))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    found = [(getattr(ours, name, None), getattr(theirs, name, None)) for name in names]
    return [(mine, other) for mine, other in found if other is not None]
