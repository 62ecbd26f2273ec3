"""What an exported model is fed, and what it returns, against the Keras model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from costmodel.readers.keras import export_onnx

pytestmark = pytest.mark.keras


def test_arrays_that_a_model_holds_are_exported_with_it(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    image = keras.Input((6, 6, 3), name="image")
    given = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(image)
    learned = layers.Normalization()
    x = layers.Conv2D(2, 3)(learned(given))
    learned.adapt(np.random.default_rng(0).normal(2.0, 3.0, (8, 6, 6, 3)))
    model = keras.Model(image, x)
    model.save(tmp_path / "m.keras")
    path = export_onnx(tmp_path / "m.keras", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["image"]
    fed = np.random.default_rng(1).normal(size=(1, 6, 6, 3)).astype(np.float32)
    (found,) = session.run(None, {"image": fed})
    expected = keras.ops.convert_to_numpy(model(fed))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_exported_with_convolutions_of_any_rank(
    tmp_path: Path, rank: int, groups: int
) -> None:
    import keras

    layers = keras.layers
    image = keras.Input((*(6, 5, 4)[:rank], 4), name="image")
    conv = getattr(layers, f"Conv{rank}D")
    model = keras.Model(image, conv(8, 3 if rank < 3 else 2, groups=groups)(conv(4, 1)(image)))
    path = export_onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = np.random.default_rng(0).normal(size=(1, *image.shape[1:])).astype(np.float32)
    (found,) = session.run(None, {"image": fed})
    expected = keras.ops.convert_to_numpy(model(fed))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
