"""Source: one tensor of signal values and the units they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Units = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Signal values of some units, one per channel of one layer.

    Attributes:
        name: path of the layer they are of.
        units: ``(channels,)`` the unit of each value; -1 where the value belongs to none.
        values: gives the values now, a differentiable float32 tensor of shape ``(channels,)``, all
            at least 0.
        variable: the trainable variable they come from.
        at: whether channels pass the layer (``passes``), are written by it (``writes``), or a
            source sees all that is read (empty).
        offset: what the layer adds to each channel whatever the value is; None where nothing.
        axis: of the variable, along which its channels lie.
    """

    name: str
    units: Units
    values: Callable[[], Any]
    variable: Any
    at: str = ""
    offset: Any = None
    axis: int = -1


def as_float32(variable: Any) -> Any:
    """A variable as a float32 tensor, whatever its own precision."""
    tensor = ops.convert_to_tensor(variable)
    if keras.backend.standardize_dtype(tensor.dtype) == "float32":
        return tensor
    return ops.cast(tensor, "float32")


def as_numpy(tensor: Any) -> NDArray[Any]:
    """A tensor or variable as a numpy array."""
    return np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))


def root(squares: Any) -> Any:
    """Square root whose gradient at 0 is 0 instead of NaN."""
    positive = squares > 0.0
    return ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)
