"""Functions of a model's own are written out wherever a model is opened, and mean the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.file import open_model
from costmodel.onnx_model.walk import all_bodies
from costmodel.readers.onnx import read_onnx
from costmodel.runners.ort.runner import OrtRunner

node = helper.make_node


def opsets(*domains: str, version: int = 17) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid("", version), *(helper.make_opsetid(d, 1) for d in domains)]


def function(
    name, nodes, *, reads=("X",), writes=("Y",), imports=None, **more
) -> onnx.FunctionProto:
    imports = opsets("my", "com.microsoft") if imports is None else imports
    return helper.make_function("my", name, reads, writes, nodes, imports, **more)


def of(kind: str, reads: str, writes: str, **attributes) -> onnx.NodeProto:
    """A node of a standard operator, or a call of a function where the name begins with ``my``."""
    domain, _, name = kind.rpartition(".")
    return node(name, reads.split(","), writes.split(","), domain=domain, **attributes)


def refers(made: onnx.NodeProto, name: str) -> onnx.NodeProto:
    """The node with an attribute that its function is called with."""
    kind = onnx.AttributeProto.FLOAT
    made.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=name, type=kind))
    return made


def save(path: Path, nodes, functions, *, imports=None, constants=()) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1, 4])],
        [onnx.ValueInfoProto(name="y")], list(constants),
    )  # fmt: skip
    imports = opsets("my", "com.microsoft") if imports is None else imports
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


ACT = function("Act", [of("Relu", "X", "Y")])
LEAKY = function("Leaky", [refers(of("LeakyRelu", "X", "Y"), "alpha")], attributes=["alpha"])
SLACK = function(
    "Slack",
    [refers(of("LeakyRelu", "X", "Y"), "alpha")],
    attribute_protos=[helper.make_attribute("alpha", 0.25)],
)
TWICE = function("Twice", [of("my.Act", "X", "t"), of("my.Leaky", "t", "Y", alpha=0.5)])
FLAG = helper.make_tensor("flag", TensorProto.BOOL, [], [True])


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [onnx.ValueInfoProto(name=nodes[-1].output[0])])


CASES = {
    "plain": ([of("my.Act", "x", "y")], [ACT], ["relu"]),
    "attribute": ([of("my.Leaky", "x", "y", alpha=0.5)], [LEAKY], ["leaky_relu"]),
    "default": ([of("my.Slack", "x", "y")], [SLACK], ["leaky_relu"]),
    "nested, in any order": (
        [of("my.Twice", "x", "y")], [TWICE, LEAKY, ACT], ["relu", "leaky_relu"]
    ),
    "optional operands": (
        [of("my.Pair", "x,", ",y")],
        [function("Pair", [of("Clip", "X,L", "Y"), of("Relu", "X", "Z")],
                  reads=["X", "L"], writes=["Y", "Z"])],
        ["clip", "relu"],
    ),
    "names that are taken": ([of("Relu", "x", "t"), of("my.Twice", "t", "y")], [TWICE, LEAKY, ACT],
                             ["relu", "relu", "leaky_relu"]),
    "of the runtime": ([of("my.G", "x", "y")],
                       [function("G", [of("com.microsoft.Gelu", "X", "Y")])], ["gelu"]),
    "overloads": (
        [of("my.Act", "x", "t", overload="a"), of("my.Act", "t", "y", overload="b")],
        [function("Act", [of("Relu", "X", "Y")], overload="a"),
         function("Act", [of("Sigmoid", "X", "Y")], overload="b")],
        ["relu", "sigmoid"],
    ),
    "newer operators": (
        [of("my.N", "x", "y")],
        [function("N", [of("Relu", "X", "Y")], imports=opsets(version=18))],
        ["relu"],
    ),
    "older operators": (
        [of("my.N", "x", "y")],
        [function("N", [of("Relu", "X", "t"), of("Sigmoid", "t", "Y")],
                  imports=opsets(version=13))],
        ["relu", "sigmoid"],
    ),
    "another name of the standard": (
        [of("ai.onnx.Relu", "x", "t"), of("my.N", "t", "y")],
        [function("N", [of("Relu", "X", "Y")], imports=[helper.make_opsetid("ai.onnx", 17)])],
        ["relu", "relu"],
    ),
    "unused": ([of("Relu", "x", "y")], [TWICE, LEAKY, ACT], ["relu"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_function_is_read_as_what_it_does(name: str, tmp_path: Path) -> None:
    nodes, functions, kinds = CASES[name]
    path = save(tmp_path / "m.onnx", nodes, functions)
    network = read_onnx(path)
    assert [layer.op.kind for layer in network.layers] == kinds
    assert not network.unread
    lowered = OrtRunner().lower(path, {})
    assert lowered.inputs == {"x": (1, 4)}
    assert not lowered.unread


@pytest.mark.parametrize(("attributes", "alpha"), [({}, 0.25), ({"alpha": 0.5}, 0.5)])
def test_values_of_attributes_are_those_of_the_call_or_else_the_default(
    attributes: dict[str, float], alpha: float, tmp_path: Path
) -> None:
    path = save(tmp_path / "m.onnx", [of("my.Slack", "x", "y", **attributes)], [SLACK])
    (leaky,) = open_model(path).graph.node
    assert [item.f for item in leaky.attribute] == [alpha]


def test_functions_in_graphs_inside_nodes_are_written_out(tmp_path: Path) -> None:
    inside = function(
        "Cond",
        [of("If", "C", "Y",
            then_branch=branch("t", refers(of("LeakyRelu", "X", "b"), "alpha")),
            else_branch=branch("e", of("my.Act", "X", "c")))],
        reads=["X", "C"], attributes=["alpha"],
    )  # fmt: skip
    nodes = [
        of("my.Cond", "x,flag", "t", alpha=0.5),
        of("If", "flag", "y",
           then_branch=branch("u", of("my.Act", "t", "d")),
           else_branch=branch("v", of("my.Twice", "t", "e"))),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, [inside, TWICE, LEAKY, ACT], constants=[FLAG])
    model = open_model(path)
    assert {item.domain for body in all_bodies(model) for item in body.node} == {""}
    assert not model.functions
    assert agree(path, model)


def test_domains_that_only_functions_import_are_imported(tmp_path: Path) -> None:
    gelu = function("G", [of("com.microsoft.Gelu", "X", "t"), of("Relu", "t", "Y")])
    path = save(tmp_path / "m.onnx", [of("my.G", "x", "y")], [gelu],
                imports=[helper.make_opsetid("my", 1)])  # fmt: skip
    model = open_model(path)
    assert {item.domain: item.version for item in model.opset_import} == {
        "": 17, "com.microsoft": 1,
    }  # fmt: skip
    assert [layer.op.kind for layer in read_onnx(path).layers] == ["gelu", "relu"]


def chain(count: int, calls: int) -> list[onnx.FunctionProto]:
    """Functions each of which calls the one before it so many times."""
    made = [function("F0", [of("Relu", "X", "Y")])]
    for number in range(1, count):
        names = ["X", *(f"t{i}" for i in range(calls - 1)), "Y"]
        inner = [of(f"my.F{number - 1}", a, b) for a, b in pairwise(names)]
        made.append(function(f"F{number}", inner))
    return made


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ([function("F29", [of("my.F29", "X", "Y")])], "calls itself"),
        ([function("F29", [of("my.G", "X", "Y")]), function("G", [of("my.F29", "X", "Y")])],
         "calls itself"),
        (chain(30, 2), "536,870,912 nodes"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_out_is_refused(functions, words: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [of("my.F29", "x", "y")], functions)
    with pytest.raises(ModelFormatError, match=rf"m\.onnx.*{words}"):
        open_model(path)


def agree(path: Path, model: onnx.ModelProto) -> bool:
    """Whether the runtime computes the same from the file, whose functions it writes out itself."""
    feed = {"x": np.random.default_rng(0).standard_normal((1, 4), dtype=np.float32)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    sessions = [
        onnxruntime.InferenceSession(source, options)
        for source in (str(path), model.SerializeToString())
    ]
    (first,), (second,) = (session.run(None, feed) for session in sessions)
    return bool(np.array_equal(first, second))


@st.composite
def bodies(draw, callees: int):
    """Nodes from X to Y, some of which call functions F0 up to one below ``callees``."""
    steps = draw(st.integers(1, 4))
    made, at = [], "X"
    for number in range(steps):
        to = "Y" if number == steps - 1 else f"t{number}"
        kind = draw(st.integers(0, 4))
        if kind == 0 and callees:
            made.append(of(f"my.F{draw(st.integers(0, callees - 1))}", at, to, alpha=0.5))
        elif kind == 1:
            made.append(refers(of("LeakyRelu", at, to), "alpha"))
        elif kind == 2:
            value = helper.make_tensor("v", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
            made += [
                node("Constant", [], [f"k{number}"], value=value),
                of("Mul", f"{at},k{number}", to),
            ]
        elif kind == 3 and callees:
            call = of(f"my.F{draw(st.integers(0, callees - 1))}", at, f"b{number}", alpha=0.125)
            other = refers(of("LeakyRelu", at, f"c{number}"), "alpha")
            flag = helper.make_tensor("v", TensorProto.BOOL, [], [draw(st.booleans())])
            made += [
                node("Constant", [], [f"f{number}"], value=flag),
                of(
                    "If",
                    f"f{number}",
                    to,
                    then_branch=branch("t", call),
                    else_branch=branch("e", other),
                ),
            ]
        else:
            made.append(of("Sigmoid", at, to))
        at = to
    return made


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_functions_mean_the_same_once_written_out(tmp_path_factory, data) -> None:
    count = data.draw(st.integers(1, 4))
    functions = [
        function(
            f"F{i}", data.draw(bodies(i)), attribute_protos=[helper.make_attribute("alpha", 0.25)]
        )
        for i in range(count)
    ]
    functions = data.draw(st.permutations(functions))
    nodes = [of(f"my.F{count - 1}", "x", "t", alpha=2.0), of("my.F0", "t", "y")]
    path = save(tmp_path_factory.mktemp("f") / "m.onnx", nodes, functions)
    model = open_model(path)
    assert agree(path, model)
    names = [name for item in model.graph.node for name in item.output]
    assert len(names) == len(set(names))
    read_onnx(path).check()
