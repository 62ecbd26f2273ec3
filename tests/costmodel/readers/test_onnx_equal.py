"""Which layers have provably equal weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from costmodel.readers.onnx_equal import equal_weights


def stored(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def equal(
    nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], *made: str
) -> dict[int, int]:
    """Numbers of the layers, which are the nodes that read ``x``."""
    graph = helper.make_graph(nodes, "g", [], [], weights)
    model = helper.make_model(graph)
    layers = [(i, node) for i, node in enumerate(nodes) if "x" in node.input]
    return equal_weights(model, layers, [item.name for item in weights] + list(made))


def mul(weight: str, kind: str = "Mul") -> onnx.NodeProto:
    return helper.make_node(kind, ["x", weight], [f"{kind}_{weight}"])


def test_small_tensors_are_compared_by_value() -> None:
    weights = [stored("a", [1, 2]), stored("b", [1, 2]), stored("c", [1, 3]), stored("d", [[1, 2]])]
    found = equal([mul(item.name) for item in weights], weights)
    assert found == {0: 0, 1: 0}


def test_large_tensors_are_compared_by_name() -> None:
    weights = [stored("a", range(9)), stored("b", range(9))]
    assert equal([mul("a"), mul("b")], weights) == {}
    assert set(equal([mul("a"), mul("b"), mul("a")], weights)) == {0, 2}


def test_other_kinds_are_other_layers() -> None:
    assert equal([mul("a"), mul("a", "Add")], [stored("a", [1.0])]) == {}


@pytest.mark.parametrize(("second", "same"), [(0.5, True), (0.25, False)])
def test_weights_made_alike_of_equal_things_are_equal(second: float, same: bool) -> None:  # noqa: FBT001
    def filled(name: str, value: float) -> onnx.NodeProto:
        return helper.make_node("ConstantOfShape", ["shape"], [name], value=stored("v", [value]))

    nodes = [filled("a", 0.5), filled("b", second), mul("a"), mul("b")]
    found = equal(nodes, [stored("shape", [9.0])], "a", "b")
    assert found == ({2: 0, 3: 0} if same else {})


def test_random_weights_are_never_equal() -> None:
    nodes = [
        *(helper.make_node("RandomNormal", [], [name], shape=[9]) for name in ("a", "b")),
        mul("a"),
        mul("b"),
    ]
    assert equal(nodes, [], "a", "b") == {}
