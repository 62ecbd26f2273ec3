"""One network in every operator set that is read: operators take their sizes from other places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rule_versions import follows

from costmodel.onnx_model.file import MIN_OPSET
from costmodel.readers.onnx import read_onnx
from costmodel.registry import load_runner

NEWEST = onnx.defs.onnx_opset_version()
#: The multiply-adds of its convolution and product.
MACS = 8 * 3 * 9 * 16 * 16 + 8 * 10


class Build:
    """The network as somebody wrote it in one operator set."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.weights: list[onnx.TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, kind: str, *reads: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, reads, [name], name=name, **attributes))
        return name

    def axes(self, kind: str, read: str, axes: list[int], since: int, **attributes: object) -> str:
        """Axes that were an attribute before an operator set, and are an input from it on."""
        if self.opset < since:
            return self.add(kind, read, axes=axes, **attributes)
        return self.add(kind, read, self.constant(axes, np.int64), **attributes)

    def model(self) -> onnx.ModelProto:
        random = np.random.default_rng(0)
        y = self.add(
            "Conv", "x", self.constant(random.normal(size=(8, 3, 3, 3))), pads=[1, 1, 1, 1]
        )
        ones = [self.constant(np.full(8, value)) for value in (1.1, 0.1, 0.2, 0.9)]
        y = self.add("BatchNormalization", y, *ones)
        y = self.add("Relu", y)
        y = self.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
        if self.opset < 11:
            clipped = self.add("Clip", y, min=0.0, max=6.0)
        else:
            clipped = self.add("Clip", y, self.constant(0.0), self.constant(6.0))
        y = self.add("Add", clipped, y)
        dropout = {"ratio": 0.5} if self.opset < 12 else {}
        y = self.add("Dropout", y, **dropout)
        y = self.axes("ReduceMean", y, [2, 3], 18, keepdims=1)
        y = self.axes("Squeeze", y, [2, 3], 13)
        y = self.add(
            "Gemm", y, self.constant(random.normal(size=(8, 10))), self.constant([0.5] * 10)
        )
        y = self.add("Softmax", y, axis=1)
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", [1, 3, 16, 16]), (y, [1, 10]))
        ]
        graph = helper.make_graph(self.nodes, "g", infos[:1], infos[1:], self.weights)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def saved(opset: int, folder: Path) -> Path:
    path = folder / f"{opset}.onnx"
    onnx.save(Build(opset).model(), path)
    return path


@pytest.mark.parametrize("opset", range(MIN_OPSET, NEWEST + 1))
def test_a_network_is_read_alike_in_every_operator_set(opset: int, tmp_path: Path) -> None:
    found, known = (read_onnx(saved(version, tmp_path), {}) for version in (opset, 17))
    assert [layer.op.kind for layer in found.layers] == [layer.op.kind for layer in known.layers]
    assert [layer.op.outputs for layer in found.layers] == [
        layer.op.outputs for layer in known.layers
    ]
    assert sum(layer.op.macs for layer in found.layers) == MACS


@follows("onnxruntime")
@pytest.mark.parametrize("opset", range(MIN_OPSET, NEWEST + 1))
def test_the_runtime_executes_it_alike_in_every_operator_set(opset: int, tmp_path: Path) -> None:
    runner = load_runner("ort", {"threads": 1})
    known = [layer.op for layer in runner.lower(saved(17, tmp_path), {}).layers]
    found = [layer.op for layer in runner.lower(saved(opset, tmp_path), {}).layers]
    assert [op.kind for op in found] == [op.kind for op in known]
    assert sum(op.macs for op in found) == sum(op.macs for op in known) >= MACS  # padded
