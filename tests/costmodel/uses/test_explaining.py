"""What ``explain`` finds in networks made for it, and that every advice was tried."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import runs
from lite_models import Net, save
from onnx_graphs import DEVICE, Blocks, Graph, bottleneck
from quota import file_quota

import costmodel as cm
from costmodel.cli import main
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.runners.ort.runner import OrtRunner


@pytest.fixture(autouse=True)
def own_device_lock(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


class Wide(Blocks):
    """The law of blocks on a device whose kernels have blocks of 16."""

    device = replace(DEVICE, isa="avx512")


def of_kind(found, kind):
    return [advice for advice in found.advices if advice.kind == kind]


def results(model, image):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"image": image})[0]


def stairs(width):
    """Three plain convolutions, the middle one of some width."""
    graph = Graph()
    middle = graph.conv(graph.conv("image", 32), width)
    return graph.model(graph.conv(graph.node("Relu", middle), 32))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What there is to say of a pruned network, and the network mended."""
    folder = tmp_path_factory.mktemp("found")
    return cm.explain(bottleneck(), cost=Wide(), fix=folder / "fixed.onnx")


def test_a_pruned_network_is_told_to_be_padded_and_why(found):
    (padding,) = of_kind(found, "padding")
    assert padding.proposal.keeps_function
    assert padding.checked == "anticipated"
    assert padding.proposal.widths["conv3"] == (27, 28)
    assert padding.low_ms <= padding.gain_ms <= padding.high_ms
    (path,) = [item for item in found.losses if item.matter == "fast path"]
    assert "its 27 channels are no multiple of 4" in {item.why for item in path.suspects}
    # What is written is the same function.
    image = np.random.default_rng(0).standard_normal((1, 3, 6, 6), dtype=np.float32)
    fixed = onnx.load(found.fixed)
    np.testing.assert_allclose(results(fixed, image), results(bottleneck(), image), atol=1e-5)


def test_the_gain_of_every_advice_is_that_of_the_network_it_wrote(found):
    assert len(found.advices) > 1
    assert [a.gain_ms for a in found.advices] == sorted(
        (a.gain_ms for a in found.advices), reverse=True
    )
    for advice in found.advices:
        assert advice.before_ms == found.prediction.total
        assert advice.gain_ms == advice.before_ms - advice.after_ms > 0
        assert advice.layers
        assert advice.measured_gain_ms is None


def test_a_layer_just_past_a_step_is_told_so_and_what_more_would_cost():
    found = cm.explain(stairs(36), cost=Wide())
    (advice,) = of_kind(found, "step")
    assert advice.proposal.widths == {"conv1": (36, 32)}
    assert advice.proposal.why == "4 of its 36 channels are past a step of 16"
    assert advice.proposal.todo.startswith("32 channels instead of 36")
    assert not advice.proposal.keeps_function
    step = {item.group: item for item in found.steps}["conv1"]
    assert (step.past, step.fewer, step.more) == (4, 32, 48)
    assert step.gain_ms == pytest.approx(advice.gain_ms, rel=1e-6)
    assert step.cost_ms < step.gain_ms / 10  # the block is paid for already


def test_of_a_network_at_the_ends_of_its_steps_blocks_are_offered():
    found = cm.explain(stairs(32), cost=Wide())
    assert {advice.kind for advice in found.advices} == {"block"}
    assert {item.past for item in found.steps} == {0}
    none = cm.explain(stairs(32), cost=Wide(), least_gain=0.9)
    assert none.advices == ()
    assert "nothing is worth changing" in str(none)


def test_a_layer_that_forces_layout_changes_is_left_out_to_see():
    graph = Graph()
    first = graph.conv("image", 32)
    (normed,) = graph.nodes_of("LRN", first, sizes=[graph.sizes[first]], size=3)
    model = graph.model(graph.conv(normed, 32))
    found = cm.explain(model, cost=Wide(), least_gain=0.0)
    (advice,) = of_kind(found, "layout")
    assert advice.layers == ("lrn1",)
    assert "(lrn) works on the plain layout alone" in advice.proposal.why
    assert advice.proposal.skip == ("lrn1", "conv0")


