"""A target is met by cutting what matters least; what cannot be cut is named."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_graphs import DEVICE, Blocks, Graph, bottleneck

from costmodel.errors import InvalidInputError, ModelFormatError
from morphnet_core.alignment import paddable, read_source
from morphnet_core.groups import find_groups
from morphnet_core.groups.convert import alive_of
from morphnet_core.planning import LEAST, plan_widths
from morphnet_core.pricing import Pricer
from morphnet_core.pricing import target as named
from morphnet_core.structure import Structure


def plain(width=32):
    graph = Graph()
    x = "image"
    for _ in range(3):
        x = graph.node("Relu", graph.conv(x, width))
    pooled = graph.node("GlobalAveragePool", x, size=(1, width, 1, 1))
    return graph.model(graph.dense(graph.flat(pooled), 10, turned=True))


def grouped():
    graph = Graph()
    x = graph.node("Relu", graph.conv("image", 24))
    x = graph.node("Relu", graph.conv(x, 24, groups=4))
    x = graph.gate(graph.conv(x, 40, kernel=1), 8)
    x = graph.concat(x, graph.conv(x, 16))
    pooled = graph.node("GlobalAveragePool", x, size=(1, 56, 1, 1))
    return graph.model(graph.dense(graph.flat(pooled), 10))


def ran(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    return session.run(None, {"image": image})[0]


NETWORKS = {"plain": plain, "residual and depthwise": lambda: bottleneck(32, 64), "gates": grouped}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("cost", [Blocks(), "flops"], ids=["ms", "flops"])
def test_any_network_is_cut_to_a_share(name, cost):
    model = NETWORKS[name]()
    found = plan_widths(model, named(cost), "60%")
    assert 0.35 < found.predicted_share <= 0.6
    assert found.target == pytest.approx(0.6 * found.predicted_before)
    assert (found.measured_share, found.hit, found.note) == (None, None, "predicted only")
    assert np.isfinite(ran(found.model)).all()
    # What is written is what was priced, and the structure says the same of the network.
    again = Pricer(paddable(read_source(found.model, {})), named(cost), DEVICE)
    assert again.seed == pytest.approx(found.predicted_after)
    grouping = find_groups(read_source(model, {}).network)
    alive = alive_of(grouping, found.structure)
    assert grouping.counts(alive).tolist() == [group.after for group in found.groups]
    for group in found.groups:
        assert group.after >= LEAST * group.before
        assert group.after == group.before or not group.frozen


def test_the_weakest_channels_go():
    model = plain()
    (first, *_) = [item for item in model.graph.initializer if len(item.dims) == 4]
    weight = onnx.numpy_helper.to_array(first).copy()
    weak = [1, 5, 9, 30]
    weight[weak] *= 1e-3
    first.CopyFrom(onnx.numpy_helper.from_array(weight, first.name))
    kept = next(iter(plan_widths(model, Blocks(), "80%").structure.layers.values())).kept
    assert kept is not None
    assert set(kept).isdisjoint(weak)


def test_a_clock_corrects_the_prices():
    """A device on which everything takes a fixed time more, which no price knows."""
    cost, asked = Blocks(), []

    def clock(models):
        asked.append(len(models))
        totals = [Pricer(paddable(read_source(m, {})), cost, DEVICE).seed for m in models]
        return [0.5 * total + 2e-3 for total in totals]

    told: list[str] = []
    found = plan_widths(plain(64), cost, "60%", clock=clock, tell=told.append)
    assert asked[0] == 1
    assert set(asked[1:]) == {2}, "the network itself beside every plan"
    assert len(told) == len(asked) - 1
    assert found.measured_before_ms is not None
    assert found.measured_share == pytest.approx(0.6, abs=0.1)
    assert found.target == pytest.approx(0.6 * found.measured_before_ms)
    assert found.structure.measured_ms == found.measured_after_ms


def test_the_plan_is_a_structure_of_the_usual_form(tmp_path):
    found = plan_widths(bottleneck(), Blocks(), "70%")
    read = Structure.load(found.save(tmp_path / "plan.json"))
    assert read == found.structure
    assert read.predicted_ms == pytest.approx(found.predicted_after)
    assert read.device == DEVICE.label
    top = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    (head,) = [name for name in top if name.endswith("/MatMul")]
    assert top[head] == 10, "what is returned stays"
    assert onnx.load(found.save_model(tmp_path / "cut.onnx")) == found.model


def fed_weights():
    model = bottleneck()
    for item in model.graph.initializer:
        kind = onnx.TensorProto.FLOAT if item.data_type == 1 else item.data_type
        model.graph.input.append(onnx.helper.make_tensor_value_info(item.name, kind, item.dims))
    return model


def only_a_head():
    graph = Graph()
    pooled = graph.node("GlobalAveragePool", "image", size=(1, 3, 1, 1))
    return graph.model(graph.dense(graph.flat(pooled), 10))


def sharp():
    """The channels of its second convolution cannot be padded, and so are left."""
    graph = Graph()
    x = graph.node("Relu", graph.conv("image", 8, kernel=1))
    x = graph.node("Log", graph.conv(x, 96))
    pooled = graph.node("GlobalAveragePool", x, size=(1, 96, 1, 1))
    return graph.model(graph.dense(graph.flat(pooled), 10))


def test_what_cannot_be_cut_is_named_with_what_to_do():
    with pytest.raises(InvalidInputError) as raised:
        plan_widths(fed_weights(), Blocks(), "60%")
    assert "net.onnx: no layer of it can be cut" in str(raised.value)
    assert "conv0 (conv0: its weights are inputs too" in str(raised.value)
    assert "Export the model without what the reasons name" in str(raised.value)
    assert plan_widths(fed_weights(), Blocks(), "60%", fix_weights=True).predicted_share <= 0.6
    with pytest.raises(InvalidInputError, match="no layer of it can be cut, so no target"):
        plan_widths(only_a_head(), Blocks(), "60%")


def test_a_target_that_is_too_low_names_what_stands_in_the_way():
    with pytest.raises(InvalidInputError) as raised:
        plan_widths(sharp(), Blocks(), "5%")
    assert "Even at the least widths the network costs" in str(raised.value)
    assert "Raise the target" in str(raised.value)
    assert "conv2 (log3: the log of a padded channel may not be finite)" in str(raised.value)


@pytest.mark.parametrize("target", ["100%", 50.0])
def test_nothing_to_cut(target):
    with pytest.raises(InvalidInputError, match=r"as it is, and the target is .*a lower target"):
        plan_widths(plain(), Blocks(), target)


def test_a_quantised_network_is_refused():
    model = plain()
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["image"], ["q"], name="q"))
    with pytest.raises(ModelFormatError, match="is quantised: node 'q'"):
        plan_widths(model, Blocks(), "60%")
