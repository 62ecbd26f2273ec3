"""Tiny Keras models with every kind of wiring, for the tests of the whole package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _norm(layers: Any, x: Any, name: str, activation: str | None = "relu") -> Any:
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_act")(x) if activation else x


def _conv(layers: Any, x: Any, filters: int, name: str, size: int = 3, **more: Any) -> Any:
    activation = more.pop("activation", "relu")
    x = layers.Conv2D(filters, size, padding="same", name=name, **more)(x)
    return _norm(layers, x, name, activation)


def chain(keras: Any) -> Any:
    """Three convolutions one after the other, with all sorts of layers in between."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(0.5, offset=[0.1, 0.2, 0.3], name="scale")(image)
    x = _conv(layers, x, 6, "conv1", use_bias=False)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(5, 3, name="conv2")(layers.ZeroPadding2D(1, name="pad")(x))
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.SpatialDropout2D(0.2, name="drop")(x)
    x = _conv(layers, x, 4, "conv3", strides=2, activation="gelu")
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="chain")


def residual(keras: Any) -> Any:
    """Two residual blocks, the second with a projection."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = _conv(layers, image, 6, "stem")
    y = _conv(layers, x, 4, "a1")
    y = _conv(layers, y, 6, "a2", activation=None)
    x = layers.ReLU(name="relu_a")(layers.Add(name="add_a")([x, y]))
    y = _conv(layers, x, 5, "b1", strides=2)
    y = _conv(layers, y, 7, "b2", activation=None)
    z = _conv(layers, x, 7, "project", 1, strides=2, activation=None)
    x = layers.ReLU(name="relu_b")(layers.Add(name="add_b")([y, z]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="residual")


def concat(keras: Any) -> Any:
    """Two inception-like blocks; the second reads the first one's slices."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = _conv(layers, image, 4, "stem")
    for block in "ab":
        one = _conv(layers, x, 3, f"{block}1", 1)
        two = _conv(layers, _conv(layers, x, 3, f"{block}2", 1), 4, f"{block}3")
        pool = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{block}_pool")(x)
        three = _conv(layers, pool, 2, f"{block}4", 1)
        x = layers.Concatenate(name=f"{block}_cat")([one, two, three])
    x = layers.GlobalMaxPooling2D(name="top")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="concat")


def depthwise(keras: Any) -> Any:
    """Inverted bottlenecks with squeeze-and-excite, a depth multiplier and a residual."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = _conv(layers, image, 4, "stem")
    y = _conv(layers, x, 8, "expand", 1, activation="relu6")
    y = layers.DepthwiseConv2D(3, padding="same", name="dw")(y)
    y = _norm(layers, y, "dw", "silu")
    gate = layers.GlobalAveragePooling2D(name="squeeze")(y)
    gate = layers.Reshape((1, 1, 8), name="reshape")(gate)
    gate = layers.Conv2D(3, 1, activation="relu", name="reduce")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    y = layers.Multiply(name="gate")([y, gate])
    y = _conv(layers, y, 4, "shrink", 1, activation=None)
    x = layers.Add(name="add")([x, y])
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same", name="dw2")(x)
    x = _conv(layers, _norm(layers, x, "dw2"), 6, "last", 1)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = layers.Flatten(name="flat")(layers.Conv2D(3, 1, name="head")(x))
    return keras.Model(image, x, name="depthwise")


def separable(keras: Any) -> Any:
    """Separable and grouped convolutions, and an operation of ``keras.ops``."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = _conv(layers, image, 4, "stem")
    x = layers.SeparableConv2D(
        6, 3, padding="same", depth_multiplier=2, activation="relu", name="sep"
    )(x)
    x = layers.Conv2D(8, 3, groups=2, padding="same", name="grouped")(x)
    x = keras.ops.relu(x) * 0.5
    x = layers.Conv2D(6, 1, name="after")(x)
    left, right = x[..., :4], x[..., 4:]
    x = layers.Concatenate(name="cat")([right, layers.LeakyReLU(name="leaky")(left)])
    x = layers.Conv2D(5, 1, name="last")(x)
    x = keras.ops.mean(x, axis=(1, 2))
    return keras.Model(image, layers.Dense(3, name="head")(x), name="separable")


