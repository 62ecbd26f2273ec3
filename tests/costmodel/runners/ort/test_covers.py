"""Which layers as written each executed kernel carries out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import helper
from rule_versions import follows

from costmodel.network import Network
from costmodel.runners.ort.covers import find_covers, name_nodes

Lower = Callable[[str], Network]


def covered(network: Network) -> list[tuple[str, ...]]:
    """Of each kernel but for changes of layout."""
    return [
        layer.covers
        for layer in network.layers
        if layer.covers or not layer.op.kind.startswith(("reorder", "session"))
    ]


def test_a_chain_of_fused_kernels_is_told_apart(lower: Lower) -> None:
    assert covered(lower("chain")) == [
        ("conv0", "relu1"),
        ("conv2", "relu3"),
        ("maxpool4",),
        ("conv5",),
        ("conv6", "relu7"),
    ]


def test_a_fused_sum_belongs_to_the_kernel_that_adds(lower: Lower) -> None:
    assert covered(lower("residual")) == [
        ("conv0", "relu1"),
        ("conv2", "relu3"),
        ("conv4", "add5", "relu6"),
        ("conv7",),
    ]


def test_twins_on_one_tensor_are_told_apart(lower: Lower) -> None:
    found = set(covered(lower("branches")))
    assert {("conv2", "relu3"), ("conv4", "relu5"), ("conv6", "relu7")} < found


def test_folded_normalisations_belong_to_their_convolution(lower: Lower) -> None:
    assert covered(lower("folded_bn")) == [
        ("conv0", "batchnormalization1", "relu2"),
        ("conv3", "batchnormalization4", "relu5"),
    ]


@follows("onnxruntime")
def test_inserted_casts_cover_nothing(lower: Lower) -> None:
    assert covered(lower("float16")) == [
        (),
        ("conv0", "relu1"),
        ("add2",),
        ("globalaveragepool3",),
        (),
    ]


def test_quantised_kernels_keep_their_layer(lower: Lower) -> None:
    homes = {name: i.op.kind for i in lower("qdq").layers for name in i.covers}
    assert homes["conv3"] == "conv"
    assert homes["maxpool7"] == "max_pool"


def test_every_layer_has_exactly_one_kernel(
    lower: Lower, model_file: Callable[[str], Path], every_model: str
) -> None:
    graph = onnx.load(str(model_file(every_model)), load_external_data=False).graph
    name_nodes(graph)
    found = Counter(name for layer in lower(every_model).layers for name in layer.covers)
    assert found == Counter(node.name for node in graph.node)


def test_a_kernel_carries_out_layers_of_its_own_kind(
    lower: Lower, model_file: Callable[[str], Path], unmerged_model: str
) -> None:
    graph = onnx.load(str(model_file(unmerged_model)), load_external_data=False).graph
    name_nodes(graph)
    types = {node.name: node.op_type for node in graph.node}
    for layer in lower(unmerged_model).layers:
        written = {types[name] for name in layer.covers}
        if written & {"Conv", "ConvTranspose"}:
            assert layer.op.kind in {"conv", "conv_transpose"}, layer.name
        if written & {"MaxPool"}:
            assert layer.op.kind == "max_pool", layer.name
        if written & {"Gemm", "MatMul"}:
            assert layer.op.kind in {"gemm", "matmul"}, layer.name


def graph_of(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, "g", [], [])


def test_nameless_and_repeated_nodes_get_names_of_their_own() -> None:
    same = [helper.make_node("Relu", ["x"], ["y"], name="twin") for _ in range(2)]
    graph = graph_of(*same, helper.make_node("Neg", ["y"], ["z"]))
    name_nodes(graph)
    assert [node.name for node in graph.node] == ["twin", "twin_2", "Neg_2"]


def test_a_layer_removed_at_the_end_belongs_to_the_last_kernel() -> None:
    written = graph_of(
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
        helper.make_node("Identity", ["y"], ["z"], name="same"),
    )
    executed = graph_of(helper.make_node("Relu", ["x"], ["y"], name="relu"))
    assert find_covers(written, executed) == {0: ("relu", "same")}


def test_a_tensor_named_like_the_runtimes_own_is_itself() -> None:
    written = graph_of(
        helper.make_node("Relu", ["x"], ["a"], name="one"),
        helper.make_node("Neg", ["a"], ["a_nchwc"], name="two"),
    )
    executed = graph_of(
        helper.make_node("Relu", ["x"], ["a"], name="k"),
        helper.make_node("Neg", ["a"], ["a_nchwc"], name="l"),
    )
    assert find_covers(written, executed) == {0: ("one",), 1: ("two",)}
