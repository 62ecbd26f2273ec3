"""What a network is tried on: the first samples of the data, at the sizes it is deployed in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.readers.keras import input_shapes, packed
from costmodel.sizes import OpenSizesError, Sizes, bind_shapes
from morphnet_core.data import Batch, Data, fed
from morphnet_core.data.nested import num_samples, spread, taken
from morphnet_core.data.streams import first_batches, is_stream
from morphnet_core.gates.insert import functional

#: Samples that means of channels, and statistics of normalisations, are taken over.
EXAMPLES = 512
_NO_TARGETS: dict[str, Any] = {"y": None, "weights": None}


def sizes_like(data: Data, model: Any, sizes: Sizes | None = None) -> Sizes:
    """Values of a model's open dimensions: those given, and the data's for the others.

    Args:
        data: what the model is trained on.
        model: a functional or built sequential Keras model.
        sizes: as for ``read_keras``.

    Raises:
        InvalidInputError: if the data do not fit the model.
    """
    arrays = fed(model, data.samples())
    try:
        bind_shapes(model.name, input_shapes(model), sizes or {})
    except OpenSizesError as error:
        keys = (key.rpartition(":") for key in error.proposed)
        own = {f"{name}:{axis}": int(arrays[name].shape[int(axis)]) for name, _, axis in keys}
        return {**(sizes or {}), **own}
    return dict(sizes or {})


def sample_for(model: Any, data: Data, sizes: Sizes) -> Any:
    """Inputs as an exported model is called with them, in their own types.

    Values are the data's: of the first samples, over again where these are smaller.

    Args:
        model: a functional or built sequential Keras model.
        data: what it is trained on.
        sizes: values of its open dimensions.
    """
    shapes = bind_shapes(model.name, input_shapes(model), sizes)
    arrays = fed(model, data.samples(max(shape[0] for shape in shapes.values())))

    def sized(name: str) -> NDArray[Any]:
        found = arrays[name]
        return found if found.shape == shapes[name] else np.resize(found, shapes[name])

    return packed(model, [sized(item.name) for item in functional(model).inputs])


def examples_for(model: Any, data: Data) -> list[list[NDArray[Any]]]:
    """Samples of the data, in batches, in the order and the types of a model's inputs.

    Of arrays, which may be sorted, they are taken from everywhere; of a stream, the first.
    """
    some = data if is_stream(data.x) else replace(data, x=spread(data.x, EXAMPLES), **_NO_TARGETS)
    found, count = [], 0
    for x, _, _ in some.first(EXAMPLES):
        found.append([array[: EXAMPLES - count] for array in fed(model, x).values()])
        count += len(found[-1][0])
        if count >= EXAMPLES:
            break
    return found


def two_batches(data: Data) -> Data:
    """The first two batches of the data, and one to choose the best epoch by."""
    changes = _begin(data, "", 2)
    if data.x_val is not None:
        changes |= _begin(data, "_val", 1)
    return replace(data, steps_per_epoch=None, validation_steps=None, **changes)


def _begin(data: Data, which: str, batches: int) -> dict[str, Any]:
    names = [f"x{which}", f"y{which}", f"weights{which}"]
    values = [getattr(data, name) for name in names]
    if is_stream(values[0]):
        return {names[0]: _Few(first_batches(values[0], batches))}
    end = min(num_samples(values[0]), batches * data.batch_size)
    return dict(zip(names, (taken(value, 0, end) for value in values), strict=True))


class _Few(keras.utils.PyDataset):  # type: ignore[misc]
    """Some batches."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, place: int) -> Any:
        x, y, weights = self._batches[place]
        return (x, y) if weights is None else (x, y, weights)
