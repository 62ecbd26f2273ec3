"""Files of torch.export.save: plain data passes, whatever could run or be unpickled does not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.errors import ModelFormatError
from costmodel.readers.torch_archive import plain_parts

SYMBOL = "Symbol('s45', positive=True, integer=True)"


def program() -> dict[str, Any]:
    """A graph as PyTorch writes it: one product of an input of open size and a weight."""
    tensor = {"dtype": 7, "sizes": [{"as_expr": {"expr_str": SYMBOL, "hint": {"as_int": 2}}}]}
    spec = [1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]
    node = {
        "target": "torch.ops.aten.linear.default",
        "name": "linear",
        "inputs": [
            {"name": "input", "arg": {"as_tensor": {"name": "x"}}, "kind": 1},
            {"name": "weight", "arg": {"as_tensor": {"name": "p_weight"}}, "kind": 1},
        ],
        "outputs": [{"as_tensor": {"name": "linear"}}],
        "metadata": {"stack_trace": "import os; os.system('true')"},
    }
    return {
        "graph_module": {
            "graph": {
                "inputs": [{"as_tensor": {"name": "p_weight"}}, {"as_tensor": {"name": "x"}}],
                "outputs": [{"as_tensor": {"name": "linear"}}],
                "nodes": [node],
                "tensor_values": {"x": tensor},
            },
            "signature": {
                "input_specs": [
                    {"parameter": {"arg": {"name": "p_weight"}, "parameter_name": "l.weight"}}
                ]
            },
            "module_call_graph": [
                {
                    "fqn": "",
                    "signature": {
                        "in_spec": json.dumps(spec),
                        "out_spec": json.dumps(spec),
                        "forward_arg_names": ["x"],
                    },
                }
            ],
            "metadata": {"custom": "{}"},
            "treespec_namedtuple_fields": {},
        },
        "range_constraints": {"s45": {"min_val": 0, "max_val": None}},
        "guards_code": ["__import__('os')"],
    }


def config(**changes: Any) -> dict[str, Any]:
    item = {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": {}}
    return {"config": {"l.weight": {**item, **changes}}}


def archive(
    graph: dict[str, Any] | None = None,
    weights: dict[str, Any] | None = None,
    constants: dict[str, Any] | None = None,
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("net/archive_format", "pt2")
        made.writestr("net/models/model.json", json.dumps(graph or program()))
        made.writestr("net/data/weights/model_weights_config.json", json.dumps(weights or config()))
        found = constants or {"config": {}}
        made.writestr("net/data/constants/model_constants_config.json", json.dumps(found))
        made.writestr("net/data/weights/weight_0", b"\0" * 16)
        made.writestr("net/data/sample_inputs/model.pt", b"a pickle")
        for name, content in more.items():
            made.writestr(f"net/{name}", content)
    return held.getvalue()


@pytest.fixture
def parts(tmp_path: Path) -> Callable[[bytes], dict[str, bytes]]:
    def of(content: bytes) -> dict[str, bytes]:
        path = tmp_path / "net.pt2"
        path.write_bytes(content)
        return plain_parts(path)

    return of


def test_plain_data_passes_and_what_is_pickled_or_run_is_left_out(
    parts: Callable[[bytes], dict[str, bytes]],
) -> None:
    found = parts(archive())
    assert found["data/weights/weight_0"] == b"\0" * 16
    assert found["data/sample_inputs/model.pt"] == b""
    graph = json.loads(found["models/model.json"])
    assert graph["guards_code"] == []
    assert graph["graph_module"]["graph"]["nodes"][0]["metadata"] == {}
    assert graph["graph_module"]["graph"]["nodes"][0]["target"] == "torch.ops.aten.linear.default"


def at(graph: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The graph with another value at a path such as ``graph.nodes.0.name``."""
    changed = deepcopy(graph)
    *steps, last = path.split(".")
    place: Any = changed["graph_module"]
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    return changed


EXPRESSION = "graph.tensor_values.x.sizes.0.as_expr.expr_str"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("graph.nodes.0.target", "torch.os.system"),
        ("graph.nodes.0.target", "torch.ops.load_library"),
        ("graph.nodes.0.target", "torch.ops.aten.__class__.mro"),
        ("graph.nodes.0.target", "builtins.eval"),
        ("graph.nodes.0.target", "#ns:op"),
        ("graph.nodes.0.name", "x): import os #"),
        ("graph.inputs.1.as_tensor.name", "x=__import__('os')"),
        ("signature.input_specs.0.parameter.parameter_name", "l.weight'); import os; ('"),
        ("module_call_graph.0.signature.forward_arg_names", ["x", "y=exit()"]),
        ("module_call_graph.0.signature.in_spec", '[1, {"type": "os.system", "context": "1"}]'),
        ("graph.nodes.0.inputs.0.arg", {"as_custom_obj": {"class_fqn": "a.B"}}),
        ("graph.nodes.0.inputs.0.arg", {"as_string": "\x00\nimport os"}),
        (EXPRESSION, "__import__('os').system('true')"),
        (EXPRESSION, "().__class__"),
        (EXPRESSION, "open(s45)"),
        (EXPRESSION, "[s45 for s45 in (1,)]"),
        (EXPRESSION, "lambda: 1"),
        (EXPRESSION, "Symbol('x y')"),
        (EXPRESSION, "1 +"),
        (EXPRESSION, 5),
    ],
)
def test_what_could_run_is_refused(
    parts: Callable[[bytes], dict[str, bytes]], path: str, value: Any
) -> None:
    with pytest.raises(ModelFormatError, match=r"net\.pt2"):
        parts(archive(at(program(), path, value)))


@pytest.mark.parametrize(
    "expression",
    [
        SYMBOL, "s45", "Mul(Integer(48), Symbol('s23', positive=True, integer=True))",
        "FloorDiv(s45 + 1, 2)", "Max(1, -s7) * 3**2", "oo", "Eq(s1, u0)",
    ],
)  # fmt: skip
def test_sizes_that_are_computed_pass(
    parts: Callable[[bytes], dict[str, bytes]], expression: str
) -> None:
    assert parts(archive(at(program(), EXPRESSION, expression)))


@pytest.mark.parametrize(
    "content",
    [
        archive(weights=config(use_pickle=True)),
        archive(weights=config(path_name="../../etc/passwd")),
        archive(weights=config(path_name="weight_1", tensor_meta={"sizes": [{"as_int": 2**40}]}),
                more={"data/weights/weight_1": b""}),
        archive(constants=config(path_name="custom_obj_0", use_pickle=True)),
        archive(constants=config(path_name="opaque_obj_0")),
        archive(more={"code/__torch__.py": b"class M: ..."}),
        archive()[:200],
        b"",
        b"\x80\x02}q\x00.",  # a pickle
    ],
)  # fmt: skip
def test_other_archives_are_refused_by_name(
    parts: Callable[[bytes], dict[str, bytes]], content: bytes
) -> None:
    with pytest.raises(ModelFormatError, match=r"net\.pt2.*(torch\.export|never loaded|no bytes)"):
        parts(content)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused_by_name(
    parts: Callable[[bytes], dict[str, bytes]], data: st.DataObject
) -> None:
    content = bytearray(archive())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    try:
        told = "net.pt2" if parts(bytes(content)) else "nothing"
    except ModelFormatError as error:
        told = str(error)
    assert "net.pt2" in told
