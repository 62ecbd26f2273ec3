"""From a node of the runtime's graph to an Op."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from costmodel.kinds import kind_of
from costmodel.onnx_model.nodes import VERSIONED, Tensor
from costmodel.op import Op
from costmodel.runners.ort.bound import session_options
from costmodel.runners.ort.operands import executed_op
from costmodel.runners.ort.session import make_session


@pytest.mark.parametrize(
    ("op_type", "expected"),
    [
        ("Conv", "conv"),
        ("FusedConv", "conv"),
        ("ConvTranspose", "conv_transpose"),
        ("MatMul", "matmul"),
        ("FusedMatMul", "matmul"),
        ("FusedGemm", "gemm"),
        ("BatchNormalization", "batch_norm"),
        ("LRN", "lrn"),
        ("PRelu", "prelu"),
        ("Upsample", "resize"),
        ("GlobalAveragePool", "global_average_pool"),
        ("ReorderOutput", "reorder_output"),
        ("ReduceL2", "reduce_l2"),
        ("QLinearConv", "qlinear_conv"),
        ("Relu", "relu"),
    ],
)
def test_kinds_are_the_plain_names_of_the_field(op_type: str, expected: str) -> None:
    assert kind_of(op_type) == expected


def op_of(
    node: onnx.NodeProto,
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, object] | None = None,
    opset: int = 13,
) -> Op:
    """The Op of a node whose data tensors have these shapes."""
    tensors = {name: Tensor(shape=shape) for name, shape in shapes.items()}
    inits = {}
    for name, value in (constants or {}).items():
        inits[name] = array = np.asarray(value)
        tensors[name] = Tensor(shape=array.shape, dtype=str(array.dtype))
    return executed_op(node, tensors, inits, opset=opset, block=8)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
    size=st.tuples(st.integers(7, 30), st.integers(7, 30)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pool=st.booleans(),
)
def test_automatic_padding_becomes_numbers_that_give_the_same_sizes(
    mode: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pool: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    shape = (1, 4, *size)
    window = {"kernel_shape": kernel, "strides": stride}
    op_type, reads = ("MaxPool", ["x"]) if pool else ("Conv", ["x", "w"])
    weights = {} if pool else {"w": np.zeros((6, 4, *kernel), np.float32)}

    def sizes(**padding: object) -> tuple[int, ...]:
        node = helper.make_node(op_type, reads, ["y"], **window, **padding)
        inits = [numpy_helper.from_array(value, name) for name, value in weights.items()]
        info = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        graph = helper.make_graph([node], "g", [info], [onnx.ValueInfoProto(name="y")], inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        (found,) = shape_inference.infer_shapes(model).graph.output
        return tuple(dim.dim_value for dim in found.type.tensor_type.shape.dim)

    written = sizes(auto_pad=mode)
    node = helper.make_node(op_type, reads, ["y"], auto_pad=mode, **window)
    op = op_of(node, {"x": shape, "y": written}, weights)
    assert sizes(pads=op.pads) == written
    assert all(abs(op.pads[i] - op.pads[i + 2]) <= 1 for i in range(2))
    assert min(op.pads) >= 0
    if mode == "SAME_UPPER":
        assert op.pads[2:] >= op.pads[:2]


@pytest.mark.parametrize("window", [(2, 2, 1), (3, 2, 1), (4, 3, 1), (5, 2, 1), (3, 3, 2)])
@pytest.mark.parametrize(
    "padding",
    [
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
        {"auto_pad": "VALID", "output_padding": [1, 1]},
        {"auto_pad": "SAME_UPPER", "output_padding": [1, 0]},
        {"output_shape": [7, 5]},
        {"output_shape": [7, 5], "auto_pad": "SAME_UPPER"},
        {"pads": [1, 0, 1, 1]},
    ],
    ids=str,
)
def test_transposed_convolutions_are_padded_as_the_runtime_does(
    window: tuple[int, int, int], padding: dict[str, object]
) -> None:
    """The numbers must give the runtime's very result: no odd element may be on a wrong side."""
    side, stride, dilation = window
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 2, 4, 3)).astype(np.float32)
    weight = rng.normal(size=(2, 3, side, side)).astype(np.float32)
    sizes = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "dilations": [dilation] * 2}

    def run(**more: object) -> tuple[onnx.NodeProto, NDArray[np.float32]]:
        node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **sizes, **more)
        ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)]
        inits = [numpy_helper.from_array(weight, "w")]
        graph = helper.make_graph([node], "g", ports, [onnx.ValueInfoProto(name="y")], inits)
        imports = [helper.make_opsetid("", 13)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        session = make_session(model.SerializeToString(), session_options(1, optimise=False))
        return node, session.run(None, {"x": values})[0]

    node, expected = run(**padding)
    op = op_of(node, {"x": values.shape, "y": expected.shape}, {"w": weight})
    assert "auto_pad" not in dict(op.attributes)
    extra = {k: v for k, v in padding.items() if k == "output_padding"}
    _, found = run(pads=op.pads, **extra)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("op_type", sorted(VERSIONED))
def test_kernels_that_changed_between_opsets_say_which_one_they_are(op_type: str) -> None:
    opset = 9 if op_type == "Upsample" else 18
    node = helper.make_node(op_type, ["x"], ["y"])
    op = op_of(node, {"x": (1, 8), "y": (1, 8)}, opset=opset)
    expected = onnx.defs.get_schema(op_type, opset, "").since_version
    assert dict(op.attributes)["since"] == expected


def test_kernels_that_stayed_the_same_are_one_op_at_every_opset() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    reshape = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=0)
    shapes = {"x": (1, 8), "y": (1, 8)}
    assert op_of(relu, shapes, opset=9) == op_of(relu, shapes, opset=17)
    plain = helper.make_node("Reshape", ["x", "s"], ["y"])
    sizes = {"s": np.array([1, 8])}
    assert op_of(reshape, shapes, sizes, opset=17) == op_of(plain, shapes, sizes, opset=9)


