"""The same network, with its weights, on images of another size."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import InvalidInputError, ModelFormatError
from morphnet_core.surgery.sized import at_size

pytestmark = pytest.mark.keras


def network(*, pooled: bool) -> Any:
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_a")(x))
    x = layers.GlobalAveragePooling2D()(x) if pooled else layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def test_weights_and_names_stay() -> None:
    model = network(pooled=True)
    small = at_size(model, (8, 12))
    assert small.input_shape == (None, 8, 12, 3)
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    for old, new in zip(model.get_weights(), small.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert small(np.zeros((1, 8, 12, 3))).shape == (1, 3)
    again = keras.Sequential([keras.Input((16, 16, 3)), *model.layers[1:]])
    assert at_size(again, (8, 8)).output_shape == (None, 3)


def test_what_is_of_one_size_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="does not work on images of 8 by 8"):
        at_size(network(pooled=False), (8, 8))
    inputs = keras.Input((16, 16, 3))
    nested = keras.Model(inputs, network(pooled=True)(inputs))
    with pytest.raises(ModelFormatError, match="of a fixed size inside"):
        at_size(nested, (8, 8))
    with pytest.raises(InvalidInputError, match="one input of images"):
        at_size(keras.Sequential([keras.Input((4,)), layers.Dense(2)]), (8, 8))
