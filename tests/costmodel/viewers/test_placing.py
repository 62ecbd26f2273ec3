"""Kernels on the nodes of the graph that stand for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costmodel.comparison import Comparison
from costmodel.onnx_model.naming import NamedModel
from costmodel.prediction import Prediction
from costmodel.viewers.kernels import error_of, kernels_of, per_gmac, session_price
from costmodel.viewers.placing import place


def names_of(found: Prediction | Comparison, graph: NamedModel) -> dict[str, list[str]]:
    return {
        node: [kernel.name for kernel in kernels]
        for node, kernels in place(found, graph).nodes.items()
    }


def test_a_fused_kernel_is_on_the_node_that_it_is_about(
    prediction: Prediction, graph: NamedModel
) -> None:
    found = place(prediction, graph)
    assert names_of(prediction, graph) == {
        "conv": ["relu/n0", "reorder_1/n1"],  # the second stores what the first wrote
        "fc": ["fc/n2"],
        "odd": ["odd/n3"],
        "choose": ["choose"],
    }
    assert found.covered == {"norm": "conv", "relu": "conv", "flatten": "fc"}
    assert (found.share, found.lost) == (1.0, ())


def test_what_no_node_stands_for_is_said(prediction: Prediction, graph: NamedModel) -> None:
    homes = {name: home for name, home in graph.homes.items() if home not in {"fc", "flatten"}}
    found = place(prediction, replace(graph, homes=homes))
    assert [kernel.name for kernel in found.lost] == ["fc/n2"]
    assert found.share == pytest.approx(1.1 / 1.5)


def test_of_kernels_without_any_price_the_number_counts(
    prediction: Prediction, graph: NamedModel
) -> None:
    bare = replace(prediction, layers=())
    assert place(bare, graph).share == 1.0
    assert place(bare, replace(graph, homes={"odd": "odd"})).share == 0.5


def test_measured_times_are_shares_of_the_whole(comparison: Comparison) -> None:
    measured = {kernel.name: kernel.measured_ms for kernel in kernels_of(comparison)}
    assert measured["relu/n0"] == pytest.approx(1.25)
    assert measured["choose"] == pytest.approx(0.125)
    assert sum(measured.values()) == pytest.approx(2.5)


def test_the_session_is_no_kernel(prediction: Prediction) -> None:
    assert "session" not in {kernel.name for kernel in kernels_of(prediction)}
    assert session_price(prediction) == 0.5


def test_errors_need_both_sides(comparison: Comparison, prediction: Prediction) -> None:
    conv, *_, odd, _ = kernels_of(comparison)
    assert error_of([conv]) == pytest.approx(1.0 / 1.25 - 1.0)
    assert error_of([conv, odd]) != error_of([conv, odd])  # NaN
    assert error_of(kernels_of(prediction)[:1]) != error_of(kernels_of(prediction)[:1])


def test_cost_per_multiply_add(prediction: Prediction) -> None:
    conv, move, *_ = kernels_of(prediction)
    macs = 8 * 8 * 8 * 8 * 9
    assert per_gmac([conv]) == pytest.approx(1.0 / macs * 1e9)
    assert per_gmac([move]) != per_gmac([move])  # NaN: it does none


def test_a_network_as_written_is_its_own_graph(prediction: Prediction, graph: NamedModel) -> None:
    written = replace(
        prediction,
        source="written",
        layers=tuple(
            replace(item, name=item.name.partition("/")[0], covers=(), beside=())
            for item in prediction.layers
        ),
        unpriced=(),
    )
    assert set(names_of(written, graph)) == {"relu", "fc"}
    assert [kernel.name for kernel in place(written, graph).lost] == ["reorder_1"]
