"""Models that are sent elsewhere: each as one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.errors import ModelFormatError
from costmodel.onnx_model import whole
from costmodel.onnx_model.whole import whole_file


def write(path: Path, *, beside: bool) -> Path:
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], [weight])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, path, save_as_external_data=beside, location="net.data", size_threshold=0)
    return path


def test_a_model_that_is_one_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", beside=False)
    assert whole_file(path, tmp_path / "sent" / "net.onnx") == path
    other = tmp_path / "net.json"
    other.write_text("[]")
    assert whole_file(other, tmp_path / "sent" / "net.json") == other
    assert not (tmp_path / "sent").exists()


def test_weights_that_lie_beside_a_model_are_taken_in(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", beside=True)
    assert (tmp_path / "net.data").exists()
    sent = whole_file(path, tmp_path / "sent" / "net.onnx")
    assert list(sent.parent.iterdir()) == [sent]
    (weight,) = onnx.load(sent).graph.initializer
    assert numpy_helper.to_array(weight).sum() == 64 * 64


def test_what_is_too_large_for_one_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "net.onnx", beside=True)
    monkeypatch.setattr(whole, "MAX_BYTES", 1000)
    with pytest.raises(ModelFormatError, match="with its weights the model has"):
        whole_file(path, tmp_path / "sent" / "net.onnx")
