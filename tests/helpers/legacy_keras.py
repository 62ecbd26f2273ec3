"""MLPerf Tiny's ResNet-8 in Keras, and an HDF5 file of it as Keras 2 wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

#: What Keras 2.4 kept of a layer's settings.
KEPT = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": ("pool_size", "padding", "strides", "data_format"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Conv2D": (
        "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups",
        "activation", "use_bias",
    ),
    "Dense": ("units", "activation", "use_bias"),
    "Flatten": ("data_format",),
}  # fmt: skip


def resnet8(keras: Any) -> Any:
    """Three stages of one residual block each, for CIFAR; with random weights and statistics."""
    layers = keras.layers
    image = keras.Input((32, 32, 3), name="input_1")

    def unit(x: Any, width: int, stride: int = 1) -> Any:
        x = layers.Conv2D(width, 3, strides=stride, padding="same")(x)
        return layers.BatchNormalization()(x)

    y = layers.Activation("relu")(unit(image, 16))
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        inner = unit(layers.Activation("relu")(unit(y, width, stride)), width)
        if stride == 2:
            y = layers.Conv2D(width, 1, strides=2, padding="same")(y)
        y = layers.Activation("relu")(layers.Add()([y, inner]))
    y = layers.Flatten()(layers.AveragePooling2D(8)(y))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(y), name="resnet8")
    random = np.random.default_rng(0)
    for variable in model.variables:
        low = 0.8 if "variance" in variable.path or "gamma" in variable.path else -0.1
        variable.assign(random.uniform(low, low + 0.2, variable.shape).astype("float32"))
    return model


def _config(layer: Any) -> dict[str, Any]:
    """A layer as Keras 2 wrote it: no types of policies, wiring as nested lists."""
    kind, name = type(layer).__name__, layer.name
    wiring: list[Any] = []
    config: dict[str, Any] = {"name": name, "dtype": "float32"}
    if kind == "InputLayer":
        config |= {"batch_input_shape": [None, *layer.output.shape[1:]], "sparse": False}
        config |= {"ragged": False}
    else:
        config |= {"trainable": True} | {key: layer.get_config()[key] for key in KEPT[kind]}
        reads = layer.input if isinstance(layer.input, list) else [layer.input]
        wiring = [[[tensor._keras_history.operation.name, 0, 0, {}] for tensor in reads]]
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": wiring}


def save_as_keras_2(model: Any, path: Path) -> Path:
    """Write a functional model in the HDF5 layout of Keras 2.4 and return ``path``."""
    layers = [_config(layer) for layer in model.layers]
    config = {
        "name": model.name,
        "layers": layers,
        "input_layers": [[layers[0]["name"], 0, 0]],
        "output_layers": [[layers[-1]["name"], 0, 0]],
    }
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights")
        for group in (file, weights):
            group.attrs["backend"], group.attrs["keras_version"] = "tensorflow", "2.4.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        weights.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = weights.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
    return path
