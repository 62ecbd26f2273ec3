import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.sampling.constants import (
    is_uniform,
    read_constants,
    target_shape,
    write_constants,
)


def model() -> onnx.ModelProto:
    """``y = x + unsqueeze(full((100,), 2))``."""
    fill = numpy_helper.from_array(np.array([2.0], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["flat"], value=fill),
        helper.make_node("Unsqueeze", ["flat", "axes"], ["column"]),
        helper.make_node("Add", ["x", "column"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([100], np.int64), "n"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 100, 100]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_folds_what_depends_on_no_input() -> None:
    values = read_constants(model().graph)
    assert set(values) == {"n", "axes", "flat", "column"}
    np.testing.assert_array_equal(np.full((100, 1), 2.0), values["column"])
    assert is_uniform(values["column"])


def test_written_constant_replaces_its_nodes_and_their_operands() -> None:
    changed = model()
    write_constants(changed, {"column": np.arange(100, dtype=np.float32).reshape(100, 1)})
    assert [node.op_type for node in changed.graph.node] == ["Add"]
    assert [item.name for item in changed.graph.initializer] == ["column"]


def test_uniform_constant_takes_no_room() -> None:
    changed = model()
    write_constants(changed, {"column": np.broadcast_to(np.float32(2), (10_000, 1))})
    assert [node.op_type for node in changed.graph.node] == ["ConstantOfShape", "Add"]
    assert changed.ByteSize() < 1000
    assert read_constants(changed.graph)["column"].shape == (10_000, 1)


@pytest.mark.parametrize(
    ("shape", "target", "expected"),
    [
        ((1, 8, 2, 2), (0, -1), (1, 32)),
        ((2, 6), (3, 4), (3, 4)),
        ((1, 8, 2, 2), (0, 2, 4, 0), (1, 2, 4, 2)),
    ],
)
def test_reshape_targets(
    shape: tuple[int, ...], target: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert target_shape(shape, target) == expected
