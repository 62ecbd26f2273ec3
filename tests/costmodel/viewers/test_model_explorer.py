"""Node data in the form that Model Explorer reads, and the same as texts on the nodes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from costmodel.comparison import Comparison
from costmodel.onnx_model.naming import NamedModel
from costmodel.prediction import Prediction
from costmodel.viewers.model_explorer import model_properties, node_data, node_properties
from costmodel.viewers.placing import place


def test_a_prediction_has_its_numbers_and_those_per_gmac(
    prediction: Prediction, graph: NamedModel
) -> None:
    found = node_data(prediction, place(prediction, graph), "net_graph")
    assert list(found) == ["per_gmac", ""]
    data = found[""]["net_graph"]
    assert data["name"] == "predicted ms"
    results = data["results"]
    assert {name: entry["value"] for name, entry in results.items()} == {
        "conv": 1.1,
        "relu": "in conv",
        "fc": 0.4,
        "odd": "no price: no row for einsum",
        "choose": "no price: If runs a graph inside",
        "norm": "in conv",
        "flatten": "in fc",
    }
    assert "bgColor" not in results["conv"]  # the scale colours it
    stops = [item["stop"] for item in data["gradient"]]
    assert stops == sorted(stops)
    assert (stops[0], stops[-1]) == (0.0, 1.0)
    assert set(found["per_gmac"]["net_graph"]["results"]) == {"conv", "fc"}
    json.dumps(found, allow_nan=False)


def test_a_comparison_has_measured_times_and_errors(
    comparison: Comparison, graph: NamedModel
) -> None:
    found = node_data(comparison, place(comparison, graph), "net_graph")
    assert list(found) == ["error", "measured", "per_gmac", ""]
    measured = found["measured"]["net_graph"]["results"]
    assert measured["conv"]["value"] == 1.5
    assert set(measured) == {"conv", "fc", "odd", "choose"}
    errors = found["error"]["net_graph"]["results"]
    assert {name: entry["value"] for name, entry in errors.items()} == pytest.approx(
        {"conv": -26.67, "fc": -46.67}
    )
    assert found["error"]["net_graph"]["hideAggregatedStats"] == ["sum"]
    assert "hideAggregatedStats" not in found["measured"]["net_graph"]
    assert len({entry["bgColor"] for entry in errors.values()}) == 1


def test_a_network_nobody_looked_into_has_no_measured_nodes(
    comparison: Comparison, graph: NamedModel
) -> None:
    layers = tuple(replace(item, seen=float("nan")) for item in comparison.prediction.layers)
    bare = replace(comparison.prediction, layers=layers, unpriced=())
    blind = replace(comparison, prediction=bare)
    assert list(node_data(blind, place(blind, graph), "g")) == ["per_gmac", ""]


def test_counts_have_one_quantity(prediction: Prediction, graph: NamedModel) -> None:
    counts = replace(prediction, unit="flops")
    found = node_data(counts, place(counts, graph), "g")
    assert list(found) == [""]
    assert found[""]["g"]["name"] == "predicted flops"


def test_texts_on_nodes(comparison: Comparison, graph: NamedModel) -> None:
    placed = place(comparison, graph)
    texts = node_properties(comparison, placed)
    assert texts["conv"] == {
        "predicted_ms": "1.1",
        "low_ms": "0.99",
        "high_ms": "1.21",
        "measured_ms": "1.5",
        "error": "-0.2667",
        "ms_per_gmac": "29840",
        "kernels": "conv 3x3 8->8 @8x8 +relu, reorder_output 8 @8x8",
        "price": "predicted",
        "covers": "conv, norm, relu",
    }
    assert texts["norm"] == texts["relu"] == {"in": "conv"}
    assert texts["choose"]["note"] == "If runs a graph inside"
    assert "predicted_ms" not in texts["choose"]
    assert "bias" not in texts
    whole = model_properties(comparison, placed)
    assert whole["measured_ms"] == "2.5"
    assert whole["share_on_nodes"] == "1"
    assert whole["device"] == comparison.device.label
