"""Which format a model is of: every form is known, everything else is refused with what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_models import Draft

import costmodel as cm
from costmodel.cli.options import Model as ModelArgument
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.readers.formats import Request, format_of, formats
from costmodel.readers.written import read_written, require_runtime


@pytest.fixture
def proto() -> onnx.ModelProto:
    draft = Draft(1, 3, 8, 8)
    return draft.done(draft.node("Relu", draft.conv("x", 3, 4)))


class Module:
    """Looks like PyTorch's."""

    __module__ = "torch.nn.modules.module"


class KerasLike:
    layers: tuple[()] = ()

    def get_config(self) -> dict[str, Any]:
        return {}


class Loaded:
    signatures: dict[str, Any] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("net.onnx", "ONNX"),
        ("net", "ONNX"),
        ("net.pb", "ONNX"),
        ("net.keras", "Keras"),
        ("NET.H5", "Keras"),
        ("net.tflite", "TensorFlow Lite"),
        ("net.pt2", "PyTorch"),
        ("net.pth", "PyTorch"),
        ("saved_model.pb", "SavedModel"),
    ],
)
def test_paths_are_known_by_their_ending(name: str, title: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"some bytes, but none that anybody knows")
    assert title in format_of(path).title


def test_folders_and_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert "SavedModel" in format_of(tmp_path).title
    bare = tmp_path / "model.bin"
    bare.write_bytes(b"\x1c\0\0\0TFL3 and more")
    assert "TensorFlow Lite" in format_of(bare).title


def test_objects_are_known_by_what_they_have(proto: onnx.ModelProto) -> None:
    known = {
        "ONNX": [proto, proto.SerializeToString()],
        "Keras": [KerasLike()],
        "TensorFlow Lite": [b"\x1c\0\0\0TFL3 and more"],
        "SavedModel": [Loaded()],
        "PyTorch": [Module(), type("Net", (Module,), {})()],
    }
    for title, models in known.items():
        for model in models:
            assert title in format_of(model).title


def test_bytes_of_an_onnx_file_are_a_model(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(proto, str(path))
    found = [cm.predict(model, cost="flops").total for model in (proto, path, path.read_bytes())]
    assert found == [found[0]] * 3
    assert read_written(path, {}).ops


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("net.pkl", "pickled, which is never loaded"),
        ("net.safetensors", "weights without a network"),
        ("net.mlmodel", "Core ML"),
        ("net.engine", "TensorRT"),
        ("net.xml", "OpenVINO"),
        ("net.pt", r"pickled by PyTorch.*torch\.export\.save"),
    ],
)
def test_what_is_known_and_not_read_is_refused(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=rf"{name} .*{told}"):
        cm.predict(tmp_path / name, cost="flops")


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "net.onnx"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInputError, match=r"net\.onnx is a pipe or a device\. Give the path"):
        cm.predict(pipe, cost="flops")


def test_a_signature_is_refused_where_there_are_none(proto: onnx.ModelProto) -> None:
    with pytest.raises(InvalidInputError, match=r"no signatures to choose 'serve' from"):
        cm.predict(proto, cost="flops", signature="serve")
    with pytest.raises(InvalidInputError, match=r"no signatures"):
        format_of(Module()).open(Module(), Request(signature="serve"))


def test_a_lite_file_belongs_to_one_runtime(tmp_path: Path) -> None:
    require_runtime(tmp_path / "net.tflite", "litert")
    require_runtime(tmp_path / "net.onnx", "openvino")
    with pytest.raises(ModelFormatError, match="which openvino does not execute"):
        require_runtime(tmp_path / "net.tflite", "openvino")


def test_help_names_every_format() -> None:
    (argument,) = ModelArgument.__metadata__  # type: ignore[attr-defined]
    for word in (".onnx", ".keras", ".h5", ".tflite", ".pt2", "SavedModel"):
        assert word in argument.help
        assert any(word.strip(".").lower() in item.title.lower() for item in formats())
