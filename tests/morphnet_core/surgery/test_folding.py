"""What removed channels still added is in the biases of their readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, without
from keras import layers
from keras_models import randomised

from morphnet_core.groups import Grouping
from morphnet_core.surgery import shrink

pytestmark = pytest.mark.keras

DEAD = [1, 2, 5]


def network(tail: Callable[[Any], Any]) -> Any:
    """Six channels of which three return the constant that is their shift."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    model = randomised(keras.Model(inputs, tail(x), name="net"))
    norm = model.get_layer("norm")
    gamma, beta = (np.array(item) for item in (norm.gamma, norm.beta))
    gamma[DEAD], beta[DEAD] = 1e-9, (0.7, 1.3, -0.4)
    norm.gamma.assign(gamma)
    norm.beta.assign(beta)
    return model


def cut(model: Any, **options: Any) -> Any:
    grouping = grouped(model)
    return shrink(model, lacking(grouping, DEAD), grouping=grouping, **options)


def lacking(grouping: Grouping, channels: list[int]) -> Any:
    """All units but some of the first layer's."""
    alive = grouping.full()
    alive[grouping.by_name["first"].start + np.array(channels)] = False
    return alive


def images(count: int = 32) -> Any:
    return np.random.default_rng(3).normal(size=(count, 8, 8, 3)).astype("float32")


def into_a_mean(x: Any) -> Any:
    x = layers.Conv2D(5, 3, use_bias=False, name="second")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="after")(x))
    return layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))


def into_a_bias(x: Any) -> Any:
    x = layers.Conv2D(5, 3, activation="relu", name="second")(x)
    return layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))


def into_a_bias_that_was_not_there(x: Any) -> Any:
    x = layers.ReLU()(layers.Conv2D(5, 1, use_bias=False, name="second")(x))
    return layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))


def into_a_product(x: Any) -> Any:
    return layers.Dense(2, name="head")(layers.Flatten()(layers.MaxPooling2D(2)(x)))


def into_two(x: Any) -> Any:
    one = layers.Conv2D(4, 1, name="second", use_bias=False)(x)
    two = layers.Conv2D(4, 1, name="third")(x)
    x = layers.Add()([layers.BatchNormalization(name="after")(one), two])
    return layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))


TAILS = (into_a_mean, into_a_bias, into_a_bias_that_was_not_there, into_a_product, into_two)


@pytest.mark.parametrize("tail", TAILS)
def test_silenced_channels_go_without_a_trace(tail: Callable[[Any], Any]) -> None:
    model = network(tail)
    small = cut(model)
    assert small.get_layer("first").filters == 3
    found, wanted = (item(images(), training=False) for item in (small, model))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    given = tail is into_a_bias_that_was_not_there
    assert small.count_params() < model.count_params()
    assert all(
        layer.use_bias
        == (model.get_layer(layer.name).use_bias or (given and layer.name == "second"))
        for layer in small.layers
        if hasattr(layer, "use_bias")
    )


def test_at_padded_borders_it_is_right_on_average() -> None:
    def padded(x: Any) -> Any:
        return layers.Conv2D(4, 3, padding="same", name="second")(x)

    model = network(padded)
    found, wanted = (np.array(item(images(), training=False)) for item in (cut(model), model))
    np.testing.assert_allclose(found.mean((0, 1, 2)), wanted.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    apart = np.abs(found - wanted).mean((0, 3))
    assert apart[1:-1, 1:-1].max() < apart[0].min()


def test_channels_that_live_are_replaced_by_their_means_where_there_are_examples() -> None:
    model = network(into_a_bias)
    grouping = grouped(model)
    alive = lacking(grouping, [0, 3])
    plain = shrink(model, alive, grouping=grouping)
    x = images(64)
    folded = shrink(model, alive, grouping=grouping, examples=[[x[:40]], [x[40:]]])

    def before_relu(some: Any) -> Any:
        second = some.get_layer("second")
        second.activation = keras.activations.linear
        return np.array(keras.Model(some.inputs[0], second.output)(x, training=False)).mean(
            (0, 1, 2)
        )

    wanted, apart = before_relu(model), [before_relu(item) for item in (plain, folded)]
    np.testing.assert_allclose(apart[1], wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(apart[0] - wanted).max() > 0.05


def test_a_dead_branch_leaves_what_it_returned_on_average() -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    stem = layers.Conv2D(4, 1, name="stem")(inputs)
    x = layers.ReLU()(layers.Conv2D(6, 1, name="first")(stem))
    x = layers.Add(name="add")([stem, layers.Conv2D(4, 1, name="second")(x)])
    model = randomised(keras.Model(inputs, layers.Conv2D(2, 1, name="head")(x)))
    x = images(16)
    grouping = grouped(model)
    small = shrink(model, without(grouping, "first"), grouping=grouping, examples=[x])
    assert "second" not in {layer.name for layer in small.layers}
    found, wanted = (np.array(item(x, training=False)).mean((0, 1, 2)) for item in (small, model))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
