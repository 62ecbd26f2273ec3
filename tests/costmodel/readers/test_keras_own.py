"""Subclasses: read as their base where they compute what it does, else opaque with the reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from costmodel.readers.keras import graph_of, read_keras

pytest.importorskip("keras", reason="needs the keras extra")

import keras
from keras import layers, ops

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|jax|torch)"),
]


class Reflecting(layers.Conv2D):
    def call(self, x: Any) -> Any:
        return super().call(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"))


class Named(layers.Conv2D):
    """Describes itself otherwise."""

    def __init__(self, *args: Any, note: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = note

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "note": self.note}

    def compute_output_shape(self, shape: Any) -> Any:
        return super().compute_output_shape(shape)

    def helper(self) -> int:
        return 3


class Standardised(layers.Conv2D):
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernel = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel)


class Deeper(Standardised):
    """Overrides nothing itself."""


class Doubling:
    """A mixin."""

    def call(self, x: Any) -> Any:
        return super().call(x) * 2.0  # type: ignore[misc]


class Doubled(Doubling, layers.Dense):
    pass


class ByFanIn(layers.Dense):
    def call(self, x: Any) -> Any:
        return super().call(x) / x.shape[-1]


class Centred(layers.Dense):
    def call(self, x: Any) -> Any:
        found = super().call(x)
        return found - ops.mean(found, axis=-1, keepdims=True)


class OwnKernel(layers.Dense):
    @property
    def kernel(self) -> Any:
        return ops.softmax(super().kernel, axis=0)


class More(layers.Dense):
    def build(self, shape: Any) -> None:
        super().build(shape)
        self.gain = self.add_weight(shape=(self.units,), name="gain")

    def call(self, x: Any) -> Any:
        return super().call(x) * self.gain


class Leaky(layers.ReLU):
    def call(self, x: Any) -> Any:
        return ops.maximum(x, 0.1 * x)


class Ranked(layers.ReLU):
    def call(self, x: Any) -> Any:
        return x * ops.cast(x >= ops.max(x, axis=-1, keepdims=True), x.dtype)


class Sunk(layers.BatchNormalization):
    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        return super().call(x, training=training, mask=mask) - 1.0


class Total(layers.Add):
    def call(self, inputs: Any) -> Any:
        return ops.flip(inputs[0] + inputs[1], axis=-1)


class Conv2D(layers.Layer):
    """Called like Keras's."""

    def call(self, x: Any) -> Any:
        return x


def relu(x: Any) -> Any:
    """Not everybody's."""
    return x - ops.mean(x, axis=-1, keepdims=True)


AS_THEIR_BASE: dict[str, Callable[[], Any]] = {
    "pads": lambda: Reflecting(4, 3, activation="relu"),
    "describes": lambda: Named(4, 3, note="n"),
    "mixin": lambda: Doubled(4),
    "elementwise": lambda: Leaky(),
    "norm": lambda: Sunk(),
    "strides": lambda: Named(4, 3, strides=2, use_bias=False),
}
OPAQUE: dict[str, Callable[[], Any]] = {
    "kernel_of_all": lambda: Standardised(4, 3),
    "inherited": lambda: Deeper(4, 3),
    "fan_in": lambda: ByFanIn(4),
    "outputs_together": lambda: Centred(4),
    "property": lambda: OwnKernel(4),
    "more_weights": lambda: More(4),
    "channels_together": lambda: Ranked(),
    "grouped": lambda: Reflecting(6, 3, groups=2),
    "same_name": lambda: Conv2D(),
}


def network_of(layer: Any) -> Any:
    image = keras.Input((5, 5, 6), name="image")
    return read_keras(keras.Model(image, layer(image)))


@pytest.mark.parametrize("name", list(AS_THEIR_BASE))
def test_what_computes_as_its_base_is_read_as_it(name: str) -> None:
    layer = AS_THEIR_BASE[name]()
    state = random.getstate()
    network = network_of(layer)
    assert not network.unread
    assert network.layers[0].name == layer.name
    assert random.getstate() == state


@pytest.mark.parametrize("name", list(OPAQUE))
def test_own_mathematics_is_opaque_and_named(name: str) -> None:
    layer = OPAQUE[name]()
    before = [np.array(keras.ops.convert_to_numpy(item)) for item in layer.weights]
    network = network_of(layer)
    assert list(network.unread) == [layer.name]
    assert type(layer).__name__ in network.unread[layer.name]
    after = [keras.ops.convert_to_numpy(item) for item in layer.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=False))


def test_an_activation_of_ones_own_is_not_keras_s_of_that_name() -> None:
    for layer in (layers.Dense(4, activation=relu), layers.Activation(relu)):
        assert ".relu'" in network_of(layer).unread[layer.name]
    assert not network_of(layers.Dense(4, activation="relu")).unread


def test_a_method_put_on_the_layer_itself_counts() -> None:
    layer = layers.Dense(4)
    layer.call = lambda x: ops.flip(x, axis=-1)
    assert "overrides call()" in network_of(layer).unread[layer.name]


def test_a_merge_of_its_own_is_opaque() -> None:
    one, two = keras.Input((4,)), keras.Input((4,))
    network = read_keras(keras.Model([one, two], Total(name="t")([one, two])))
    assert network.unread["t"].startswith("Total overrides call() of Add")


def test_a_model_that_computes_more_than_its_graph_has_none() -> None:
    class Scaled(keras.Model):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return 2.0 * super().call(inputs, training=training, mask=mask)

    class Trained(keras.Model):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    class Stack(keras.Sequential):
        pass

    image = keras.Input((4,), name="image")
    out = layers.Dense(3, name="dense")(image)
    assert graph_of(Scaled(image, out)) is None
    assert graph_of(Trained(image, out)) is not None
    stack = Stack([keras.Input((4,)), layers.Dense(3, name="dense")], name="stack")
    nested = read_keras(keras.Model(image, stack(image)))
    assert [layer.name for layer in nested.layers] == ["stack/dense"]
    inner = Scaled(image, out, name="scaled")
    fresh = keras.Input((4,), name="fresh")
    outer = read_keras(keras.Model(fresh, inner(fresh)))
    assert list(outer.unread) == ["scaled"]
