"""Statistics of normalisations after cutting: those of batches, and nothing else changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from morphnet_core.signals.source import as_numpy
from morphnet_core.surgery import reestimate

pytestmark = pytest.mark.keras


def images(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(2.0, 3.0, (count, 6, 6, 3)).astype("float32")


def network(**norm: Any) -> Any:
    """A normalisation of its own, one that two branches share, and one in a nested model."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3), name="image")
    numbers = keras.Input((2,), name="numbers")
    inner = keras.Input((6, 6, 4))
    x = layers.BatchNormalization(name="inside", **norm)(layers.Conv2D(4, 1, name="in")(inner))
    nested = keras.Model(inner, layers.ReLU()(x), name="nested")
    x = layers.BatchNormalization(name="first")(layers.Conv2D(4, 3, padding="same")(image))
    shared = layers.BatchNormalization(name="shared")
    x = layers.Add()([shared(x), shared(nested(layers.Dropout(0.5)(x)))])
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), numbers])
    return keras.Model([image, numbers], layers.Dense(2, name="head")(x), name="net")


def norms(model: Any) -> dict[str, Any]:
    found = {item.name: item for item in (*model.layers, *model.get_layer("nested").layers)}
    return {name: found[name] for name in ("first", "shared", "inside")}


def statistics(layer: Any) -> Any:
    return np.stack([as_numpy(layer.moving_mean), as_numpy(layer.moving_variance)])


def batches(*sizes: int) -> list[Any]:
    return [[images(size, place), np.zeros((size, 2))] for place, size in enumerate(sizes)]


def test_they_are_what_a_first_layer_reads() -> None:
    model = network()
    some = batches(12, 4)
    convolution = model.layers[1]
    seen = [as_numpy(convolution(x)) for x, _ in some]
    wanted = [np.stack([item.mean((0, 1, 2)), item.var((0, 1, 2))]) for item in seen]
    reestimate(model, some)
    found = statistics(norms(model)["first"])
    np.testing.assert_allclose(found, 0.75 * wanted[0] + 0.25 * wanted[1], rtol=1e-4, atol=1e-4)


def test_the_result_is_normalised_where_layers_are_shared_and_nested() -> None:
    model = network()
    some = batches(16)
    reestimate(model, some)
    shared = norms(model)["shared"]
    outputs = [node.outputs[0] for node in model.get_layer("nested")._inbound_nodes[-1:]]
    probe = keras.Model(model.inputs, [norms(model)["first"].output, outputs[0]])
    read = np.concatenate([as_numpy(item) for item in probe([*some[0]], training=False)])
    # One layer normalises both: its statistics are the mean of theirs.
    np.testing.assert_allclose(statistics(shared)[0], read.mean((0, 1, 2)), rtol=1e-3, atol=1e-3)


def test_nothing_else_changes() -> None:
    model = network()
    norms(model)["inside"].trainable = False
    collected = {id(norms(model)[name]) for name in ("first", "shared")}
    before = [as_numpy(item) for item in model.variables]
    momenta = {name: layer.momentum for name, layer in norms(model).items()}
    reestimate(model, batches(8))
    moving = {
        id(variable)
        for layer in norms(model).values()
        if id(layer) in collected
        for variable in (layer.moving_mean, layer.moving_variance)
    }
    for variable, old in zip(model.variables, before, strict=True):
        same = np.array_equal(as_numpy(variable), old)
        assert same == (id(variable) not in moving), variable.path
    assert momenta == {name: layer.momentum for name, layer in norms(model).items()}
    assert all("call" not in vars(layer) for layer in norms(model).values())


def test_it_is_done_again_alike_and_no_batch_changes_nothing() -> None:
    model = network()
    reestimate(model, batches(8, 8))
    first = [as_numpy(item) for item in model.variables]
    reestimate(model, batches(8, 8))
    reestimate(model, [])
    for variable, old in zip(model.variables, first, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), old)


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = network()
    before = [as_numpy(item) for item in model.variables]
    with pytest.raises(ValueError, match=r"incompatible|expected"):
        reestimate(model, [batches(8)[0], [images(8)[:, :, :, :2], np.zeros((8, 2))]])
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), old)


def test_what_was_no_number_is_one_again() -> None:
    model = network()
    norms(model)["first"].moving_mean.assign(np.full(4, np.nan))
    reestimate(model, batches(8))
    assert np.isfinite(statistics(norms(model)["first"])).all()
