"""SavedModels of Keras and TensorFlow: signatures, open sizes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keras_layers import export_quietly

import costmodel as cm
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.sizes import OpenSizesError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
keras = pytest.importorskip("keras", reason="needs the keras extra")
tensorflow = pytest.importorskip("tensorflow", reason="needs the keras extra")
pytest.importorskip("tf2onnx", reason="needs the keras extra")
if keras.backend.backend() != "tensorflow":
    reason = "only TensorFlow models are converted so"
    pytest.skip(reason, allow_module_level=True)


def conv_net() -> Any:
    """A network of open height and width."""
    layers = keras.layers
    x = inputs = keras.Input((None, None, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5)(x), name="conv_net")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Keras exports it, and the Keras file beside."""
    folder = tmp_path_factory.mktemp("saved") / "exported"
    model = conv_net()
    export_quietly(model, folder)
    model.save(folder.with_suffix(".keras"))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of TensorFlow's with two entries and no usual one."""

    class Coder(tensorflow.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.w = tensorflow.Variable(tensorflow.random.normal((8, 4)))

        @tensorflow.function(
            input_signature=[tensorflow.TensorSpec([None, 8], tensorflow.float32, name="x")]
        )
        def encode(self, x):
            return {"code": tensorflow.matmul(x, self.w)}

        @tensorflow.function(
            input_signature=[tensorflow.TensorSpec([None, 4], tensorflow.float32, name="y")]
        )
        def decode(self, y):
            return {"back": tensorflow.nn.relu(tensorflow.matmul(y, self.w, transpose_b=True))}

    folder, coder = tmp_path_factory.mktemp("saved") / "two", Coder()
    signatures = {"encode": coder.encode, "decode": coder.decode}
    tensorflow.saved_model.save(coder, str(folder), signatures=signatures)
    return folder


def flops(model: Any, **settings: Any) -> float:
    found = cm.predict(model, cost="flops", **settings)
    assert not found.unpriced
    return found.total


def test_a_folder_is_its_keras_model(exported: Path) -> None:
    sizes = {"image": (1, 16, 16, 3)}
    wanted = flops(exported.with_suffix(".keras"), sizes=sizes)
    assert wanted > 2 * 16 * 16 * 8 * 27
    assert flops(exported, sizes=sizes) == wanted
    assert flops(exported / "saved_model.pb", sizes={"image:1": 16, "image:2": 16}) == wanted
    assert flops(tensorflow.saved_model.load(str(exported)), sizes=sizes) == wanted


def test_open_sizes_are_asked_for_and_bound(exported: Path) -> None:
    with pytest.raises(OpenSizesError, match=r"--size image:1=224 --size image:2=224"):
        flops(exported)
    with pytest.raises(InvalidInputError, match="no open dimension 'hight'"):
        flops(exported, sizes={"hight": 3})
    once, more = (
        cm.predict(exported, cost="activations", sizes={"image": (n, 16, 16, 3)}).total
        for n in (1, 4)
    )
    assert more == 4 * once


def test_one_of_several_signatures_is_chosen(two: Path) -> None:
    assert flops(two, signature="encode") == 2 * 8 * 4
    assert flops(two, signature="decode", sizes={"batch": 3}) == 3 * (2 * 8 * 4 + 8)
    with pytest.raises(ModelFormatError, match=r"decode, encode.*--signature decode"):
        flops(two)
    with pytest.raises(InvalidInputError, match=r"no signature 'sing'.*decode, encode"):
        flops(two, signature="sing")


def test_signatures_of_lite_files_are_the_same(two: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the litert extra")
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(
        str(two), signature_keys=["encode", "decode"]
    )
    path = tmp_path / "two.tflite"
    path.write_bytes(converter.convert())
    assert flops(path, signature="encode", sizes={"batch": 3}) == 3 * 2 * 8 * 4
    with pytest.raises(ModelFormatError, match=r"decode, encode"):
        flops(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "without weights", "without entries"])
def test_what_is_wrong_is_told(damage: str, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    if damage == "without entries":
        tensorflow.saved_model.save(tensorflow.Module(), str(folder))
    else:
        folder.mkdir()
        content = (exported / "saved_model.pb").read_bytes()
        kept = {"truncated": len(content) // 2, "empty": 0}.get(damage, len(content))
        (folder / "saved_model.pb").write_bytes(content[:kept])
    with pytest.raises(ModelFormatError, match=r"damaged"):
        flops(folder)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    conv_net().save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ModelFormatError, match=r"net\.weights\.h5 holds weights without"):
        flops(tmp_path / "net.weights.h5")
