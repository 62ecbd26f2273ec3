"""Layers get the names of a PyTorch module's layers, whichever exporter wrote the file."""

from __future__ import annotations

import onnx
import pytest
from onnx_graphs import Graph

from morphnet_core.alignment import paddable, read_source
from morphnet_core.planning import layer_names, plan_widths
from morphnet_core.planning.naming import SCOPES, module_of
from morphnet_core.pricing import target


def node(name="", weight="", scopes=None):
    made = onnx.helper.make_node("Conv", ["x", weight], ["y"], name=name)
    if scopes is not None:
        made.metadata_props.add(key=SCOPES, value=scopes)
    return made


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (node("node_conv2d", "val_3", "['', 'layer1', 'layer1.0', 'conv2d']"), "layer1.0"),
        (node("node_conv2d", "a.conv.weight", "['', 'a', 'a.norm', 'batch_norm']"), "a.conv"),
        (node("node_conv2d", "layer1.0.conv1.weight"), "layer1.0.conv1"),
        (node("/layer1/layer1.0/conv1/Conv", "onnx::Conv_12"), "layer1.0.conv1"),
        (node("/features/features.1/conv/conv.0/conv.0.0/Conv"), "features.1.conv.0.0"),
        (node("/fc/Gemm"), "fc"),
        (node("/Conv", "onnx::Conv_12"), ""),
        (node("Conv_0", "12"), ""),
        (node("", ".weight"), ""),
        (node("/a/Conv", "w", "no list"), "a"),
        (node("/a/Conv", "w", "[1, 2]"), "a"),
        (node("/a/Conv", "w", "['conv2d']"), "a"),
    ],
)
def test_where_a_module_is_told(told, name):
    assert module_of(told) == name


def test_two_layers_of_one_name_keep_those_of_the_file():
    graph = Graph()
    x = graph.conv(graph.conv("image", 16), 16)
    model = graph.model(graph.conv(x, 4))
    for item, scopes in zip(
        model.graph.node, ["['', 'a', 'b']", "['', 'a', 'b']", ""], strict=True
    ):
        item.metadata_props.add(key=SCOPES, value=scopes)
    model.graph.node[2].name = "/head/Conv"
    source = read_source(model, {})
    names = layer_names(source, paddable(source).mixers)
    assert names == {"conv0": "conv0", "conv1": "conv1", "/head/Conv": "head"}
    found = plan_widths(model, target("flops"), "60%")
    assert [group.name for group in found.groups if group.after == 4] == ["head"]
    assert list(found.structure.counts) == ["conv0/Conv2D", "conv1/Conv2D", "head/Conv2D"]
