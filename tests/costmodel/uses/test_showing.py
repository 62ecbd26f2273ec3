"""Overlays, annotated copies and traces of real networks, asked from the real runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from awkward_graphs import awkward_model, run_awkward

import costmodel as cm
from costmodel.costs.roofline import Roofline, datasheet
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.onnx_model.naming import named_model
from costmodel.prediction import Prediction
from costmodel.runners.ort.runner import OrtRunner

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
#: Prices without a table.
COST = Roofline(datasheet("t4"))


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("awkward") / "awkward.onnx"
    onnx.save(awkward_model(), path)
    return path


@pytest.fixture(scope="module")
def found(awkward: Path) -> Prediction:
    return cm.predict(awkward, cost=COST, runner=OrtRunner())


def test_every_kernel_of_an_awkward_network_is_on_its_graph(
    awkward: Path, found: Prediction, tmp_path: Path
) -> None:
    made = cm.overlay(found, awkward, tmp_path / "nodes.json")
    assert made.files == (tmp_path / "nodes.per_gmac.json", tmp_path / "nodes.json")
    assert made.model == tmp_path / "nodes.named.onnx"
    assert (made.share, made.lost) == (1.0, ())
    assert str(made) == (
        f"model-explorer {made.model} --extensions=model_explorer_onnx "
        f"--node_data_paths={made.files[0]},{made.files[1]}"
    )
    data = json.loads(made.files[-1].read_text(encoding="utf-8"))
    assert set(data) == {"awkward"}
    results = data["awkward"]["results"]
    assert set(results) == {"Conv_0", "same", "same_2", "Add_3", "Gate_4", "choose", "pool"}
    assert results["same"]["value"] == "in Conv_0"
    assert results["Add_3"]["value"] == "in same_2"
    assert results["choose"]["value"].startswith("no price: If runs a graph inside")
    copy = onnx.load(made.model)
    assert {node.name for node in copy.graph.node} == set(results)


def test_a_copy_never_takes_the_place_of_the_model(
    awkward: Path, found: Prediction, tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(awkward.read_bytes())
    made = cm.overlay(found, model, model.with_suffix(".json"))
    assert made.model.name == "net.named.onnx"
    assert model.read_bytes() == awkward.read_bytes()


def test_a_model_that_names_its_nodes_needs_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    graph = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { [relu] y = Relu(x) }"""
    )
    onnx.save(graph, path)
    for model in (path, str(path)):
        made = cm.overlay(cm.predict(path, cost="flops"), model, tmp_path / "n.json")
        assert made.model == path
    assert sorted(item.name for item in tmp_path.iterdir()) == ["n.json", "net.onnx"]


def test_an_annotated_copy_does_the_same(awkward: Path, found: Prediction, tmp_path: Path) -> None:
    copy = cm.annotate(found, awkward, tmp_path / "told.onnx")
    read = onnx.load(copy)
    onnx.checker.check_model(read)
    props = {
        node.name: {item.key: item.value for item in node.metadata_props}
        for node in read.graph.node
    }
    assert props["Conv_0"]["costmodel.covers"] == "Conv_0, same"
    assert float(props["Conv_0"]["costmodel.predicted_ms"]) > 0
    assert props["same"] == {"costmodel.in": "Conv_0"}
    np.testing.assert_array_equal(run_awkward(read), run_awkward(awkward_model()))
    # Who annotates the copy again changes nothing else.
    again = cm.annotate(found, copy, tmp_path / "again.onnx")
    assert onnx.load(again) == read


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet", "light_densenet121"])
def test_networks_without_names_are_shown_whole(name: str, tmp_path: Path) -> None:
    path = LIGHT / f"{name}.onnx"
    assert named_model(path).renamed > 10
    predicted = cm.predict(path, cost=COST, runner=OrtRunner())
    made = cm.overlay(predicted, path, tmp_path / "nodes.json")
    assert made.share == 1.0
    written = cm.overlay(cm.predict(path, cost="flops"), path, tmp_path / "flops.json")
    assert written.share == 1.0


def test_foreseen_kernels_are_on_the_graph_as_well(awkward: Path, tmp_path: Path) -> None:
    table = "amd-epyc-family-25-model-17/onnxruntime-float32-t2"
    predicted = cm.predict(awkward, table, cost="lookup", runner=OrtRunner())
    made = cm.overlay(predicted, awkward, tmp_path / "nodes.json")
    assert made.share == 1.0


def test_a_trace_is_a_list_of_events(found: Prediction, tmp_path: Path) -> None:
    for what in (found, [found, found]):
        out = cm.trace(what, tmp_path / "trace.json")
        events = json.loads(out.read_text(encoding="utf-8"))
        assert {item["ph"] for item in events} == {"M", "X"}


def test_mistakes_are_named(awkward: Path, found: Prediction, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nodes.txt must be a file that ends in \.json"):
        cm.overlay(found, awkward, tmp_path / "nodes.txt")
    with pytest.raises(InvalidInputError, match=r"must be a file that ends in \.onnx"):
        cm.annotate(found, awkward, tmp_path / "nodes.json")
    with pytest.raises(ModelFormatError, match="is the model itself"):
        cm.annotate(found, awkward, awkward)
    counts = cm.predict(awkward, cost="flops")
    with pytest.raises(InvalidInputError, match="was priced in flops"):
        cm.trace(counts, tmp_path / "trace.json")


def test_a_lite_file_has_no_onnx_graph(found: Prediction, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the litert extra")
    from lite_models import Net, save

    lite = Net((1, 12, 12, 4))
    lite.conv(8, 3, 1)
    path = save(lite.done(), tmp_path / "net.tflite")
    with pytest.raises(ModelFormatError, match=r"net\.tflite is a TensorFlow Lite file: showing"):
        cm.overlay(found, path, tmp_path / "nodes.json")
