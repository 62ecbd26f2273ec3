"""Recipe: the user's Python file that says what a network is trained on, and how."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from costmodel.errors import InvalidInputError
from morphnet_core.morphing.data import Data

_EXPECTED = (
    "Expected a Python file with a function load() that returns (x, y), (x, y, x_val, y_val) or a "
    "morphnet_core.morphing.Data, and, if the standard recipe does not suit, a function "
    "compiled(model, steps) that compiles and returns the model."
)
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
    if not path.is_file() or path.suffix != ".py":
        message = f"{path} is not a Python file. {_EXPECTED}"
        raise InvalidInputError(message)
    module = _run(path)
    if not callable(getattr(module, "load", None)):
        message = f"{path} has no function load(). {_EXPECTED}"
        raise InvalidInputError(message)
    try:
        found = module.load()
    except Exception as error:
        message = f"load() of {path} failed with {type(error).__name__}: {error}."
        raise InvalidInputError(message) from error
    return Recipe(
        data=_data(found, path, batch_size), compiled=getattr(module, "compiled", standard)
    )


def _run(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # what lies beside a script can be imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        message = f"{path} could not be run: {type(error).__name__}: {error}."
        raise InvalidInputError(message) from error
    finally:
        sys.path.pop(0)
    return module


def _data(found: Any, path: Path, batch_size: int | None) -> Data:
    if isinstance(found, Data):
        return found
    if not isinstance(found, tuple) or len(found) not in {2, 4}:
        kind = (
            f"{type(found).__name__} of {len(found)}"
            if isinstance(found, tuple)
            else type(found).__name__
        )
        message = f"load() of {path} returned a {kind}. {_EXPECTED}"
        raise InvalidInputError(message)
    arrays = [np.asarray(item) for item in found]
    for x, y in zip(arrays[::2], arrays[1::2], strict=True):
        if not len(x) or len(x) != len(y):
            message = (
                f"load() of {path} returned {len(x)} inputs with {len(y)} targets. There must be "
                "as many, and at least one."
            )
            raise InvalidInputError(message)
    x_val, y_val = arrays[2:] if len(arrays) == 4 else (None, None)
    more = {} if batch_size is None else {"batch_size": batch_size}
    return Data(x=arrays[0], y=arrays[1], x_val=x_val, y_val=y_val, **more)
