"""Graphs without a layer: readers read what it read, and what nobody reads is gone."""

from __future__ import annotations

import onnx

from costmodel.onnx_model.bypass import bypass

MODEL = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["": 17]>
    net (float[1, 8, 4, 4] x) => (float[1, 8, 4, 4] y)
    <float[1, 8, 1, 1] w = {1, 1, 1, 1, 1, 1, 1, 1}>
    {
        a = Relu(x)
        b = Mul(a, w)
        c = Tanh(b)
        d = Add(c, a)
        y = Relu(d)
    }"""
)


def test_a_chain_is_left_out_with_its_weights() -> None:
    found = bypass(MODEL, "c", "a")
    assert found is not None
    onnx.checker.check_model(found, full_check=True)
    assert [node.op_type for node in found.graph.node] == ["Relu", "Add", "Relu"]
    assert list(found.graph.node[1].input) == ["a", "a"]
    assert not found.graph.initializer
    assert len(MODEL.graph.node) == 5


def test_what_the_model_returns_stays() -> None:
    assert bypass(MODEL, "y", "d") is None
