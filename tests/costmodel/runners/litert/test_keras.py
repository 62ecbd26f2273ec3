"""Our conversion against TensorFlow's own: the same network gives the same kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_layers import export_quietly

from costmodel.runners.litert.runner import LiteRtRunner

pytestmark = pytest.mark.keras
keras = pytest.importorskip("keras", reason="needs the keras extra")
pytest.importorskip("tensorflow", reason="needs the keras extra")


def inverted_residuals(layers: Any) -> Any:
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y))
    x = layers.Add()([x, y])
    y = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.ReLU()(layers.DepthwiseConv2D(3, strides=2)(y))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def branches(layers: Any) -> Any:
    x = inputs = keras.Input((24, 24, 8))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    a = layers.Conv2D(12, 1, activation="relu")(x)
    b = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(layers.Concatenate()([a, b]))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(24, 1, activation="sigmoid")(layers.Conv2D(6, 1, activation="relu")(gate))
    x = layers.AveragePooling2D(2)(layers.Multiply()([x, gate]))
    x = layers.Conv2D(16, 3, groups=4)(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalMaxPooling2D()(x)))


def computed_sizes(layers: Any) -> Any:
    x = inputs = keras.Input((6, 6, 8))
    x = layers.Conv2DTranspose(8, 2, strides=2, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))


OPEN = "Keras leaves the batch open; what depends on it is computed, outside XNNPACK, in every run"


def shake(model: Any) -> None:
    """Give every weight a value: the converter drops what adds zero or multiplies by one."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in model.get_weights()])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        inverted_residuals,
        branches,
        pytest.param(computed_sizes, marks=pytest.mark.xfail(reason=OPEN, strict=True)),
    ],
)
def test_the_converter_deploys_the_same_kernels(
    make: Callable[[Any], Any], tmp_path: Path, lite_runner: Callable[[str], LiteRtRunner]
) -> None:
    from costmodel.readers.keras import export_onnx

    model = make(keras.layers)
    shake(model)
    model.save(tmp_path / "net.keras")
    export_quietly(model, tmp_path / "net.tflite", format="litert")
    export_onnx(tmp_path / "net.keras", tmp_path / "net.onnx")
    runner = lite_runner("float32")
    theirs = Counter(runner.lower(tmp_path / "net.tflite", {}).ops)
    ours = Counter(runner.lower(tmp_path / "net.onnx", {}).ops)
    assert ours - theirs == Counter()
    assert theirs - ours == Counter()
