"""Importances by a Taylor expansion: they tell what the loss changes by, and are taken in time."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.readers.keras import read_keras
from morphnet_core.budget import LatencyBudget
from morphnet_core.budget.taylor import TaylorSnapshot, in_order_of, taylor_importance
from morphnet_core.data import Data
from morphnet_core.groups import find_groups

pytestmark = pytest.mark.keras
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def network() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, use_bias=False, name="a")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


@pytest.fixture
def data() -> Data:
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 6, 6, 2)).astype("float32")
    return Data(x=x, y=random.integers(0, 3, 32), batch_size=16)


def test_a_unit_that_nobody_reads_is_worth_nothing(network: Any, data: Data) -> None:
    head = network.get_layer("head")
    kernel, bias = head.get_weights()
    kernel[3] = 0.0
    head.set_weights([kernel, bias])
    grouping = find_groups(read_keras(network))
    found = taylor_importance(grouping, network, data, loss=LOSS)
    own = found[grouping.by_name["a"].units]
    assert own[3] == 0
    assert (np.delete(own, 3) > 0).all()


def test_importances_double_with_the_loss(network: Any, data: Data) -> None:
    grouping = find_groups(read_keras(network))
    units = grouping.by_name["a"].units
    once = taylor_importance(grouping, network, data, loss=LOSS)[units]
    twice = taylor_importance(grouping, network, data, loss=lambda t, p: 2 * LOSS(t, p))[units]
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4)


def test_layers_without_a_normalisation_are_rated_by_their_weights(data: Data) -> None:
    """A shortcut that no normalisation follows: a scale behind both writers is what is asked."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="way")(x)
    y = layers.BatchNormalization(gamma_initializer="random_uniform")(y)
    short = layers.Conv2D(4, 1, kernel_regularizer="l2", name="short", bias_initializer="ones")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([y, short])))
    network = keras.Model(inputs, layers.Dense(3, name="head")(x))
    grouping = find_groups(read_keras(network))
    found = taylor_importance(grouping, network, data, loss=LOSS, batches=1)
    scaled = keras.Model(inputs, [y, short])
    head = network.get_layer("head")
    logits = [
        head(keras.ops.mean(keras.ops.relu(factor * both), axis=(1, 2)))
        for both in [sum(scaled(data.x[:16], training=True))]
        for factor in (np.ones(4, "float32"), *(1 - 1e-2 * np.eye(4, dtype="float32")))
    ]
    losses = np.array([float(LOSS(data.y[:16], each)) for each in logits])
    expected = np.abs(losses[1:] - losses[0]) / 1e-2
    np.testing.assert_allclose(found[grouping.by_name["way"].units], expected, rtol=0.03)


def test_a_snapshot_is_taken_before_anything_is_charged(network: Any, data: Data) -> None:
    budget = LatencyBudget(network, "flops", target="50%", steps=16)
    snapshot = TaylorSnapshot(budget, data)
    budget.model.compile(keras.optimizers.SGD(0.05), LOSS)
    budget.model.fit(
        data.x, data.y, batch_size=8, epochs=1, callbacks=[budget, snapshot], verbose=0
    )
    assert snapshot.importance is not None
    before = snapshot.importance.copy()
    budget.model.fit(
        data.x, data.y, batch_size=8, epochs=3, callbacks=[budget, snapshot], verbose=0
    )
    np.testing.assert_array_equal(snapshot.importance, before)


def test_the_order_is_of_the_scores_and_the_worth_stays_with_the_group(network: Any) -> None:
    grouping = find_groups(read_keras(network))
    units = grouping.by_name["a"].units
    importance, scores = np.zeros(grouping.num_units), np.zeros(grouping.num_units)
    importance[units] = [5, 1, 2, 8, 3, 4, 7, 6]
    scores[units] = [1, 2, 3, 4, 5, 6, 7, 8]
    assert in_order_of(grouping, importance, scores)[units].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_layers_that_are_not_trained_are_rated_as_others(network: Any, data: Data) -> None:
    """Where only a new head is trained, what is behind it is not worthless."""
    for layer in network.layers[:-1]:
        layer.trainable = False
    grouping = find_groups(read_keras(network))
    found = taylor_importance(grouping, network, data, loss=LOSS)
    assert (found[grouping.by_name["a"].units] > 0).all()
    assert not network.get_layer("norm").trainable
