"""Statistics of normalisations, taken anew after channels went.

What a ``BatchNormalization`` has collected was right while the layers before it read all their
channels. What these return now is distributed differently, and to normalise it by the old numbers
costs more accuracy than the channels themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from costmodel.readers.keras import packed
from morphnet_core.signals.source import as_numpy


def reestimate(model: Any, batches: Sequence[Any]) -> None:
    """Set means and variances of all normalisations to those of some batches.

    Every ``BatchNormalization``, in nested models too, normalises by the batch at hand and keeps
    the mean of what it saw, each call as heavy as its batch is large. All other layers run as at
    inference; so do normalisations that are not trainable, which stay as they are. Nothing else
    changes.

    Args:
        model: a functional or sequential Keras model; changed in place, or left as it was where
            one of its layers fails.
        batches: of what it is fed, flat or in its own structure: a few hundred samples, in batches
            as large as in training. None change nothing.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    >>> reestimate(model, [np.full((8, 4), 3.0), np.full((8, 4), 5.0)])
    >>> as_numpy(model.layers[0].moving_mean).tolist()
    [4.0, 4.0, 4.0, 4.0]
    """
    norms = [layer for layer in model._flatten_layers() if _collects(layer)]
    if not norms:
        return
    before = [(item, as_numpy(item)) for layer in norms for item in layer.non_trainable_variables]
    try:
        with ExitStack() as collecting:
            for layer in norms:
                collecting.callback(_collect(layer))
            for fed in batches:
                flat = [_tensor(item) for item in keras.tree.flatten(fed)]
                model(packed(model, flat), training=False)
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def _collects(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def _collect(layer: Any) -> Callable[[], None]:
    """Let a layer normalise by its batch, and keep the mean over its calls; returns how to end it.

    A moving average whose momentum is the share of samples seen before is that mean.
    """
    plain, momentum, renorm = layer.call, layer.momentum, getattr(layer, "renorm", False)
    seen = 0

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        size = int(inputs.shape[0])
        if not seen:  # what is not a number would stay so
            layer.moving_mean.assign(keras.ops.zeros_like(layer.moving_mean))
            layer.moving_variance.assign(keras.ops.zeros_like(layer.moving_variance))
        layer.momentum = seen / (seen + size)
        seen += size
        return plain(inputs, *args, **{**kwargs, "training": True})

    def end() -> None:
        del layer.call
        layer.momentum = momentum
        if renorm:
            layer.renorm = renorm

    layer.call = call
    if renorm:
        layer.renorm = False  # it would normalise by the statistics that are looked for
    return end


def _tensor(item: Any) -> Any:
    found = np.asarray(item)
    if found.dtype.kind in "OSU":
        return keras.ops.convert_to_tensor(found, dtype="string")
    double = found.dtype == np.float64  # which JAX refuses
    return keras.ops.convert_to_tensor(found.astype(keras.config.floatx()) if double else found)
