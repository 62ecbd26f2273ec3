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
#: Samples that a network which was cut is judged by.
JUDGED_BY = 1024
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
    if is_stream(data.x):
        batches = _first_samples(data.x, EXAMPLES)
    else:
        some = replace(data, x=spread(data.x, EXAMPLES), **_NO_TARGETS)
        batches = some.first(EXAMPLES)
    found, count = [], 0
    for x, _, _ in batches:
        found.append([array[: EXAMPLES - count] for array in fed(model, x).values()])
        count += len(found[-1][0])
        if count >= EXAMPLES:
            break
    return found


def judged_by(data: Data) -> Data:
    """The data with few samples to judge by: of the validation data, else of the training data.

    Of arrays they are taken from everywhere; of a stream, the first.
    """
    which = "" if data.x_val is None else "_val"
    x, y, weights = (getattr(data, f"{name}{which}") for name in ("x", "y", "weights"))
    if is_stream(x):
        x = _Few(_first_samples(x, JUDGED_BY))
    else:
        x, y, weights = (
            None if item is None else spread(item, JUDGED_BY) for item in (x, y, weights)
        )
    return replace(data, x_val=x, y_val=y, weights_val=weights, validation_steps=None)


def _first_samples(stream: Any, count: int) -> list[Batch]:
    """The first batches of a stream, as many as hold so many samples if all are as the first."""
    (x, _, _), *_ = first_batches(stream, 1)
    return first_batches(stream, -(-count // num_samples(x)))


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
