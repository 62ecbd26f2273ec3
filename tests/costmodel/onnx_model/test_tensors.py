"""Tensors stored beside the file are brought in wherever they are, and held against their sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.file import open_model
from costmodel.onnx_model.walk import all_tensors
from costmodel.readers.onnx import read_onnx
from costmodel.runners.ort.runner import OrtRunner

node = helper.make_node
VALUES = np.arange(64, dtype=np.float32).reshape(8, 8)


def tensor(name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(VALUES, name)


def constant(name: str) -> onnx.NodeProto:
    return node("Constant", [], [name], value=tensor(name))


def product(name: str, out: str, read: str = "x") -> onnx.NodeProto:
    return node("MatMul", [read, name], [out])


def branch(*nodes: onnx.NodeProto, stored: str = "") -> onnx.GraphProto:
    kept = [tensor(stored)] if stored else []
    return helper.make_graph(nodes, "b", [], [onnx.ValueInfoProto(name=nodes[-1].output[0])], kept)


def choose(then: onnx.GraphProto) -> list[onnx.NodeProto]:
    flag = helper.make_tensor("f", TensorProto.BOOL, [], [True])
    other = branch(node("Identity", ["x"], ["z"]))
    return [
        node("Constant", [], ["flag"], value=flag),
        node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
    ]


PLACES = {
    "initializer": ([product("w", "y")], [tensor("w")], []),
    "constant node": ([constant("w"), product("w", "y")], [], []),
    "constant of a branch": (choose(branch(constant("w"), product("w", "z"))), [], []),
    "initializer of a branch": (choose(branch(product("w", "z"), stored="w")), [], []),
    "constant of a function": (
        [node("F", ["x"], ["y"], domain="my")],
        [],
        [helper.make_function("my", "F", ["x"], ["y"], [constant("w"), product("w", "y")],
                              [helper.make_opsetid("", 17)])],
    ),
}  # fmt: skip


def save(path: Path, place: str) -> onnx.ModelProto:
    nodes, stored, functions = PLACES[place]
    sizes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", sizes[:1], sizes[1:], stored)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)
    for number, item in enumerate(item for item in all_tensors(model) if item.name == "w"):
        name = f"{number}.bin"
        (path.parent / name).write_bytes(b"\7" * 16 + item.raw_data)
        item.ClearField("raw_data")
        item.data_location = TensorProto.EXTERNAL
        for key, value in (("location", name), ("offset", "16")):
            item.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return model


@pytest.mark.parametrize("place", PLACES)
def test_values_beside_the_file_are_brought_in(place: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(path, place)
    found = [item for item in all_tensors(open_model(path)) if item.dims == [8, 8]]
    assert [numpy_helper.to_array(item).tolist() for item in found] == [VALUES.tolist()]
    read_onnx(path).check()
    with OrtRunner().load_model(path, {}) as workload:
        assert workload.block(0.0).latency_ms > 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("damage", "words"),
    [("gone", r"0\.bin.*missing"), ("short", "cannot be read|needs 256 bytes"),
     ("elsewhere", "outside of the model"), ("far", "cannot be read|needs 256 bytes")],
)  # fmt: skip
def test_values_that_are_not_there_are_named(
    place: str, damage: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "m.onnx"
    model = save(path, place)
    if damage == "gone":
        (folder / "0.bin").unlink()
    elif damage == "short":
        (folder / "0.bin").write_bytes(b"\7" * 100)
    else:
        (tmp_path / "0.bin").write_bytes(bytes(999))
        change = {"elsewhere": ("location", "../0.bin"), "far": ("offset", str(2**62))}
        key, value = change[damage]
        for item in all_tensors(model):
            for fact in item.external_data:
                if fact.key == key:
                    fact.value = value
        path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match=rf"(?s)m\.onnx.*({words})"):
        open_model(path)


@pytest.mark.parametrize("place", PLACES)
def test_a_claim_that_is_too_large_is_refused_wherever_it_is(place: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = save(path, place)
    for item in all_tensors(model):
        if item.name == "w":
            item.dims[0] = 2**40
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match="claim"):
        open_model(path)


def sparse(places: list[int] | list[list[int]], dims: list[int]) -> onnx.ModelProto:
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    flat = np.asarray(places)
    indices = helper.make_tensor("i", TensorProto.INT64, flat.shape, flat.ravel())
    sizes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([product("w", "y")], "g", sizes[:1], sizes[1:])
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("places", [[0, 9], [[0, 0], [1, 1]]])
def test_sparse_weights_are_written_with_their_zeros(
    places: list[int] | list[list[int]], tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(sparse(places, [8, 8]).SerializeToString())
    (weights,) = open_model(path).graph.initializer
    found = numpy_helper.to_array(weights)
    assert found.shape == (8, 8)
    assert (found[0, 0], found[1, 1], found.sum()) == (1.0, 2.0, 3.0)
    (layer,) = read_onnx(path).layers
    assert layer.op.weights == ((8, 8),)


@pytest.mark.parametrize(
    ("places", "dims", "words"),
    [([0, 99], [8, 8], "damaged"), ([[0, 0], [9, 9]], [8, 8], "damaged"),
     ([0, 1], [2**20, 2**20], "bytes"), ([0, 1], [-1, 8], "below 0")],
)  # fmt: skip
def test_sparse_weights_that_do_not_fit_are_refused(
    places: list[int], dims: list[int], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(sparse(places, dims).SerializeToString())
    with pytest.raises(ModelFormatError, match=rf"m\.onnx.*{words}"):
        open_model(path)


def outside(path: Path, **facts: str) -> Path:
    """A model whose weights are said to lie elsewhere."""
    model = save(path, "initializer")
    (stored,) = model.graph.initializer
    for item in stored.external_data:
        item.value = facts.get(item.key, item.value)
    for key in facts.keys() - {item.key for item in stored.external_data}:
        stored.external_data.add(key=key, value=facts[key])
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret.bin", "a/../../secret.bin", "/etc/passwd", "\0"])
def test_nothing_outside_of_the_folder_is_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\7" * 16 + VALUES.tobytes())
    (tmp_path / "a").mkdir()
    path = outside(tmp_path / "a" / "net.onnx", location=location)
    with pytest.raises(ModelFormatError, match="outside of the model's folder"):
        open_model(path)


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\7" * 16 + VALUES.tobytes())
    folder = tmp_path / "a"
    folder.mkdir()
    path = outside(folder / "net.onnx", location="link.bin")
    (folder / "link.bin").symlink_to(secret)
    with pytest.raises(ModelFormatError, match="outside of the model's folder"):
        open_model(path)


@pytest.mark.parametrize("length", ["1000000000000", "x", "-1"])
def test_no_more_of_a_file_is_read_than_a_tensor_has(length: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="needs 256 bytes"):
        open_model(outside(tmp_path / "net.onnx", length=length))
