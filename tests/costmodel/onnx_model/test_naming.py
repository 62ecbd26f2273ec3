"""Names for nodes that have none, and where the readers' layers are in the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from awkward_graphs import awkward_model, run_awkward
from onnx.external_data_helper import convert_model_to_external_data

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.naming import MAIN, named_model


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    path = tmp_path / "awkward.onnx"
    onnx.save(awkward_model(), path)
    return path


def test_every_node_gets_a_name_of_its_own(awkward: Path) -> None:
    found = named_model(awkward)
    assert found.names == ("Conv_0", "same", "same_2", "Add_3", "Gate_4", "choose", "pool")
    assert found.renamed == 4
    assert [node.name for node in found.model.graph.node] == list(found.names)


def test_what_a_function_does_is_at_its_call(awkward: Path) -> None:
    homes = named_model(awkward).homes
    inner = {name for name, home in homes.items() if home == "Gate_4"}
    assert len(inner) == 2
    assert not inner & set(named_model(awkward).names)
    assert all(homes[name] == name for name in ("Conv_0", "same", "same_2", "choose", "pool"))


def test_nodes_in_any_order_are_found(tmp_path: Path) -> None:
    model = awkward_model()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    path = tmp_path / "turned.onnx"
    path.write_bytes(model.SerializeToString())
    found = named_model(path)
    assert [found.op_types[name] for name in found.names] == [n.op_type for n in reversed(nodes)]
    assert found.homes["Conv_0"] == found.names[-1] == "Conv_0"  # the first that can run


def test_a_copy_does_the_same_and_says_what_it_was_told(awkward: Path, tmp_path: Path) -> None:
    found = named_model(awkward)
    found.model.graph.node[0].metadata_props.add(key="theirs", value="kept")
    found.annotate({"Conv_0": {"old": "1"}}, {"old": "1"})
    found.annotate({"Conv_0": {"predicted_ms": "0.5"}}, {"predicted_ms": "2"})
    copy = found.save(tmp_path / "new" / "copy.onnx")
    read = onnx.load(copy)
    onnx.checker.check_model(read)
    props = [(item.key, item.value) for item in read.graph.node[0].metadata_props]
    assert props == [("theirs", "kept"), ("costmodel.predicted_ms", "0.5")]
    props = [(item.key, item.value) for item in read.metadata_props]
    assert props == [("costmodel.predicted_ms", "2")]
    np.testing.assert_array_equal(run_awkward(read), run_awkward(awkward_model()))


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    model = awkward_model()
    model.graph.name = ""
    whole = run_awkward(model)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    (tmp_path / "there").mkdir()
    path = tmp_path / "there" / "big.onnx"
    onnx.save(model, path)
    assert (path.parent / "weights.bin").stat().st_size
    found = named_model(path)
    assert found.graph_name == MAIN
    copy = found.save(tmp_path / "copy.onnx")
    np.testing.assert_array_equal(run_awkward(onnx.load(copy)), whole)


def test_the_model_itself_is_left_alone(awkward: Path) -> None:
    with pytest.raises(ModelFormatError, match="is the model itself"):
        named_model(awkward).save(awkward)
