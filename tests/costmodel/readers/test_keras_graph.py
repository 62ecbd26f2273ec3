"""Models without a graph get one where there is one to find, and else are told why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from costmodel.errors import ModelFormatError
from costmodel.readers.keras import as_keras, export_onnx, read_keras
from costmodel.readers.keras_graph import with_graph

pytestmark = pytest.mark.keras
X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


class Net(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization()
        self.drop, self.head = layers.Dropout(0.5, seed=1), layers.Dense(2)

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        x = ops.mean(ops.relu(self.norm(self.conv(inputs), training=training)), (1, 2))
        return self.head(self.drop(x, training=training))


class Two(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        return {"sum": self.one(inputs["a"]) + self.two(inputs["b"])}


class Owner(Net):
    """Has a weight of its own, which no layer would train."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.scale = self.add_weight(shape=(2,), initializer="ones", name="scale")

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        return super().call(inputs, training=training) * self.scale


class Moody(Net):
    """Does something else in training."""

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        found = super().call(inputs, training=training)
        return found * 2.0 if training else found


class Looping(Net):
    """Decides by values."""

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        if float(ops.sum(inputs)) > 0:
            inputs = inputs * 2.0
        return super().call(inputs, training=training)


class Apart(keras.Model):
    """Takes its inputs one by one."""

    def call(self, a: Any, b: Any) -> Any:
        return a + b


def test_a_class_becomes_the_graph_of_its_own_layers() -> None:
    model = Net()
    graph = with_graph(model, X)
    assert with_graph(model, X) is graph, "one graph, whoever asks"
    np.testing.assert_allclose(np.asarray(graph(X)), np.asarray(model(X)), atol=1e-6)
    assert graph.get_layer("conv") is model.conv
    assert not np.allclose(np.asarray(graph(X, training=True)), np.asarray(graph(X)))
    assert "conv" in {layer.name for layer in read_keras(graph).layers}


def test_a_built_class_needs_no_data(tmp_path: Path) -> None:
    model = Net()
    model(X)
    assert as_keras(model).inputs[0].shape == (None, 8, 8, 3)
    assert export_onnx(model, tmp_path / "net.onnx").exists()


def test_inputs_by_name() -> None:
    model = Two()
    x = {"a": np.ones((2, 4)), "b": np.ones((2, 5), "float32")}
    graph = with_graph(model, x)
    assert [item.name for item in graph.inputs] == ["a", "b"]
    np.testing.assert_allclose(np.asarray(graph(x)["sum"]), np.asarray(model(x)["sum"]), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "x", "words"),
    [
        (Net, None, "has not been called on data yet"),
        (Owner, X, "its weight '.*scale' is in no layer"),
        (Moody, X, "does other things in training"),
        (Looping, X, "cannot be followed"),
        (Apart, X, "cannot be followed"),
    ],
)
def test_what_has_no_graph_is_told_why(make: Any, x: Any, words: str) -> None:
    with pytest.raises(ModelFormatError, match=f"has no graph of layers.*{words}"):
        with_graph(make(), x)


def unbuilt() -> Any:
    return keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()], name="late")


def test_a_sequential_model_is_built_by_data_or_by_a_shape(tmp_path: Path) -> None:
    assert as_keras(unbuilt(), X).inputs[0].shape == (None, 8, 8, 3)
    path = export_onnx(unbuilt(), tmp_path / "net.onnx", {"": (1, 8, 8, 3)})
    assert path.exists()
    with pytest.raises(ModelFormatError, match="'late' does not know the size of its input yet"):
        export_onnx(unbuilt(), tmp_path / "net.onnx")
