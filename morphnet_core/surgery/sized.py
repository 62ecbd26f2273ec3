"""A network that takes images of another size, with the weights it has."""

from __future__ import annotations

from typing import Any

import keras

from costmodel.errors import InvalidInputError, ModelFormatError, first_line
from costmodel.readers.keras import graph_of


def at_size(model: Any, size: tuple[int, int]) -> Any:
    """The model for images of another size.

    All its weights must fit any size, as those of convolutions do in front of a global pooling; a
    network inside it keeps the size that it has.

    Args:
        model: functional or sequential, with one input of images; not changed.
        size: height and width.

    Returns:
        A new Keras model, not compiled; of a sequential model a functional one.

    Raises:
        InvalidInputError: if it takes no images.
        ModelFormatError: if it does not work at that size.
    """
    graph = graph_of(model)
    shape = None if graph is None or len(graph.inputs) != 1 else tuple(graph.inputs[0].shape)
    if graph is None or shape is None or len(shape) != 4:
        message = (
            f"Other resolutions are for networks with one input of images. {model.name!r} has no "
            "such input."
        )
        raise InvalidInputError(message)
    first = keras.config.image_data_format() == "channels_first"
    wanted = (shape[1], *size) if first else (*size, shape[3])
    source = graph.inputs[0]
    name = source._keras_history.operation.name
    try:
        inputs = keras.Input(wanted, batch_size=shape[0], dtype=source.dtype, name=name)
        fed = keras.tree.pack_sequence_as(graph.input, [inputs])
        made = keras.models.clone_model(graph, input_tensors=fed)
        made.set_weights(graph.get_weights())
    except Exception as error:
        message = (
            f"{model.name!r} does not work on images of {size[0]} by {size[1]}: "
            f"{first_line(error)} Leave that resolution out. What works at any size has no network "
            "of a fixed size inside, and a global pooling in front of its dense layers."
        )
        raise ModelFormatError(message) from error
    return made
