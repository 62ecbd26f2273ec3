"""Small networks for the examples and benchmarks, built with Keras."""

from __future__ import annotations

from typing import Any

import keras


def small_resnet(
    size: tuple[int, ...],
    *,
    widths: tuple[int, ...] = (16, 32, 64),
    blocks: int = 2,
    stem_stride: int = 2,
) -> Any:
    """A residual network after He et al. 2016 (section 4.2), by default for half the image.

    Args:
        size: ``(height, width, channels)`` of an image.
        widths: channels of each stage; every stage but the first halves the image.
        blocks: residual blocks a stage; 3, and a stem of stride 1, make ResNet20.
        stem_stride: step of the first convolution.

    Returns:
        A functional model that returns logits.
    """
    inputs = keras.Input(size, name="image")
    x = _convolution(inputs, widths[0], 3, stem_stride, "stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = _block(x, width, stride, f"s{stage}b{block}")
    return _classifier(inputs, x, "small_resnet")


def _classifier(inputs: Any, x: Any, name: str) -> Any:
    """The model of ten classes that ends with the map ``x``."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name=name)


def _block(x: Any, width: int, stride: int, name: str) -> Any:
    y = _convolution(x, width, 3, stride, f"{name}_1")
    y = _convolution(y, width, 3, 1, f"{name}_2", relu=False)
    if stride > 1 or x.shape[-1] != width:
        x = _convolution(x, width, 1, stride, f"{name}_short", relu=False)
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _convolution(
    x: Any, width: int, kernel: int, stride: int, name: str, *, relu: bool = True
) -> Any:
    layers = keras.layers
    conv = layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=False,
        kernel_initializer="he_normal", name=f"{name}_conv",
    )  # fmt: skip
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(conv(x))
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def small_vgg(size: tuple[int, ...]) -> Any:
    """A plain chain of convolutions after Simonyan and Zisserman 2014, without its dense layers.

    Three stages of two convolutions; the first of all and pooling between stages halve the image.

    Args:
        size: ``(height, width, channels)`` of an image.

    Returns:
        A functional model that returns logits.
    """
    inputs = x = keras.Input(size, name="image")
    for stage, width in enumerate((32, 64, 128)):
        if stage:
            x = keras.layers.MaxPooling2D(2, name=f"s{stage}_down")(x)
        for number in range(2):
            stride = 1 if stage or number else 2
            x = _convolution(x, width, 3, stride, f"s{stage}c{number}")
    return _classifier(inputs, x, "small_vgg")


def small_mobilenet(
    size: tuple[int, ...],
    *,
    stages: tuple[tuple[int, int, int], ...],
    expansion: int,
) -> Any:
    """Inverted residuals after Sandler et al. 2018 (MobileNetV2, section 3), for small images.

    Args:
        size: ``(height, width, channels)`` of an image.
        stages: channels, blocks and first stride of each stage.
        expansion: channels inside a block per channel that it reads.

    Returns:
        A functional model that returns logits.
    """
    inputs = keras.Input(size, name="image")
    x = _convolution(inputs, 16, 3, 2, "stem")
    for stage, (width, blocks, first) in enumerate(stages):
        for block in range(blocks):
            x = _inverted(x, width, 1 if block else first, expansion, f"s{stage}b{block}")
    x = _convolution(x, 160, 1, 1, "head")
    return _classifier(inputs, x, "small_mobilenet")


def _inverted(x: Any, width: int, stride: int, expansion: int, name: str) -> Any:
    layers = keras.layers
    y = _convolution(x, expansion * x.shape[-1], 1, 1, f"{name}_wide")
    conv = layers.DepthwiseConv2D(
        3, stride, padding="same", use_bias=False,
        depthwise_initializer="he_normal", name=f"{name}_each_conv",
    )  # fmt: skip
    y = layers.BatchNormalization(momentum=0.9, name=f"{name}_each_bn")(conv(y))
    y = layers.ReLU(name=f"{name}_each_relu")(y)
    y = _convolution(y, width, 1, 1, f"{name}_narrow", relu=False)
    if stride > 1 or x.shape[-1] != width:
        return y
    return layers.Add(name=f"{name}_add")([x, y])
