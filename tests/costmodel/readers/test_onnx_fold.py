"""Which tensors do not depend on the input, and what the small ones hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.op import Shape
from costmodel.readers.onnx_fold import SMALL, Values, fold


def folded(
    *nodes: onnx.NodeProto, shapes: dict[str, Shape] | None = None, **stored: object
) -> Values:
    """Constants of a model of some nodes; sizes are inferred where not given."""
    weights = [numpy_helper.from_array(np.asarray(v), name) for name, v in stored.items()]
    graph = helper.make_graph(nodes, "g", [], [], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return fold(model, shapes or {})


def test_small_tensors_have_values_and_large_ones_only_a_name() -> None:
    found = folded(small=[1, 2, 3], large=np.zeros(SMALL + 1))
    np.testing.assert_array_equal(found["small"], [1, 2, 3])
    assert found["large"] is None


def test_what_reads_the_input_is_left_out() -> None:
    found = folded(helper.make_node("Add", ["x", "w"], ["y"]), w=[1.0], shapes={"y": (1,)})
    assert set(found) == {"w"}


def test_sizes_are_computed_along_a_chain() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
    ]
    shapes = {"x": (2, 3, 4), "n": (1,), "target": (2,)}
    found = folded(*nodes, first=np.array([0]), rest=np.array([-1]), shapes=shapes)
    np.testing.assert_array_equal(found["target"], [2, -1])


@pytest.mark.parametrize(
    ("more", "expected"), [({}, [2, 3, 4]), ({"start": 1}, [3, 4]), ({"end": -1}, [2, 3])]
)
def test_a_part_of_the_sizes(more: dict[str, int], expected: list[int]) -> None:
    graph = helper.make_graph([helper.make_node("Shape", ["x"], ["s"], **more)], "g", [], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    np.testing.assert_array_equal(fold(model, {"x": (2, 3, 4)})["s"], expected)


def test_the_number_of_elements_is_a_size_too() -> None:
    size = folded(helper.make_node("Size", ["x"], ["n"]), shapes={"x": (2, 3)})["n"]
    assert size is not None
    assert (size.dtype, size.shape, int(size)) == (np.dtype(np.int64), (), 6)


def test_large_results_are_known_by_wiring_alone() -> None:
    node = helper.make_node("Expand", ["one", "shape"], ["w"])
    stored: dict[str, Any] = {"one": np.array([1.0], np.float32), "shape": np.array([1 << 20])}
    assert folded(node, shapes={"w": (1 << 20,)}, **stored)["w"] is None
    assert folded(node, **stored)["w"] is None, "of unknown size"


def test_random_numbers_are_no_constants() -> None:
    assert folded(helper.make_node("RandomNormal", [], ["r"], shape=[2])) == {}


def test_nodes_with_graphs_inside_are_left_alone() -> None:
    info = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["z"])], "inner", [], [info])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    assert set(folded(node, c=[True], w=[1.0])) == {"c", "w"}


def test_what_the_reference_cannot_compute_stays_unknown() -> None:
    node = helper.make_node("Reshape", ["w", "target"], ["y"])
    found = folded(node, w=[1.0, 2.0], target=np.array([3]), shapes={"y": (3,)})
    assert found["y"] is None
    strange = helper.make_node("NoSuch", ["w"], ["y"], domain="own")
    assert folded(strange, w=[1.0], shapes={"y": (1,)})["y"] is None
