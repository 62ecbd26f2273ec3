"""Open sizes of ONNX files: however a file writes them, whoever is to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.onnx_model.inputs import bound_model, names_of_use, sizes_of_each
from costmodel.readers.onnx import read_onnx
from costmodel.registry import load_runner
from costmodel.sizes import Sizes

Dims = Sequence[int | str | None] | None


def save(path: Path, **inputs: Dims) -> Path:
    """A Relu of each input, which says of its result what it says of itself."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", [name], [f"{name}_out"]) for name in inputs]
    fed = [value(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    results = [value(f"{name}_out", TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    graph = helper.make_graph(nodes, "g", fed, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


CASES: dict[str, tuple[Dims, Sizes, tuple[int, ...]]] = {
    "-1 as batch": ([-1, 3, 8, 9], {}, (1, 3, 8, 9)),
    "-1 as batch, by axis": ([-1, 3, 8, 9], {"x:0": 2}, (2, 3, 8, 9)),
    "0 as batch": ([0, 3, 8, 9], {"batch": 2}, (2, 3, 8, 9)),
    "-1 and 0 elsewhere": ([1, 3, -1, 0], {"x:2": 5, "x:3": 6}, (1, 3, 5, 6)),
    "odd names": (["p2o.0", 3, "p2o.1", "p2o.2"], {"p2o.1": 5, "p2o.2": 6}, (1, 3, 5, 6)),
    "by shape": (["N", 3, "h", None], {"x": (2, 3, 5, 6)}, (2, 3, 5, 6)),
    "by nameless shape": (["N", 3, "h", None], {"": (2, 3, 5, 6)}, (2, 3, 5, 6)),
    "open rank": (None, {"x": (2, 3)}, (2, 3)),
    "open rank, by axis": (None, {"x:0": 2, "x:1": 3}, (2, 3)),
    "a scalar": ([], {}, ()),
}
RUNTIMES = ("ort", "openvino", "xla", "litert")


@pytest.mark.parametrize("name", CASES)
def test_open_sizes_are_bound(name: str, tmp_path: Path) -> None:
    dims, sizes, wanted = CASES[name]
    path = save(tmp_path / "m.onnx", x=dims)
    network = read_onnx(path, sizes)
    assert network.inputs == {"x": wanted}
    assert [layer.op.outputs for layer in network.layers] == [(wanted,)]
    (spelled,) = sizes_of_each([path], sizes)
    assert load_runner("ort").lower(path, spelled).inputs == {"x": wanted}
    with load_runner("ort").load_model(path, spelled) as workload:
        assert workload.block(0.0).runs > 0


@pytest.fixture(params=["written", *RUNTIMES])
def opened(request: pytest.FixtureRequest) -> Callable[[Path, Mapping[str, int]], object]:
    """Opens a file by a runtime, or as it is written."""
    if request.param == "written":
        return read_onnx
    pytest.importorskip({"ort": "onnxruntime", "litert": "ai_edge_litert", "xla": "jax"}.get(
        request.param, request.param
    ))  # fmt: skip
    if request.param == "xla":  # a process has one of it
        runner = request.getfixturevalue("xla_runner")
    else:
        runner = load_runner(request.param)
    lower: Any = runner.lower
    return lower


def test_a_name_that_means_nothing_is_refused_by_all(
    opened: Callable[[Path, Mapping[str, int]], object], tmp_path: Path
) -> None:
    path = save(tmp_path / "m.onnx", x=["N", 3, 8, 8])
    with pytest.raises(InvalidInputError, match=r"m\.onnx has no open dimension 'bacth'.*'batch'"):
        opened(path, {"bacth": 2})
    with pytest.raises(InvalidInputError, match="is 3, so it cannot be 4"):
        opened(path, {"x:1": 4})


def test_everything_open_is_asked_for_by_all(
    opened: Callable[[Path, Mapping[str, int]], object], tmp_path: Path
) -> None:
    path = save(tmp_path / "m.onnx", x=["p.0", 3, "p.1", "p.2"], ids=["p.0", "seq"])
    words = r"m\.onnx.*--size p\.1=224 --size p\.2=224 --size seq=128"
    with pytest.raises(ModelFormatError, match=words):
        opened(path, {})


def test_results_no_longer_claim_sizes_below_one(tmp_path: Path) -> None:
    model = bound_model(save(tmp_path / "m.onnx", x=[-1, 0]), {"x": (2, 3)})
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [0, 0]
    assert not any(
        dim.HasField("dim_value") for dim in model.graph.output[0].type.tensor_type.shape.dim
    )


def test_several_models_share_what_means_something_to_one(tmp_path: Path) -> None:
    first = save(tmp_path / "a.onnx", x=["N", 3, "h", 8])
    second = save(tmp_path / "b.onnx", ids=["N", "length"])
    sizes: Sizes = {"N": 2, "h": 5, "length": 7, "ids": (2, 7)}
    assert names_of_use(first, sizes) == {"N", "h"}
    assert sizes_of_each([first, second], sizes) == [
        {"N": 2, "h": 5}, {"N": 2, "length": 7, "ids:0": 2, "ids:1": 7},
    ]  # fmt: skip
    assert sizes_of_each([first], {"zzz": 1}) == [{"zzz": 1}]  # whoever opens it refuses that
    with pytest.raises(InvalidInputError, match=r"None of the models .*'zzz'.*a\.onnx.*b\.onnx"):
        sizes_of_each([first, second], {"zzz": 1})


def test_what_is_no_tensor_is_left_alone(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1, 4])
    position = helper.make_tensor("i", TensorProto.INT64, [], [0])
    nodes = [
        helper.make_node("SequenceAt", ["s", "i"], ["t"]),
        helper.make_node("Relu", ["x"], ["y"], name="plain"),
    ]
    fed = [sequence, helper.make_tensor_value_info("x", TensorProto.FLOAT, [-1, 4])]
    results = [onnx.ValueInfoProto(name=name) for name in "ty"]
    graph = helper.make_graph(nodes, "g", fed, results, [position])
    imports = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    network = read_onnx(path, {"batch": 2})
    assert network.inputs == {"x": (2, 4)}
    assert [layer.name for layer in network.layers] == ["plain"]
    assert set(network.unread) == {"SequenceAt_0"}
    with pytest.raises(ModelFormatError, match=r"Input 's' is seq\(tensor\(float\)\)"):
        load_runner("ort").lower(path, {})
