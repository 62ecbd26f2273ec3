"""Nodes in any order are put into one in which they run."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.order import sort_nodes
from costmodel.onnx_model.walk import node_reads

HERE = Path("m.onnx")


def graph_of(nodes: list[onnx.NodeProto], *outputs: str) -> onnx.GraphProto:
    fed = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    return helper.make_graph(nodes, "g", fed, [onnx.ValueInfoProto(name=n) for n in outputs])


@given(data=st.data())
def test_any_order_becomes_one_that_runs(data: st.DataObject) -> None:
    names, nodes = ["x"], []
    for number in range(data.draw(st.integers(1, 12))):
        reads = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        nodes.append(helper.make_node("Sum", reads, [f"t{number}"]))
        names.append(f"t{number}")
    graph = graph_of(data.draw(st.permutations(nodes)), names[-1])
    sort_nodes(HERE, graph)
    known = {"x"}
    for node in graph.node:
        assert known.issuperset(node.input)
        known.update(node.output)
    assert len(graph.node) == len(nodes)


def test_an_order_that_runs_stays() -> None:
    nodes = [helper.make_node("Relu", ["x"], [name]) for name in "cab"]
    graph = graph_of(nodes, "a", "b", "c")
    sort_nodes(HERE, graph)
    assert [node.output[0] for node in graph.node] == ["c", "a", "b"]


def test_fifty_thousand_nodes_in_reverse_are_sorted() -> None:
    """Each pass over what waits would take minutes."""
    count = 50_000
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(count)]
    graph = graph_of([*nodes[::-1], helper.make_node("Relu", ["x"], ["t0"])], f"t{count}")
    sort_nodes(HERE, graph)
    assert [node.output[0] for node in graph.node] == [f"t{i}" for i in range(count + 1)]


def test_what_a_branch_reads_from_outside_comes_first() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["b", "late"], ["c"]), helper.make_node("Relu", ["x"], ["b"])],
        "t", [], [onnx.ValueInfoProto(name="c")],
    )  # fmt: skip
    passed = helper.make_graph([], "e", [], [onnx.ValueInfoProto(name="early")])
    choose = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=passed)
    assert sorted(node_reads(choose)) == ["early", "late", "x"]
    nodes = [choose, *(helper.make_node("Relu", ["x"], [name]) for name in ("late", "early"))]
    graph = graph_of(nodes, "y")
    sort_nodes(HERE, graph)
    assert [node.output[0] for node in graph.node] == ["late", "early", "y"]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("a", "x,b"), ("b", "a")], "reads 'b', but the nodes form a cycle"),
        ([("a", "a")], "reads 'a', but the nodes form a cycle"),
        ([("a", "nowhere")], "reads 'nowhere', but nothing writes that tensor"),
        ([("a", "x"), ("a", "x")], "'a' is written twice"),
        ([("x", "x")], "'x' is written twice"),
        ([("b", "x")], "output 'a' is written by no node"),
    ],
)
def test_what_cannot_run_is_named(nodes: list[tuple[str, str]], words: str) -> None:
    made = [helper.make_node("Sum", reads.split(","), [name]) for name, reads in nodes]
    with pytest.raises(ModelFormatError, match=rf"m\.onnx.*{words}"):
        sort_nodes(HERE, graph_of(made, "a"))
