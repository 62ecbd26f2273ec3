"""A copied model has the layers, weights and names of the first, and shares nothing with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from morphnet_core.signals.copying import copied


def sequential() -> keras.Model:
    return keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
    )


def two_inputs() -> keras.Model:
    a, b = keras.Input((6, 6, 3)), keras.Input((6, 6, 3))
    return keras.Model([a, b], layers.Add()([layers.Conv2D(3, 1)(a), b]))


@pytest.mark.keras
@pytest.mark.parametrize("make", [sequential, two_inputs])
def test_a_copy_is_the_same_model_of_its_own(make: type[keras.Model]) -> None:
    model = make()
    copy = copied(model)
    assert [item.name for item in copy.inputs] == [item.name for item in model.inputs]
    maps = [np.random.default_rng(0).normal(size=(2, 6, 6, 3)) for _ in model.inputs]
    fed = maps if len(maps) > 1 else maps[0]
    before = np.asarray(model(fed))
    assert np.array_equal(np.asarray(copy(fed)), before)
    copy.set_weights([weight * 0 for weight in copy.get_weights()])
    assert np.array_equal(np.asarray(model(fed)), before)
