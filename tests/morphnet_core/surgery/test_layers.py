"""Layers and operations one by one: what is cut, what is left alone, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, random_alive, shrunk_exactly
from keras import layers, ops
from keras_models import randomised

from costmodel.errors import ModelFormatError
from morphnet_core.surgery import shrink
from morphnet_core.surgery.plan import Plan

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


class Scale(layers.Layer):
    """One factor for each channel, as ConvNeXt has."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

    def call(self, x: Any) -> Any:
        return x * self.gamma


class Unsettled(layers.Layer):
    """Says nothing of its argument."""

    def __init__(self, function: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def between(middle: Callable[[Any], Any], channels: int = 8) -> Any:
    """A model with something between two convolutions."""
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(channels, 3, padding="same", name="before")(image)
    x = layers.Conv2D(4, 1, name="after")(middle(x))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomised(keras.Model(image, layers.Dense(2, name="head")(x)))


def shuffle(x: Any) -> Any:
    x = layers.Reshape((6, 6, 2, 4), name="split")(x)
    x = layers.Permute((1, 2, 4, 3), name="turn")(x)
    return layers.Reshape((6, 6, 8), name="join")(x)


def halves(x: Any) -> Any:
    one, two, three = ops.split(x, [2, 5], axis=-1)
    return ops.concatenate([three, ops.relu(one), ops.sigmoid(two)], axis=-1)


def padded(x: Any) -> Any:
    more = layers.Conv2D(12, 1, name="more")(x)
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (2, 2))) + more


CUT: dict[str, Callable[[Any], Any]] = {
    "depthwise_as_groups": lambda x: layers.Conv2D(16, 3, groups=8, name="m")(x),
    "grouped": lambda x: layers.Conv2D(12, 3, groups=4, name="m")(x),
    "prelu": lambda x: layers.PReLU(name="m")(x),
    "prelu_shared": lambda x: layers.PReLU(shared_axes=[1, 2, 3], name="m")(x),
    "rescaling": lambda x: layers.Rescaling([0.1 * i for i in range(1, 9)], 0.5, name="m")(x),
    "no_scale_no_center": lambda x: layers.BatchNormalization(scale=False, center=False)(x),
    "dilated": lambda x: layers.Conv2D(5, 3, dilation_rate=2, use_bias=False, name="m")(x),
    "transposed": lambda x: layers.Conv2DTranspose(5, 3, strides=2, name="m")(x),
    "dense_per_pixel": lambda x: layers.Dense(5, activation="relu", name="m")(x),
    "vector_of_numbers": lambda x: x * np.linspace(0.5, 2.0, 8).astype("float32") + 1.0,
    "reshape": lambda x: layers.Reshape((3, 12, 8), name="m")(x),
    "op_reshape": lambda x: ops.reshape(x, (-1, 36, 1, 8)),
    "shuffle": shuffle,
    "split": halves,
    "padded": padded,
    "slice_of_pixels": lambda x: x[:, 1:5, ..., 2:7],
    "resizing": lambda x: layers.Resizing(4, 4, name="m")(x),
    "permuted": lambda x: layers.Permute((2, 1, 3), name="m")(x),
    "dropout": lambda x: layers.Dropout(0.5, name="m")(layers.GaussianNoise(0.1)(x)),
    "cropping": lambda x: layers.Cropping2D(1, name="m")(x),
}
KEPT: dict[str, Callable[[Any], Any]] = {
    "layer_norm": lambda x: layers.LayerNormalization(name="m")(x),
    "group_norm": lambda x: layers.GroupNormalization(4, name="m")(x),
    "custom": lambda x: Scale(name="m")(x),
    "lambda": lambda x: layers.Lambda(lambda t: t * 2.0, name="m")(x),
    "attention": lambda x: layers.MultiHeadAttention(2, 4, name="m")(x, x),
    "wrapper": lambda x: layers.TimeDistributed(layers.Conv1D(4, 1), name="m")(x),
}


@pytest.mark.parametrize("name", list(CUT))
def test_channels_around_a_layer_are_cut(name: str) -> None:
    model = between(CUT[name])
    grouping = grouped(model)
    for seed in range(2):
        alive = random_alive(grouping, 0.6, seed)
        group = grouping.by_name["before"]
        alive[group.units] = np.arange(group.size) % (seed + 2) != 0
        small = shrunk_exactly(model, grouping, alive)
        assert small.get_layer("before").filters < 8


@pytest.mark.parametrize("name", list(KEPT))
def test_layers_without_a_rule_keep_channels_and_weights(name: str) -> None:
    model = between(KEPT[name])
    grouping = grouped(model)
    alive = grouping.full()
    alive[grouping.by_name["after"].start] = False
    small = shrunk_exactly(model, grouping, alive)
    assert small.get_layer("after").filters == 3
    assert small.get_layer("before").filters == 8
    assert type(small.get_layer("m")) is type(model.get_layer("m"))


def test_layer_normalisation_is_cut_where_it_is_freed() -> None:
    model = between(lambda x: layers.LayerNormalization(name="m")(x))
    grouping = grouped(model, normalisations=True)
    alive = grouping.full()
    alive[grouping.by_name["before"].start + 2] = False
    small = shrink(model, alive, grouping=grouping)
    gamma = np.asarray(keras.ops.convert_to_numpy(model.get_layer("m").gamma))
    cut = np.asarray(keras.ops.convert_to_numpy(small.get_layer("m").gamma))
    assert np.array_equal(cut, np.delete(gamma, 2))


def test_a_layer_that_cannot_be_made_again_is_named() -> None:
    model = between(lambda x: Unsettled(ops.relu, name="m")(x))
    grouping = grouped(model)
    with pytest.raises(
        ModelFormatError, match=r"Layer 'm' .Unsettled. cannot be made again"
    ) as got:
        shrink(model, grouping.full(), grouping=grouping)
    assert "Give the class a get_config()" in str(got.value)


def test_a_subclassed_model_is_refused() -> None:
    class Custom(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    model = between(lambda x: x)
    grouping = grouped(model)
    with pytest.raises(ModelFormatError, match=r"Custom. has no graph of layers"):
        shrink(Custom(name="c"), grouping.full(), grouping=grouping)


def test_a_plan_needs_one_entry_a_unit() -> None:
    grouping = grouped(between(lambda x: x))
    with pytest.raises(ValueError, match="how often each of the 17 units"):
        Plan(grouping, np.ones(3, dtype=np.intp))
