"""What ONNX Runtime executes, asked for real models of every sort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quota import file_quota
from rule_versions import follows

from costmodel.errors import InvalidInputError
from costmodel.network import Network, session_op
from costmodel.op import Op, decode_op, encode_op
from costmodel.runners.ort.runner import OrtRunner

Lower = Callable[[str], Network]


def kernels(network: Network) -> list[Op]:
    """Ops but for the session and changes of layout."""
    moved = {"session", "reorder_input", "reorder_output"}
    return [op for op in network.ops if op.kind not in moved]


def only(network: Network, kind: str) -> Op:
    (op,) = [op for op in network.ops if op.kind == kind]
    return op


def padded(channels: int, block: int) -> int:
    return -(-channels // block) * block


def test_an_activation_runs_inside_its_convolution(lower: Lower, runner: OrtRunner) -> None:
    network = lower("conv_relu")
    (conv,) = kernels(network)
    assert (conv.kind, conv.epilogue, conv.dtype) == ("conv", ("relu",), "float32")
    assert conv.inputs == ((1, 16, 12, 12),)
    assert conv.outputs == ((1, 32, 12, 12),)
    assert conv.weights == ((32, 16, 3, 3), (32,))
    assert (conv.stride, conv.pads, conv.dilation) == ((1, 1), (1, 1, 1, 1), (1, 1))
    assert conv.layout == (f"nchw{runner.block}c" if runner.block > 1 else "nchw")
    assert network.inputs == {"x": (1, 16, 12, 12)}
    assert network.outputs == ("relu1_y",)


def test_a_sum_runs_inside_its_convolution(lower: Lower) -> None:
    folded = [op.epilogue for op in kernels(lower("residual"))]
    assert folded == [("relu",), ("relu",), ("sum", "relu"), ()]


def test_a_normalisation_disappears_in_the_weights_before_it(lower: Lower) -> None:
    assert [op.kind for op in kernels(lower("folded_bn"))] == ["conv", "conv"]
    left = [op.kind for op in kernels(lower("bn_left_over"))]
    assert left == ["batch_norm", "relu", "conv", "conv"]


def test_odd_channels_take_the_plain_path(lower: Lower, runner: OrtRunner) -> None:
    stem, *odd = kernels(lower("odd_channels"))
    assert stem.out_channels == padded(18, runner.block)
    assert [op.layout for op in odd] == ["nchw", "nchw"]
    assert [(op.in_channels, op.out_channels) for op in odd] == [(18, 37), (37, 23)]
    assert [op.epilogue for op in odd] == [("relu",), ("relu",)]


def test_depthwise_and_grouped_convolutions_are_told_apart(lower: Lower) -> None:
    depthwise, pointwise, grouped = kernels(lower("depthwise"))
    assert (depthwise.is_depthwise, depthwise.groups) == (True, 32)
    assert (pointwise.kernel, pointwise.epilogue) == ((1, 1), ("clip",))
    assert (grouped.is_depthwise, grouped.groups) == (False, 4)


def test_pools_have_windows_steps_and_resolved_padding(lower: Lower) -> None:
    network = lower("pools")
    largest = [op for op in network.ops if op.kind == "max_pool"]
    assert {(op.kernel, op.stride, op.pads) for op in largest} == {
        ((3, 3), (2, 2), (1, 1, 1, 1)),
        ((2, 2), (2, 2), (0, 0, 0, 0)),
    }
    average = {op.kernel: op for op in network.ops if op.kind == "average_pool"}
    # 13 inputs, 5 outputs: windows of 4 at steps of 3 reach over 16, the odd column first.
    assert average[4, 4].pads == (2, 2, 1, 1)
    assert dict(average[3, 3].attributes)["count_include_pad"] == 1
    kinds = {op.kind for op in network.ops}
    assert {"global_average_pool", "global_max_pool"} <= kinds


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("branches", ["conv", "conv", "conv", "conv", "concat", "conv"]),
        ("classifier", ["flatten", "gemm", "gemm", "gemm", "softmax"]),
        ("computed_weights", ["global_average_pool", "reshape", "mul", "conv"]),
        ("old_classifier", ["lrn", "conv", "resize", "global_average_pool", "softmax"]),
        ("rank_3_and_5", ["conv", "reshape", "conv"]),
        ("resize", ["resize", "resize"]),
        ("shuffle", ["conv", "reshape", "transpose", "reshape", "conv"]),
        ("slices", ["slice", "pad", "pad", "split"]),
        ("split_18", ["split", "reduce_mean", "reduce_max"]),
        ("transposed_conv", ["conv_transpose", "conv_transpose"]),
    ],
)
def test_kernels_have_the_plain_names_of_the_field(
    lower: Lower, name: str, expected: list[str]
) -> None:
    assert [op.kind for op in kernels(lower(name))] == expected


def test_a_fused_product_keeps_its_activation(lower: Lower) -> None:
    fused, plain, *_ = (op for op in lower("classifier").ops if op.kind == "gemm")
    assert fused.implementation == "com.microsoft:FusedGemm"
    assert (fused.epilogue, plain.epilogue) == (("relu",), ())
    assert (fused.macs, plain.macs) == (3 * 128 * 64, 3 * 64 * 10)


def test_a_computed_filter_is_no_sum(lower: Lower) -> None:
    conv = only(lower("computed_weights"), "conv")
    assert conv.epilogue == ()
    assert conv.weights == ()
    assert conv.inputs == ((1, 8, 6, 6), (4, 8, 3, 3))


def test_integer_kernels_are_labelled_so(lower: Lower) -> None:
    network = lower("qdq")
    assert network.unread == {}
    conv = only(network, "conv")
    assert conv.implementation == "com.microsoft:QLinearConv"
    assert (conv.dtype, conv.layout) == ("uint8", "nhwc")
    assert conv.inputs == ((1, 8, 8, 16),)
    assert conv.weights == ((32, 16, 3, 3),)
    assert conv.macs == 8 * 8 * 32 * 16 * 9
    assert dict(conv.attributes)["weight_dtypes"] == "int8"
    assert dict(only(network, "quantize_linear").attributes) == {"output_dtype": "uint8"}


@follows("onnxruntime")
def test_half_precision_is_labelled_as_what_really_runs(lower: Lower) -> None:
    network = lower("float16")
    first, *_, last, _ = network.ops
    assert (first.kind, first.dtype) == ("cast", "float16")
    assert (last.kind, dict(last.attributes)["to"]) == ("cast", TensorProto.FLOAT16)
    # ONNX Runtime's CPU provider has no kernels for half precision and computes in single.
    assert {op.dtype for op in kernels(network)[1:-1]} == {"float32"}


def test_the_session_counts_what_crosses_the_border(lower: Lower) -> None:
    assert lower("pools").ops[-1] == session_op(1, 4)
    assert lower("slices").layers[-1].name == "session"


def test_lowering_again_gives_the_same_network(
    lower: Lower, runner: OrtRunner, model_file: Callable[[str], Path]
) -> None:
    first = lower("branches")
    for _ in range(4):  # the runtime itself writes branches in an order that changes
        again = runner.lower(model_file("branches"), {})
        assert again.ops == first.ops
        assert [item.covers for item in again.layers] == [item.covers for item in first.layers]


def test_every_network_is_sound(lower: Lower, every_model: str) -> None:
    network = lower(every_model)
    network.check()
    assert network.source == "lowered"
    assert network.name == every_model
    assert network.unread == {}
    assert network.ops[-1].kind == "session"
    assert sum(layer.share for layer in network.layers) == pytest.approx(1.0)
    assert tuple(decode_op(encode_op(op)) for op in network.ops) == network.ops
    assert all(op.implementation for op in network.ops[:-1])


def control_flow() -> onnx.ModelProto:
    """An ``If`` whose result goes on, and a ``Loop``."""
    make = helper.make_tensor_value_info
    shape = [1, 4, 4]
    branches = {}
    for name, op_type in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(op_type, ["x"], [name])
        branches[name] = helper.make_graph([node], name, [], [make(name, 1, shape)])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Exp", ["v"], ["w"])],
        "body",
        [make("i", TensorProto.INT64, []), make("go", TensorProto.BOOL, []), make("v", 1, shape)],
        [make("on", TensorProto.BOOL, []), make("w", 1, shape)],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["c"], name="compare"),
        helper.make_node("If", ["c"], ["chosen"], name="choose", **branches),
        helper.make_node("Sigmoid", ["chosen"], ["s"], name="after"),
        helper.make_node("Loop", ["times", "", "s"], ["y"], name="repeat", body=body),
    ]
    inits = [
        onnx.numpy_helper.from_array(np.float32(0.0), "zero"),
        onnx.numpy_helper.from_array(np.int64(3), "times"),
    ]
    graph = helper.make_graph(nodes, "g", [make("x", 1, shape)], [make("y", 1, shape)], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_control_flow_is_unread_with_its_reason_and_share(
    runner: OrtRunner, tmp_path: Path
) -> None:
    onnx.save(control_flow(), tmp_path / "flow.onnx")
    network = runner.lower(tmp_path / "flow.onnx", {})
    network.check()
    assert set(network.unread) == {"choose", "repeat"}
    assert "If runs a graph inside" in network.unread["choose"]
    assert "Loop runs a graph inside" in network.unread["repeat"]
    assert min(network.unread_shares.values()) > 0
    shares = [*network.unread_shares.values(), *(layer.share for layer in network.layers)]
    assert sum(shares) == pytest.approx(1.0)
    assert [op.kind for op in network.ops] == ["reduce_max", "greater", "sigmoid", "session"]


def test_text_is_unread(runner: OrtRunner, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["t"], name="print", to=TensorProto.STRING),
        helper.make_node("Cast", ["t"], ["y"], name="read", to=TensorProto.FLOAT),
    ]
    infos = [helper.make_tensor_value_info(name, 1, [1, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "t.onnx")
    network = runner.lower(tmp_path / "t.onnx", {})
    assert set(network.unread.values()) == {"Cast works on text"}


def test_a_quota_on_temporary_files_is_named(
    runner: OrtRunner, model_file: Callable[[str], Path]
) -> None:
    path = model_file("conv_relu")
    too_large = pytest.raises(InvalidInputError, match=r"File too large\. Free some space")
    with too_large, file_quota(700):
        runner.lower(path, {})