@pytest.mark.parametrize(
    ("op_type", "attributes", "since"),
    [("HardSwish", {}, 14), ("LayerNormalization", {}, 17), ("Reshape", {"allowzero": 1}, 14)],
)
def test_kernels_that_came_later_say_so(
    op_type: str, attributes: dict[str, int], since: int
) -> None:
    node = helper.make_node(op_type, ["x"], ["y"], **attributes)
    op = op_of(node, {"x": (1, 8), "y": (1, 8)}, opset=17)
    assert dict(op.attributes)["since"] == since


def test_kernels_of_other_domains_have_no_version() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    op = op_of(node, {"x": (1, 8), "y": (1, 8)}, opset=18)
    assert (op.implementation, op.attributes) == ("com.microsoft:Gelu", ())


def test_small_settings_are_kept_by_value_and_weights_by_size() -> None:
    clip = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    limits = {"low": np.float32(0), "high": np.float32(6)}
    op = op_of(clip, {"x": (1, 8), "y": (1, 8)}, limits)
    assert op.constants == ((0.0,), (6.0,))
    assert op.constant_dtypes == ("float32", "float32")
    add = helper.make_node("Add", ["x", "bias"], ["y"])
    op = op_of(add, {"x": (1, 8), "y": (1, 8)}, {"bias": np.ones(8, np.float32)})
    assert (op.weights, op.constants) == (((8,),), ())


def test_big_integer_constants_are_data() -> None:
    gather = helper.make_node("Gather", ["x", "which"], ["y"])
    op = op_of(gather, {"x": (100, 4), "y": (65, 4)}, {"which": np.zeros(65, np.int64)})
    assert op.inputs == ((100, 4), (65,))
    assert op.input_dtypes == ("float32", "int64")


def test_the_order_of_operands_is_kept_where_it_is_not_the_usual() -> None:
    sub = helper.make_node("Sub", ["one", "x"], ["y"])
    op = op_of(sub, {"x": (1, 8), "y": (1, 8)}, {"one": np.ones(8, np.float32)})
    assert op.operands == "wd"
    resize = helper.make_node("Resize", ["x", "", "scales"], ["y"])
    scales = {"scales": np.ones(4, np.float32)}
    op = op_of(resize, {"x": (1, 8, 2, 2), "y": (1, 8, 2, 2)}, scales)
    assert op.operands == "d-c"


def test_absent_operands_at_the_end_count_for_nothing() -> None:
    full = helper.make_node("Clip", ["x", "", ""], ["y"])
    short = helper.make_node("Clip", ["x"], ["y"])
    shapes = {"x": (1, 8), "y": (1, 8)}
    assert op_of(full, shapes) == op_of(short, shapes)


def test_text_attributes_are_text() -> None:
    node = helper.make_node("Resize", ["x"], ["y"], mode="linear")
    op = op_of(node, {"x": (1, 1, 2, 2), "y": (1, 1, 4, 4)})
    assert dict(op.attributes)["mode"] == "linear"
