"""Recipe: the user's Python file that says what a network is trained on, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from costmodel.errors import InvalidInputError
from costmodel.uses.user_code import beside, run_file
from morphnet_core.data import Data
from morphnet_core.data.streams import is_stream

_EXPECTED = (
    "Expected a Python file with a function load() that returns (x, y), (x, y, x_val, y_val), a "
    "dataset, (dataset, dataset_val) or a morphnet_core.Data, where x and y may be lists or "
    "dictionaries of arrays as the model takes them; and, if the standard recipe does not suit, a "
    "function compiled(model, steps) that compiles and returns the model."
)
#: What stands where in the tuple that load() returns, by its length.
_FIELDS = {
    2: ("x", "y"),
    3: ("x", "y", "weights"),
    4: ("x", "y", "x_val", "y_val"),
    6: ("x", "y", "weights", "x_val", "y_val", "weights_val"),
}
#: Rate that the standard recipe begins with, and the norm that gradients are clipped to.
RATE, CLIP = 0.05, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        data: to train on.
        compiled: gets a model and the steps it will be trained for, and compiles it.
    """

    data: Data
    compiled: Callable[[Any, int], Any]


def standard(model: Any, steps: int) -> Any:
    """Compile a classifier: SGD with momentum, its rate falling along a cosine.

    Args:
        model: one output of ``(batch, classes)``, logits or, if its last layer is a softmax,
            probabilities.
        steps: that it will be trained for.

    Raises:
        InvalidInputError: if the model is no such classifier.
    """
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or (shapes[0][1] or 0) < 2:
        message = (
            f"The standard recipe trains classifiers with one output of (batch, classes), but "
            f"{model.name!r} returns {shapes}. Give your own compiled(model, steps)."
        )
        raise InvalidInputError(message)
    last = getattr(model.layers[-1], "activation", None)
    logits = getattr(last, "__name__", "") != "softmax" and not isinstance(
        model.layers[-1], keras.layers.Softmax
    )
    schedule = keras.optimizers.schedules.CosineDecay(RATE, max(1, steps))
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, global_clipnorm=CLIP),
        keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
        metrics=["accuracy"],
    )
    return model


def load_recipe(path: str | Path, *, batch_size: int | None = None) -> Recipe:
    """Run a user's Python file and ask it for the data.

    Args:
        path: the file. It is run as any script of the user's is: nothing keeps it from anything.
        batch_size: samples a step, where the file does not give a ``Data``.

    Raises:
        InvalidInputError: if there is no such file, it fails, or it returns something else.
    """
    path = Path(path)
    module = run_file(path)
    if not callable(getattr(module, "load", None)):
        message = f"{path} has no function load(). {_EXPECTED}"
        raise InvalidInputError(message)
    try:
        with beside(path):
            found = module.load()
    except Exception as error:
        message = f"load() of {path} failed with {type(error).__name__}: {error}."
        raise InvalidInputError(message) from error
    return Recipe(
        data=_data(found, path, batch_size), compiled=getattr(module, "compiled", standard)
    )


def _data(found: Any, path: Path, batch_size: int | None) -> Data:
    """What ``load()`` returned as data.

    Raises:
        InvalidInputError: if it is nothing to train on.
    """
    if isinstance(found, Data):
        return found
    settings: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    try:
        return Data(**_parts(found), **settings)
    except InvalidInputError as error:
        message = f"load() of {path} returned {error}"
        raise InvalidInputError(message) from error


def _parts(found: Any) -> dict[str, Any]:
    """The fields of ``Data`` by what stands where in a tuple."""
    if is_stream(found) or isinstance(found, Mapping | np.ndarray):
        return {"x": found}
    if isinstance(found, tuple) and len(found) == 2 and all(map(is_stream, found)):
        return {"x": found[0], "x_val": found[1]}
    if isinstance(found, tuple) and len(found) == 2 and _are_halves(found):
        (x, y), (x_val, y_val) = found
        return {"x": x, "y": y, "x_val": x_val, "y_val": y_val}
    if isinstance(found, tuple) and len(found) in _FIELDS:
        return dict(zip(_FIELDS[len(found)], found, strict=True))
    kind = type(found).__name__
    if isinstance(found, tuple):
        kind = f"{kind} of {len(found)}"
    message = f"a {kind}. {_EXPECTED}"
    raise InvalidInputError(message)


def _are_halves(found: tuple[Any, ...]) -> bool:
    """Whether a pair is ((x, y), (x_val, y_val)) as Keras' own data sets are, not (x, y)."""
    if not all(isinstance(half, tuple) and len(half) == 2 for half in found):
        return False
    try:
        Data(x=found[0], y=found[1])
    except InvalidInputError:
        return True
    return False