def unet(keras: Any) -> Any:
    """Down, up by a transposed convolution and by resizing, with skips that are concatenated."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    one = _conv(layers, image, 4, "down1")
    two = _conv(layers, layers.MaxPooling2D(2, name="pool1")(one), 5, "down2")
    x = _conv(layers, layers.MaxPooling2D(2, name="pool2")(two), 6, "middle")
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu", name="up1")(x)
    x = _conv(layers, layers.Concatenate(name="skip1")([x, two]), 4, "fuse1")
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up2")(x)
    x = _conv(layers, layers.Concatenate(name="skip2")([x, one]), 4, "fuse2")
    return keras.Model(image, layers.Conv2D(2, 1, name="head")(x), name="unet")


def one_dimensional(keras: Any) -> Any:
    """1-D convolutions: plain, separable, depthwise, transposed."""
    layers = keras.layers
    signal = keras.Input((16, 2), name="signal")
    x = layers.Conv1D(4, 3, padding="same", activation="relu", name="conv")(signal)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.SeparableConv1D(5, 3, padding="same", name="sep")(x)
    x = layers.DepthwiseConv1D(3, padding="same", name="dw")(x)
    x = layers.Conv1DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.AveragePooling1D(2, name="pool")(layers.ReLU(name="relu")(x))
    x = layers.Flatten(name="flat")(x)
    return keras.Model(signal, layers.Dense(3, name="head")(x), name="one_dimensional")


def three_dimensional(keras: Any) -> Any:
    """3-D convolutions with a residual."""
    layers = keras.layers
    video = keras.Input((4, 6, 6, 2), name="video")
    x = layers.Conv3D(4, 3, padding="same", activation="relu", name="conv1")(video)
    y = layers.Conv3D(3, 1, activation="relu", name="conv2")(x)
    y = layers.Conv3DTranspose(4, 3, padding="same", name="conv3")(y)
    x = layers.Add(name="add")([x, layers.BatchNormalization(name="bn")(y)])
    x = layers.MaxPooling3D(2, name="pool")(x)
    x = layers.GlobalAveragePooling3D(name="mean")(x)
    return keras.Model(video, layers.Dense(3, name="head")(x), name="three_dimensional")


def shared(keras: Any) -> Any:
    """A convolution that is called three times."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    again = layers.Conv2D(5, 3, padding="same", activation="relu", name="again")
    one = _conv(layers, image, 5, "stem")
    two = layers.MaxPooling2D(2, name="pool")(again(again(one)))
    three = again(layers.AveragePooling2D(2, name="half")(one))
    x = layers.Concatenate(name="cat")([two, three])
    x = layers.Conv2D(4, 1, name="last")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="shared")


def nested(keras: Any) -> Any:
    """A backbone that is a model of its own, called twice, and a sequential head."""
    layers = keras.layers
    inner = keras.Input((8, 8, 4), name="inner")
    x = _conv(layers, inner, 5, "conv1")
    x = _conv(layers, x, 4, "conv2")
    backbone = keras.Model(inner, x, name="backbone")
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 1, name="conv1")(image)
    x = layers.Add(name="add")([backbone(x), backbone(layers.ReLU(name="relu")(x))])
    head = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(3, 3, strides=2, name="conv"), layers.Flatten()],
        name="head",
    )
    return keras.Model(image, layers.Dense(3, name="out")(head(x)), name="nested")


def sequential(keras: Any) -> Any:
    """A plain sequential model with a flatten before its dense layers."""
    layers = keras.layers
    stack = [
        keras.Input((8, 8, 3), name="image"),
        layers.Conv2D(4, 3, activation="relu", name="conv1"),
        layers.BatchNormalization(name="bn"),
        layers.Conv2D(5, 3, name="conv2"),
        layers.Flatten(name="flat"),
        layers.Dense(6, activation="relu", name="hidden"),
        layers.Dropout(0.5, name="drop"),
        layers.Dense(3, activation="softmax", name="head"),
    ]
    return keras.Sequential(stack, name="sequential")


def two_heads(keras: Any) -> Any:
    """Boxes and classes from two scales, returned by name, as a detector does."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    one = _conv(layers, image, 4, "stem")
    two = _conv(layers, one, 6, "deeper", strides=2)
    boxes = [
        layers.Conv2D(4, 3, padding="same", name=f"box{i}")(x) for i, x in enumerate((one, two))
    ]
    classes = [
        layers.Conv2D(6, 3, padding="same", name=f"class{i}")(x) for i, x in enumerate((one, two))
    ]
    flat = [layers.Reshape((-1, 4), name=f"boxes{i}")(x) for i, x in enumerate(boxes)]
    scores = [layers.Reshape((-1, 3), name=f"scores{i}")(x) for i, x in enumerate(classes)]
    outputs = {
        "boxes": layers.Concatenate(axis=1, name="boxes")(flat),
        "scores": layers.Softmax(name="soft")(layers.Concatenate(axis=1, name="scores")(scores)),
    }
    return keras.Model(image, outputs, name="two_heads")


#: Every model by name, as a function of the ``keras`` package.
MODELS: dict[str, Callable[[Any], Any]] = {
    build.__name__: build
    for build in (
        chain, residual, concat, depthwise, separable, unet, one_dimensional, three_dimensional,
        shared, nested, sequential, two_heads,
    )
}  # fmt: skip


def randomised(model: Any, seed: int = 0) -> Any:
    """Fill every weight, so that no bias or statistic is the identity by chance."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if not str(variable.dtype).startswith("float"):
            continue
        low, high = (0.5, 1.5) if variable.path.endswith(("variance", "gamma")) else (-0.5, 0.5)
        variable.assign(random.uniform(low, high, variable.shape).astype("float32"))
    return model


def example(model: Any, batch: int = 2, seed: int = 1) -> Any:
    """A random batch of what the model is fed: one array, or one for each input."""
    random = np.random.default_rng(seed)
    arrays = [
        random.standard_normal((batch, *item.shape[1:])).astype("float32") for item in model.inputs
    ]
    return arrays[0] if len(arrays) == 1 else arrays
