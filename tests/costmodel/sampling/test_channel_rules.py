from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from costmodel.sampling.channel_rules import RULES
from costmodel.sampling.channels import FROZEN, Channels, Tracer

SHAPES = {"a": (1, 6, 4, 5), "b": (1, 6, 4, 5), "thin": (1, 1, 4, 5)}


def conv(name: str) -> onnx.NodeProto:
    return helper.make_node("Conv", ["x", f"{name}.w"], [name])


def trace(
    *nodes: onnx.NodeProto, constants: dict[str, object] | None = None
) -> tuple[Tracer, Channels | None]:
    """Channels of ``y`` behind convolutions ``a``, ``b`` (6 channels) and ``thin`` (1)."""
    values = {f"{name}.w": np.zeros((shape[1], 3, 1, 1)) for name, shape in SHAPES.items()}
    values |= {name: np.asarray(value) for name, value in (constants or {}).items()}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 5])
    graph = helper.make_graph([*map(conv, SHAPES), *nodes], "g", [x], [])
    tracer = Tracer(graph, values, SHAPES)
    tracer.walk(RULES)
    return tracer, tracer.of("y")


def expect(found: Channels | None, axis: int, ids: np.ndarray) -> None:
    assert found is not None
    assert found.axis == axis
    np.testing.assert_array_equal(ids, found.ids)


def test_flattening_repeats_channels() -> None:
    tracer, found = trace(helper.make_node("Flatten", ["a"], ["y"]))
    expect(found, 1, np.repeat(tracer.producers["a"], 20))


def test_reshape_of_a_tensor_of_unknown_size_keeps_its_channels() -> None:
    tracer, found = trace(
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["t"], ["y"]),
    )
    assert found is None
    assert set(tracer.find(tracer.producers["a"])) == {FROZEN}


def test_reshape_that_keeps_the_channel_axis_notes_its_size() -> None:
    tracer, found = trace(
        helper.make_node("Reshape", ["a", "to"], ["y"]), constants={"to": [1, 6, 20]}
    )
    expect(found, 1, tracer.producers["a"])
    assert [(e.form, e.operand, e.axis) for e in tracer.edits if e.node == 3] == [("count", 1, 1)]


def test_concatenation_lines_channels_up() -> None:
    tracer, found = trace(helper.make_node("Concat", ["a", "b", "a"], ["y"], axis=1))
    a, b = tracer.producers["a"], tracer.producers["b"]
    expect(found, 1, np.concatenate([a, b, a]))


def test_concatenation_along_another_axis_ties_channels() -> None:
    tracer, _ = trace(helper.make_node("Concat", ["a", "b"], ["y"], axis=3))
    a, b = tracer.producers["a"], tracer.producers["b"]
    np.testing.assert_array_equal(tracer.find(a), tracer.find(b))
    assert FROZEN not in tracer.find(a)


def test_addition_ties_channels_and_a_spatial_gate_does_not() -> None:
    tracer, found = trace(
        helper.make_node("Mul", ["a", "thin"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])
    )
    a, b, thin = (tracer.producers[name] for name in ("a", "b", "thin"))
    np.testing.assert_array_equal(tracer.find(a), tracer.find(b))
    assert tracer.find(thin)[0] not in {FROZEN, *tracer.find(a)}
    assert found is not None


def test_padded_channels_are_free_and_counted() -> None:
    tracer, found = trace(
        helper.make_node("Pad", ["a", "pads"], ["y"]),
        constants={"pads": [0, 2, 0, 0, 0, 1, 0, 0]},
    )
    assert found is not None
    assert len(found.ids) == 9
    np.testing.assert_array_equal(tracer.producers["a"], found.ids[2:8])
    pads = [(e.axis, len(e.ids)) for e in tracer.edits if e.form == "count"]
    assert pads == [(1, 2), (5, 1)]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Softmax", ["a"], ["y"], axis=1),
        helper.make_node("Add", ["a", "x"], ["y"]),
        helper.make_node("Slice", ["a"], ["y"], starts=[0], ends=[2], axes=[1]),
        helper.make_node("ReduceMean", ["a"], ["y"], axes=[1]),
        helper.make_node("Concat", ["a", "x"], ["y"], axis=2),
        helper.make_node("Reshape", ["a", "unknown"], ["y"]),
        helper.make_node("Conv", ["a", "unknown"], ["y"]),
        helper.make_node("Custom", ["a"], ["y"], domain="mine"),
    ],
    ids=lambda node: node.op_type,
)
def test_what_is_not_followed_keeps_its_channels(node: onnx.NodeProto) -> None:
    tracer, found = trace(node)
    assert found is None
    assert set(tracer.find(tracer.producers["a"])) == {FROZEN}
    assert FROZEN not in tracer.find(tracer.producers["b"])


@pytest.mark.parametrize(
    ("node", "axis"),
    [
        (helper.make_node("Relu", ["a"], ["y"]), 1),
        (helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2]), 1),
        (helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 3, 1]), 3),
        (helper.make_node("ReduceMean", ["a"], ["y"], axes=[2, 3]), 1),
        (helper.make_node("ReduceMean", ["a"], ["y"], axes=[0], keepdims=0), 0),
        (helper.make_node("Slice", ["a"], ["y"], starts=[0], ends=[2], axes=[-1]), 1),
        (helper.make_node("Squeeze", ["a"], ["y"], axes=[0]), 0),
    ],
    ids=lambda item: getattr(item, "op_type", item),
)
def test_what_passes_channels_on(node: onnx.NodeProto, axis: int) -> None:
    tracer, found = trace(node)
    expect(found, axis, tracer.producers["a"])
