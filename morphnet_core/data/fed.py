"""Which array each input of a model is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.data.nested import leaves
from morphnet_core.gates.insert import functional


def fed(model: Any, x: Any) -> dict[str, NDArray[Any]]:
    """The arrays of a structure by the inputs they are for, each in the type of its input.

    Args:
        model: a functional or built sequential Keras model.
        x: samples with their batch axis, in a structure that the model takes.

    Returns:
        One array for each input, by its name, in the model's order.

    Raises:
        InvalidInputError: if there are more or fewer arrays than inputs, or one is of another size;
            names the input.
    """
    inputs = functional(model).inputs
    found = _in_order(model, inputs, x)
    return {
        item.name: _sized(model, item, array) for item, array in zip(inputs, found, strict=True)
    }


def _in_order(model: Any, inputs: Sequence[Any], x: Any) -> list[Any]:
    names = [item.name for item in inputs]
    structure = functional(model).input
    if isinstance(x, Mapping):
        own = isinstance(structure, Mapping) and not isinstance(model, keras.Sequential)
        keys = list(structure) if own else names
        missing = [key for key in keys if key not in x]
        if missing:
            message = (
                f"Model {model.name!r} has an input {missing[0]!r}, but the data are named "
                f"{', '.join(map(repr, x))}. Return a dictionary with {', '.join(map(repr, keys))}."
            )
            raise InvalidInputError(message)
        if not own:
            return [x[name] for name in names]
        x = {key: x[key] for key in keys}
    found = [leaf for _, leaf in leaves(x)]
    if len(found) != len(names):
        message = (
            f"Model {model.name!r} has {len(names)} inputs ({', '.join(names)}), but the data have "
            f"{len(found)} arrays."
        )
        raise InvalidInputError(message)
    return found


def _sized(model: Any, tensor: Any, array: Any) -> NDArray[Any]:
    """The array as the input takes it; an axis of 1 at its end may be missing or too many."""
    found, wanted = np.asarray(array), tuple(tensor.shape)
    if found.ndim == len(wanted) - 1 and wanted[-1] == 1:
        found = found[..., np.newaxis]
    elif found.ndim == len(wanted) + 1 and found.shape[-1] == 1:
        found = found[..., 0]
    agrees = len(found.shape) == len(wanted) and all(
        size in {None, own} for size, own in zip(wanted[1:], found.shape[1:], strict=True)
    )
    if not agrees:
        message = (
            f"Input {tensor.name!r} of model {model.name!r} takes {wanted}, but the data for it "
            f"are {(None, *np.shape(array)[1:])}."
        )
        raise InvalidInputError(message)
    return found.astype(_type(tensor.dtype))


def _type(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return "O" if name == "string" else name
