"""What the original's boundaries mean on Keras: models, tensors, layers, batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from costmodel.errors import InvalidInputError
from morphnet_core.gates.insert import functional


def model_of(boundary: Any) -> Any:
    """The model that ends at ``boundary``."""
    if isinstance(boundary, keras.Model):
        return boundary
    tensors = list(boundary) if isinstance(boundary, Sequence) else [boundary]
    strange = [item for item in tensors if not hasattr(item, "_keras_history")]
    if strange or not tensors:
        message = (
            f"output_boundary is a model or Keras tensors of one, such as [model.output]. "
            f"Received: {boundary!r}."
        )
        raise InvalidInputError(message)
    return keras.Model(_sources(tensors), tensors)


def _sources(tensors: Sequence[Any]) -> list[Any]:
    """The inputs that tensors are computed from, in the order in which they are met."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, node, _ = tensor._keras_history
        if isinstance(operation, keras.layers.InputLayer):
            found[id(tensor)] = tensor
        else:
            waiting += operation._inbound_nodes[node].input_tensors
    return list(found.values())


def layer_name(item: Any) -> str:
    """The path that a layer, a tensor or a path means."""
    if isinstance(item, str):
        return item
    history = getattr(item, "_keras_history", None)
    return str(item.name if history is None else history.operation.name)


def at_batch(model: Any, batch: int) -> Any:
    """The same layers on so many images at once, to be read and thrown away."""
    if batch == 1:
        return model
    if batch < 1:
        message = f"batch_size must be at least 1. Received: {batch}."
        raise InvalidInputError(message)
    graph = functional(model)
    inputs = keras.tree.map_structure(
        lambda item: keras.Input(
            batch_shape=(batch, *item.shape[1:]), dtype=item.dtype, name=item.name
        ),
        graph.input,
    )
    return keras.models.clone_model(graph, input_tensors=inputs, clone_function=lambda layer: layer)
