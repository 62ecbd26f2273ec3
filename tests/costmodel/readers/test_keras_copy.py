"""Layers and models made again: with the functions of Lambda layers, in float32, at other sizes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from costmodel.errors import ModelFormatError
from costmodel.readers.keras import export_onnx, read_keras
from costmodel.readers.keras_copy import cloned, in_float32, remade

pytestmark = pytest.mark.keras


def under(policy: str, make: Any) -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


class Inside(layers.Layer):
    """Makes layers inside without saying in which type they compute."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)

    def build(self, input_shape: Any) -> None:
        self.dense.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def network() -> Any:
    keras.utils.set_random_seed(0)
    inner = keras.Input((6, 3))
    body = keras.Model(inner, layers.Conv1D(4, 3)(inner), name="body")
    inputs = keras.Input((6, 3))
    # The initialiser by default knows no bfloat16.
    recurrent = layers.LSTM(3, return_sequences=True, recurrent_initializer="glorot_uniform")
    x = layers.Bidirectional(recurrent)(body(inputs))
    x = layers.TimeDistributed(layers.Dense(5))(x)
    x = Inside()(layers.Lambda(lambda t: ops.relu(t) * 2.0)(x))
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float16", "float64"]
)
def test_any_policy_becomes_float32(policy: str) -> None:
    model = under(policy, network)
    whole = in_float32(model)
    assert {layer.compute_dtype for layer in whole._flatten_layers()} == {"float32"}
    assert {item.dtype for item in whole.weights if "seed" not in item.path} == {"float32"}
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    found, expected = (np.asarray(ops.cast(m(x), "float32")) for m in (whole, model))
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert keras.config.dtype_policy().name == "float32"


def test_a_model_in_float32_is_left_alone() -> None:
    model = network()
    assert in_float32(model) is model


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_files_hold_float32(policy: str, tmp_path: Any) -> None:
    import onnx

    def made() -> Any:
        inputs = keras.Input((8, 8, 3))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
        return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))

    path = export_onnx(under(policy, made), tmp_path / "net.onnx")
    model = onnx.load(path)
    assert {item.data_type for item in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32,
    }  # fmt: skip
    assert not any(node.op_type == "Cast" for node in model.graph.node)


def test_a_lambda_layer_keeps_its_very_function() -> None:
    factor = [3.0]
    layer = layers.Lambda(lambda t: t * factor[0], name="times")
    again = remade(layer, changes={})
    assert again.function is layer.function
    assert again.name == "times"


class Untold(layers.Layer):
    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing = thing

    def call(self, inputs: Any) -> Any:
        return inputs


def test_a_layer_that_cannot_be_made_again_is_named() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Untold(object())(inputs))
    with pytest.raises(ModelFormatError, match=r"'untold.*' \(Untold\) .* get_config"):
        cloned(model)


def test_inputs_keep_type_and_name_at_another_size() -> None:
    inputs = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(inputs, layers.Embedding(9, 4)(inputs))
    copy, pairs = cloned(model, shapes={"ids": (1, 7)})
    assert (copy.inputs[0].shape, copy.inputs[0].dtype) == ((1, 7), "int32")
    assert copy.inputs[0].name == "ids"
    assert len(pairs) == 1
    assert read_keras(model, {"ids:1": 7}).inputs == {"ids": (1, 7)}


def test_preprocessing_with_arrays_is_read() -> None:
    inputs = keras.Input((4, 4, 3))
    x = layers.Rescaling(0.5, offset=np.array([0.1, 0.0, 0.2]))(inputs)
    norm = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])
    network_read = read_keras(keras.Model(inputs, norm(x)))
    assert not network_read.unread
    kinds = [layer.op.kind for layer in network_read.layers]
    assert kinds.count("add") == 2
    plain = read_keras(keras.Model(inputs, layers.Rescaling(0.5)(inputs)))
    assert [layer.op.kind for layer in plain.layers] == ["mul"]
