"""Activations that would run twice in a row once what was between them is gone."""

from __future__ import annotations

from typing import Any

import keras

#: Functions that change nothing the second time, by the names that Keras has for them: where they
#: cut off above.
_TOPS: dict[str, float | None] = {"relu": None, "relu6": 6.0, "Relu": None, "Relu6": 6.0}
#: Layers that end with their activation.
_ENDING = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def repeats(operation: Any, before: Any, now: Any) -> bool:
    """Whether an activation reads, since a sum has vanished, what the very same one has returned.

    Args:
        operation: of the original.
        before: the tensor that it reads there.
        now: the one that it would read in the new network.
    """
    source = now._keras_history.operation
    if source.name == before._keras_history.operation.name or type(operation) in _ENDING[1:]:
        return False
    top = _top(operation)
    return bool(top) and top == _top(source)


def _top(operation: Any) -> tuple[float | None] | None:
    """Where the rectifier that an operation ends with cuts off above; None if there is none."""
    if isinstance(operation, keras.layers.ReLU):
        straight = not (operation.negative_slope or operation.threshold)
        return (operation.max_value,) if straight else None
    if type(operation) in _ENDING:
        name = getattr(operation.activation, "__name__", "")
    else:
        name = "" if isinstance(operation, keras.layers.Layer) else type(operation).__name__
    return (_TOPS[name],) if name in _TOPS else None
