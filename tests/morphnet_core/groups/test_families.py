"""Shapes of networks that people use: a U-Net, a detector with two heads, ConvNeXt's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.readers.keras import read_keras
from morphnet_core.groups import cascade, find_groups, resize

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|jax|torch)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras", reason="needs the keras extra")


def cut(model, share=0.5):
    """Groups of a model, and the network without about half of the channels."""
    network = read_keras(model)
    network.check()
    grouping = find_groups(network)
    scores = np.random.default_rng(0).random(grouping.num_units)
    alive = cascade(grouping, grouping.allowed(scores < share, scores))
    small = resize(grouping, alive)
    small.check()
    assert sum(op.macs for op in small.ops) < 0.7 * sum(op.macs for op in network.ops)
    return grouping


def test_u_net(keras):
    layers = keras.layers
    x = image = keras.Input((16, 16, 3), name="image")
    skips = []
    for depth, width in enumerate((4, 6)):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"down{depth}")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(8, 3, padding="same", name="bottom")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up1")(x)
    x = layers.Concatenate()([skips[1], x])
    x = layers.UpSampling2D(interpolation="bilinear")(
        layers.Conv2D(5, 3, padding="same", name="c1")(x)
    )
    x = layers.Concatenate()([skips[0], x])
    x = layers.Conv2D(2, 1, activation="softmax", name="head")(x)
    grouping = cut(keras.Model(image, x))
    assert [(g.name, g.size) for g in grouping.groups if not g.frozen] == [
        ("down0", 4), ("down1", 6), ("bottom", 8), ("up1", 6), ("c1", 5),
    ]  # fmt: skip
    assert grouping.notes == {}


def test_detector_with_heads_on_two_maps(keras):
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    first = layers.Conv2D(6, 3, strides=2, activation="relu", name="first")(image)
    second = layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(first)
    outputs = []
    for title, values in (("boxes", 4), ("classes", 3)):
        parts = []
        for level, tensor in enumerate((first, second)):
            head = layers.Conv2D(2 * values, 3, padding="same", name=f"{title}{level}")(tensor)
            parts.append(layers.Reshape((-1, values))(head))
        outputs.append(layers.Concatenate(axis=1, name=title)(parts))
    grouping = cut(keras.Model(image, outputs))
    assert [g.name for g in grouping.groups if not g.frozen] == ["first", "second"]
    assert {g.frozen for g in grouping.groups if "boxes0" in g.producers} == {
        "it is the network's output"
    }


def test_blocks_of_convnext_and_inception_resnet(keras):
    layer_class: Any = keras.layers.Layer

    # Keras has them beside its applications; what only has their names would be opaque.
    class LayerScale(layer_class):
        __module__ = "keras.src.applications.convnext"

        def build(self, shape):
            self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

        def call(self, x):
            return x * self.gamma

    class CustomScaleLayer(layer_class):
        __module__ = "keras.src.applications.inception_resnet_v2"

        def call(self, inputs):
            return inputs[0] + inputs[1] * 0.1

        def compute_output_shape(self, shapes):
            return shapes[0]

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 1, name="stem")(image)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.Dense(12, activation="gelu", name="wide")(y)
    y = LayerScale(name="scale")(layers.Dense(6, name="narrow")(y))
    x = layers.Add()([x, y])
    x = CustomScaleLayer(name="mix")([x, layers.Conv2D(6, 1, name="branch")(x)])
    grouping = cut(keras.Model(image, layers.Conv2D(2, 1, name="head")(x)))
    assert [(g.name, g.producers) for g in grouping.groups if not g.frozen] == [
        ("stem", ("stem", "narrow", "branch")),
        ("wide", ("wide",)),
    ]
    assert grouping.notes == {}


def test_mobile_inverted_residuals_of_keras(keras):
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    grouping = cut(model)
    assert grouping.share_prunable > 0.9
    assert grouping.notes == {}
    assert len(grouping.groups) == 27
