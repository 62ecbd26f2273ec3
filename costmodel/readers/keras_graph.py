"""Graphs of layers for Keras models that have none: sequential ones without input, subclasses.

A subclass of ``keras.Model`` is its Python code. Called on symbolic tensors, code that only calls
layers and ``keras.ops`` tells the graph that it stands for.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from costmodel.errors import ModelFormatError, first_line

#: Graphs by model, so that every part of a program sees the same names.
_FOUND: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def with_graph(model: Any, x: Any = None) -> Any:
    """The model itself where it has a graph of layers, else one of the same layers that has.

    Args:
        model: any Keras model.
        x: inputs with their batch axis, as the model is called with them; without them, it must
            have been called or built before.

    Returns:
        A functional or built sequential model; it shares layers and weights with ``model``.

    Raises:
        ModelFormatError: if there is no telling what the graph is; says why, and what to do.
    """
    import keras

    if isinstance(model, keras.Sequential):
        return _built(model, x)
    if hasattr(model, "_nodes_by_depth"):
        return model
    if model not in _FOUND:
        _FOUND[model] = _traced(model, x)
    return _FOUND[model]


def _built(model: Any, x: Any) -> Any:
    """A sequential model that knows the size of its input."""
    if getattr(model, "_functional", None) is None and x is not None:
        model.build((None, *np.shape(x)[1:]) if not isinstance(x, Mapping | list | tuple) else None)
    if getattr(model, "_functional", None) is None:
        message = (
            f"The sequential model {model.name!r} does not know the size of its input yet, so it "
            "has no work to count. Put keras.Input(shape) before its first layer, or call it on "
            "data once before it is saved."
        )
        raise ModelFormatError(message)
    return model


def _traced(model: Any, x: Any) -> Any:
    """The functional form of a model that is a class."""
    import keras

    inputs = _inputs(model, x)
    kinds: list[list[str]] = []
    graph: Any = None
    for training in (True, None):
        try:
            if x is not None and not model.built:
                model(x)
            outputs = _called(model, inputs, training=training)
            graph = keras.Model(inputs, outputs, name=model.name)
        except Exception as error:
            first = first_line(error)
            raise _no_graph(model, f"its call() cannot be followed ({first})") from error
        kinds.append([type(item).__name__ for item in graph.operations])
    if kinds[0] != kinds[1]:
        raise _no_graph(model, "its call() does other things in training than at inference")
    known = {id(item) for item in graph.weights}
    lost = [item.path for item in model.weights if id(item) not in known]
    if lost:
        raise _no_graph(model, f"its weight {lost[0]!r} is in no layer that its call() calls")
    return graph


def _called(model: Any, inputs: Any, *, training: bool | None) -> Any:
    takes = inspect.signature(model.call).parameters
    needed = [name for name, item in takes.items() if item.default is inspect.Parameter.empty]
    if len(needed) != 1:
        message = f"it takes {', '.join(needed)} where one structure of inputs is expected."
        raise TypeError(message)
    return model.call(inputs, **({"training": training} if "training" in takes else {}))


def _inputs(model: Any, x: Any) -> Any:
    """Symbolic inputs like the data, or of the sizes that the model was built with."""
    import keras

    if x is not None:
        return _like(x, None)
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if not isinstance(shape, list | tuple) or not all(
        isinstance(size, int | None) for size in shape
    ):
        raise _no_graph(model, "it has not been called on data yet")
    return keras.Input(tuple(shape)[1:])


def _like(x: Any, name: str | None) -> Any:
    """Symbolic inputs in the structure of the data, named by its keys."""
    import keras

    if isinstance(x, Mapping):
        return {key: _like(value, str(key)) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_like(value, name and f"{name}_{place}") for place, value in enumerate(x)]
    dtype = keras.backend.standardize_dtype(np.asarray(x).dtype)
    return keras.Input(np.shape(x)[1:], dtype="float32" if dtype == "float64" else dtype, name=name)


def _no_graph(model: Any, why: str) -> ModelFormatError:
    return ModelFormatError(
        f"The Keras model {model.name!r} ({type(model).__name__}) has no graph of layers, and none "
        f"can be found: {why}. Build it with the functional API: keras.Model(inputs, outputs)."
    )
