"""A network learns from another's outputs, by the losses that it was compiled with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_layers import before_keras_3_8

from morphnet_core.morphing.distilling import TEMPERATURE, taught
from morphnet_core.signals.source import as_numpy

pytestmark = pytest.mark.keras

X = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")


def network(seed: int, last: str | None = None, **more: Any) -> Any:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((5,)), layers.Dense(3, activation=last, **more)])


def two_headed(seed: int, *, named: bool = False) -> Any:
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((5,), name="x")
    heads = {name: layers.Dense(size, name=name)(x) for name, size in (("kind", 3), ("at", 2))}
    return keras.Model(inputs, heads if named else list(heads.values()))


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def divergence(theirs: Any, ours: Any) -> float:
    soft, made = (softmax(item / TEMPERATURE) for item in (theirs, ours))
    return TEMPERATURE**2 * float((soft * np.log(soft / made)).sum(-1).mean())


def first_loss(model: Any, teacher: Any, y: Any, share: float, **more: Any) -> float:
    """Of the first step, before anything is learned."""
    with taught(model, teacher, share):
        return float(model.fit(X, y, batch_size=12, verbose=0, **more).history["loss"][0])


def compiled(model: Any, loss: Any, **more: Any) -> Any:
    model.compile(keras.optimizers.SGD(0.0), loss, **more)
    return model


CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_classes_are_compared_by_the_divergence_of_what_is_softened() -> None:
    model, teacher = compiled(network(1), CROSSENTROPY), network(2)
    y = np.arange(12) % 3
    own = model.evaluate(X, y, verbose=0)
    apart = divergence(as_numpy(teacher(X)), as_numpy(model(X)))
    assert apart > 0.01
    found = first_loss(model, teacher, y, 0.25)
    assert found == pytest.approx(0.75 * own + 0.25 * apart, rel=1e-4)


def test_probabilities_stand_for_logits() -> None:
    model, teacher = (network(seed, "softmax") for seed in (1, 2))
    compiled(model, "sparse_categorical_crossentropy")
    logits = [np.log(as_numpy(item(X))) for item in (teacher, model)]
    found = first_loss(model, teacher, np.zeros(12), 1.0)
    assert found == pytest.approx(divergence(*logits), rel=1e-3)


@pytest.mark.parametrize("last", [None, "sigmoid"])
def test_classes_each_right_or_not(last: str | None) -> None:
    logits = last is None
    model, teacher = network(1, last), network(2, last)
    compiled(model, keras.losses.BinaryCrossentropy(from_logits=logits))
    theirs, ours = (as_numpy(item(X)) for item in (teacher, model))
    if not logits:
        theirs, ours = (np.log(item / (1 - item)) for item in (theirs, ours))
    pairs = [np.stack([item, np.zeros_like(item)], -1) for item in (theirs, ours)]
    found = first_loss(model, teacher, np.zeros((12, 3)), 1.0)
    assert found == pytest.approx(divergence(*pairs), rel=1e-3)


def test_numbers_are_compared_by_their_squared_difference() -> None:
    model, teacher = compiled(network(1), "mse"), network(2)
    apart = float(((as_numpy(teacher(X)) - as_numpy(model(X))) ** 2).mean())
    assert first_loss(model, teacher, np.zeros((12, 3)), 1.0) == pytest.approx(apart, rel=1e-4)


@before_keras_3_8("takes losses by name in another order")
@pytest.mark.parametrize("form", ["in order", "by name", "outputs by name"])
def test_several_outputs_count_as_they_were_compiled(form: str) -> None:
    named = form == "outputs by name"
    model, teacher = two_headed(1, named=named), two_headed(2, named=named)
    loss: Any = {"at": "mse", "kind": CROSSENTROPY}
    weights: Any = {"at": 2.0, "kind": 0.5}
    y: Any = {"at": np.zeros((12, 2)), "kind": np.arange(12) % 3}
    if form == "in order":
        loss, weights, y = ([item["kind"], item["at"]] for item in (loss, weights, y))
    compiled(model, loss, loss_weights=weights)
    with taught(model, teacher, 1.0):
        found = model.fit(X, y, batch_size=12, verbose=0).history["loss"][0]
    theirs, ours = (item(X) for item in (teacher, model))
    kind, at = ("kind", "at") if named else (0, 1)
    wanted = 0.5 * divergence(as_numpy(theirs[kind]), as_numpy(ours[kind]))
    wanted += 2.0 * float(((as_numpy(theirs[at]) - as_numpy(ours[at])) ** 2).mean())
    assert found == pytest.approx(wanted, rel=1e-3)


@before_keras_3_8("wants a loss of every output")
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_an_output_without_a_loss_is_left_alone() -> None:
    model, teacher = two_headed(1), two_headed(2)
    compiled(model, [None, "mse"])
    with taught(model, teacher, 1.0):
        found = model.fit(X, [np.zeros(12), np.zeros((12, 2))], batch_size=12, verbose=0)
    apart = ((as_numpy(teacher(X)[1]) - as_numpy(model(X)[1])) ** 2).mean()
    assert found.history["loss"][0] == pytest.approx(float(apart), rel=1e-3)


def test_samples_weigh_and_regularisers_count_as_before() -> None:
    regulariser = keras.regularizers.L2(0.1)
    model, teacher = network(1, kernel_regularizer=regulariser), network(2)
    compiled(model, "mse")
    weights = np.arange(12.0)
    penalty = 0.1 * float((as_numpy(model.layers[0].kernel) ** 2).sum())
    apart = ((as_numpy(teacher(X)) - as_numpy(model(X))) ** 2).mean(axis=1)
    found = first_loss(model, teacher, np.zeros((12, 3)), 1.0, sample_weight=weights)
    assert found == pytest.approx(float((apart * weights).mean()) + penalty, rel=1e-4)


def test_it_learns_what_the_teacher_returns_and_the_teacher_nothing() -> None:
    model, teacher = network(1), network(2)
    model.compile(keras.optimizers.SGD(0.9), "mse")
    before = [as_numpy(item) for item in teacher.weights]
    with taught(model, teacher, 1.0):
        model.fit(X, np.zeros((12, 3)), epochs=50, batch_size=12, verbose=0)
    for variable, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), old)
    np.testing.assert_allclose(as_numpy(model(X)), as_numpy(teacher(X)), atol=0.1)


def test_validation_and_what_follows_are_of_the_labels_alone() -> None:
    model, teacher = compiled(network(1), "mse"), network(2)
    y = np.zeros((12, 3))
    own = model.evaluate(X, y, verbose=0)
    with taught(model, teacher, 1.0):
        during = model.fit(X, y, batch_size=12, validation_data=(X, y), verbose=0).history
    assert during["val_loss"][0] == pytest.approx(own, rel=1e-5)
    assert during["loss"][0] != pytest.approx(own, rel=1e-2)
    after = model.fit(X, y, batch_size=12, verbose=0).history["loss"][0]
    assert after == pytest.approx(own, rel=1e-5)
    assert "compute_loss" not in vars(model)


def test_a_loss_of_an_own_kind_says_nothing_to_a_teacher() -> None:
    def own(y: Any, made: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(y - made), axis=-1)

    said: list[str] = []
    model = compiled(network(1), own)
    before = model.evaluate(X, np.zeros((12, 3)), verbose=0)
    with taught(model, network(2), 1.0, said.append):
        found = model.fit(X, np.zeros((12, 3)), batch_size=12, verbose=0).history["loss"][0]
    assert found == pytest.approx(before, rel=1e-5)
    assert said == ["not distilled: only losses of Keras' own say how to, not own"]
