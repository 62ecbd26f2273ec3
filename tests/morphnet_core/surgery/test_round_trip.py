"""Shrunk models go everywhere that Keras models go: files, ONNX, LiteRT, training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from comparing import (
    grouped,
    largest_error,
    outputs_of,
    random_alive,
    without,
)
from keras_layers import before_keras_3_8, export_quietly
from keras_models import MODELS, example, randomised

from costmodel.readers.keras import export_onnx
from morphnet_core.surgery import shrink

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
    # Exporters' own use of other packages warns; nothing of ours may.
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow models are converted so"
)


def small_model(name: str) -> Any:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    return shrink(model, random_alive(grouping, 0.6, 4), grouping=grouping)


def folded_model() -> Any:
    """With Rescaling layers for a dead branch and for a constant gate."""
    model = randomised(MODELS["depthwise"](keras))
    grouping = grouped(model)
    model = shrink(model, without(grouping, "reduce"), grouping=grouping)
    grouping = grouped(model)
    small = shrink(model, without(grouping, "expand"), grouping=grouping)
    assert small.get_layer("add_constant") is not None
    return small


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in MODELS if name != "shared"),
        pytest.param("shared", marks=before_keras_3_8("cannot load a layer that is called twice")),
        "folded",
    ],
)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    small = folded_model() if name == "folded" else small_model(name)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    fed = example(small)
    assert largest_error(outputs_of(loaded, fed), outputs_of(small, fed)) <= 1e-6
    assert loaded.count_params() == small.count_params()


@on_tensorflow
@pytest.mark.parametrize("name", ["depthwise", "separable", "nested", "two_heads", "folded"])
def test_exported_to_onnx(name: str, tmp_path: Path) -> None:
    small = folded_model() if name == "folded" else small_model(name)
    small.save(tmp_path / "small.keras")
    path = export_onnx(tmp_path / "small.keras", tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = example(small, batch=1)
    got = session.run(None, {session.get_inputs()[0].name: fed})
    wanted = outputs_of(small, fed)
    wanted = sorted(wanted, key=np.size)
    assert largest_error(sorted(got, key=np.size), wanted) <= 1e-4


@on_tensorflow
@pytest.mark.parametrize("name", ["residual", "folded"])
def test_exported_to_litert(name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    small = folded_model() if name == "folded" else small_model(name)
    path = tmp_path / "small.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_quietly(small, path, format="litert")
        interpreter = tf.lite.Interpreter(model_path=str(path))
    fed = example(small, batch=1)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], fed.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert largest_error([got], outputs_of(small, fed)) <= 1e-4


def test_trained_on() -> None:
    small = small_model("nested")
    small.compile(optimizer="sgd", loss="mse")
    fed = example(small, batch=8)
    before = small.get_layer("backbone").get_layer("conv1").get_weights()[0]
    small.fit(fed, np.zeros((8, 3)), verbose=0)
    assert not np.array_equal(
        before, small.get_layer("backbone").get_layer("conv1").get_weights()[0]
    )