def test_a_shuffle_is_left_out_whole():
    graph = Graph()
    model = graph.model(graph.conv(graph.shuffle(graph.conv("image", 32), 2), 32))
    found = cm.explain(model, cost=Wide(), least_gain=0.0)
    (advice,) = of_kind(found, "layout")
    assert advice.layers == ("reshape1", "transpose2", "reshape3")


def test_the_clock_is_asked_about_every_advice():
    cost = Wide()
    cost.device = OrtRunner().device
    found = cm.explain(bottleneck(), cost=cost, verify=True, rounds=2, most=2)
    assert found.advices
    assert found.measured_on == OrtRunner().device.label
    for advice in found.advices:
        assert advice.checked == "lowered"
        before, after = advice.measured_before_ms, advice.measured_after_ms
        assert before is not None
        assert after is not None
        assert advice.measured_gain_ms == before - after
    best = [advice.measured_gain_ms or 0.0 for advice in found.advices]
    assert best == sorted(best, reverse=True)
    assert len(json.dumps(found.to_json())) > 100


def test_another_device_cannot_be_verified():
    with pytest.raises(InvalidInputError, match=r"Nothing can be verified here: .*Leave --verify"):
        cm.explain(bottleneck(), cost=Wide(), verify=True)


def test_a_network_whose_channels_cannot_change_is_explained_all_the_same():
    graph = Graph()
    first = graph.conv("image", 32)
    scales = graph.constant(0.1), graph.constant(0, np.uint8)
    whole = graph.node("QuantizeLinear", first, *scales)
    model = graph.model(graph.conv(graph.node("DequantizeLinear", whole, *scales), 32))
    found = cm.explain(model, cost=Wide())
    assert found.steps == ()
    assert any("is quantised" in note for note in found.notes)


def test_what_cannot_be_explained_says_what_to_do():
    with pytest.raises(InvalidInputError, match="prices in flops"):
        cm.explain(bottleneck(), cost="flops")
    with pytest.raises(InvalidInputError, match="most must be"):
        cm.explain(bottleneck(), cost=Wide(), most=-1)
    with pytest.raises(InvalidInputError, match="nothing in it has a price"):
        cm.explain(bottleneck(), cost=Wide(unknown=lambda _: True))


def test_a_quota_is_said_not_taken_for_a_network_with_nothing_to_gain(tmp_path):
    onnx.save(bottleneck(), tmp_path / "net.onnx")
    too_large = pytest.raises(InvalidInputError, match=r"cannot be written: File too large")
    with too_large, file_quota(700):
        cm.explain(tmp_path / "net.onnx", cost=Wide())


def test_a_lite_file_is_not_explained(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the litert extra")
    lite = Net((1, 12, 12, 4))
    lite.conv(8, 3, 1)
    path = save(lite.done(), tmp_path / "net.tflite")
    with pytest.raises(ModelFormatError, match="explaining works on ONNX models"):
        cm.explain(path, cost=Wide())


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setattr("costmodel.uses.pricing.cost_of", lambda *_: Wide())

    return runs(main, capsys)


def test_the_command_line_shows_advice_losses_and_steps(run, tmp_path):
    onnx.save(bottleneck(), tmp_path / "net.onnx")
    code, out, _ = run("explain", tmp_path / "net.onnx")
    assert code == 0
    assert "Advice, most milliseconds first" in out
    assert "Kernels off the fast path" in out
    assert "One block of 16 channels less or more" in out
    code, out, err = run(
        *("explain", tmp_path / "net.onnx", "--json", "--most", 1),
        *("--fix", tmp_path / "fixed.onnx"),
    )
    assert code == 0
    found = json.loads(out)
    assert [advice["kind"] for advice in found["advices"]] == ["padding"]
    assert f"Wrote {tmp_path / 'fixed.onnx'}." in err


def test_nothing_to_fix_is_a_finding(run, tmp_path):
    onnx.save(stairs(32), tmp_path / "net.onnx")
    code, _, err = run("explain", tmp_path / "net.onnx", "--fix", tmp_path / "fixed.onnx")
    assert code == 1
    assert "Nothing was written" in err
    assert not (tmp_path / "fixed.onnx").exists()
    code, _, err = run("explain", tmp_path / "net.onnx", "--fix", tmp_path)
    assert code == 2
    assert "is a folder" in err
