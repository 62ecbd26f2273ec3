"""What is refused before ONNX itself looks at it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.file import open_model


def einsum(path: Path, equation: bytes) -> Path:
    node = helper.make_node("Einsum", ["x", "y"], ["z"], name="product")
    node.attribute.append(onnx.AttributeProto(name="equation", type=3, s=equation))
    x, y, z = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in (("x", [2, 3]), ("y", [3, 4]), ("z", None))
    )
    graph = helper.make_graph([node], "net", [x, y], [z])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("equation", [b"ab.", b"a-b,c", b".\xff", b"a1,bc"])
def test_an_equation_that_onnx_may_never_end_at_is_refused(tmp_path: Path, equation: bytes) -> None:
    path = einsum(tmp_path / "net.onnx", equation)
    with pytest.raises(ModelFormatError, match="the equation of 'product' is none"):
        open_model(path)


@pytest.mark.parametrize("equation", [b"ab,bc->ac", b"ab,bc", b"...b , bc -> ...c", b"a B, Bc->"])
def test_an_equation_is_read(tmp_path: Path, equation: bytes) -> None:
    assert open_model(einsum(tmp_path / "net.onnx", equation)).graph.node[0].op_type == "Einsum"
