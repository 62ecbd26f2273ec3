"""Widths are chosen for a gain, only for a gain, and the result is the same function."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx_graphs import DEVICE, Blocks, Graph, bottleneck, drawn_models

from costmodel.calibration import Calibration
from costmodel.costs.counts import Flops
from costmodel.errors import InvalidInputError, ModelFormatError
from morphnet_core.alignment import (
    TOLERANCE,
    Limits,
    agreement,
    alignment,
    pad_to_fast_widths,
    paddable,
)
from morphnet_core.alignment import read_source as opened
from morphnet_core.alignment.evaluate import Evaluator
from morphnet_core.alignment.search import best_counts
from morphnet_core.alignment.verify import Agreement, allowed_difference


def changes(found):
    return {g.name: (g.before, g.after) for g in found.groups if g.before != g.after}


def test_widths_go_to_the_next_that_the_device_likes():
    model = bottleneck()
    found = pad_to_fast_widths(model, Blocks())
    # Within a block of 16 all multiples of 4 cost the same in convolutions, but not in the others.
    assert changes(found) == {"conv0": (13, 16), "conv3": (27, 28), "conv8": (27, 28)}
    assert found.changed
    assert found.worthwhile
    assert found.predicted_speed_up > 1.4
    assert 0 <= found.difference <= TOLERANCE
    assert agreement(opened(model, {}).path, model, found.model, {}, seed=7).difference <= TOLERANCE
    assert found.note == "predicted only"


def test_nothing_changes_where_nothing_is_gained():
    model = bottleneck(16, 32)
    found = pad_to_fast_widths(model, Blocks())
    assert not found.changed
    assert not found.worthwhile
    assert found.model.SerializeToString() == found.original.SerializeToString()
    assert found.predicted_speed_up == 1.0
    assert found.note == "nothing is worth changing"


def test_a_gain_below_the_threshold_is_left():
    assert not pad_to_fast_widths(bottleneck(), Blocks(), limits=Limits(total_gain=0.9)).changed
    # One group after the other must pay for itself: the small one no longer does.
    some = pad_to_fast_widths(bottleneck(), Blocks(), limits=Limits(group_gain=0.25))
    assert 0 < len(changes(some)) < 3


def test_growth_is_limited():
    tight = pad_to_fast_widths(bottleneck(3, 5), Blocks(), limits=Limits(factor=1.0, extra=0))
    assert not tight.changed
    found = pad_to_fast_widths(bottleneck(), Blocks(block=64), limits=Limits(factor=1.1, extra=1))
    assert all(after <= max(before * 1.1, before + 1) for before, after in changes(found).values())


def test_groups_that_only_pay_together_are_found():
    class Pairs(Blocks):
        """Fast only where both sides of a 1x1 convolution are multiples of 16."""

        def _ms(self, op):
            value = super()._ms(op)
            fast = op.in_channels % 16 == 0 and op.out_channels % 16 == 0
            return value * (1 if fast or op.kernel != (1, 1) or op.is_depthwise else 20)

    graph = Graph()
    wide = graph.conv(graph.conv("image", 15), 31, kernel=1)
    model = graph.model(graph.conv(graph.node("Relu", wide), 16, kernel=3))
    assert changes(pad_to_fast_widths(model, Pairs(slow=1.0))) == {
        "conv0": (15, 16),
        "conv1": (31, 32),
    }


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(model=drawn_models())
def test_any_network_is_aligned_for_a_gain_or_left_alone(model):
    found = pad_to_fast_widths(model, Blocks(), limits=Limits(seconds=1.0))
    assert found.changed == (found.predicted_after_ms < found.predicted_before_ms)
    assert found.difference <= allowed_difference(opened(model, {}).path, model, {})
    assert all(group.after >= group.before for group in found.groups)
    assert not any(group.frozen and group.after != group.before for group in found.groups)


def evaluator(model, cost, isa=""):
    device = replace(DEVICE, isa=isa)
    return Evaluator(paddable(opened(model, {})), cost, device, None)


@pytest.mark.parametrize("isa", ["", "avx512"])
def test_the_kernels_around_a_group_differ_as_the_whole_network_does(isa):
    found = evaluator(bottleneck(19), Blocks(), isa)
    now = found.grouping.full_counts
    for group, item in enumerate(found.grouping.groups):
        if item.frozen:
            continue
        wider = now.copy()
        wider[group] += 1
        whole = [total.value for total in found.totals([now, wider])]
        part = [total.value for total in found.part_totals(group, [now, wider])]
        # What a layout conversion further away adds is seen by the whole network only.
        assert part[1] - part[0] == pytest.approx(whole[1] - whole[0], abs=0.002 * whole[0])


def test_a_width_without_a_price_is_not_a_cheap_one():
    def unknown(op):
        return op.kind == "conv" and op.out_channels % 4 == 0 and not op.is_depthwise

    found = evaluator(bottleneck(), Blocks(unknown=unknown))
    counts = best_counts(found, Limits())
    (before, after) = found.totals([found.grouping.full_counts, counts])
    assert after.unpriced == before.unpriced == 0


def test_too_little_that_has_a_price_is_refused():
    with pytest.raises(InvalidInputError, match="cannot price"):
        pad_to_fast_widths(bottleneck(), Blocks(unknown=lambda op: op.kind == "conv"))


def test_a_calibration_is_part_of_the_prediction():
    law = Calibration(slope=2.0, networks={}, interval_share=0.0)
    plain, twice = (
        pad_to_fast_widths(bottleneck(), Blocks()),
        pad_to_fast_widths(bottleneck(), Blocks(), calibration=law),
    )
    assert twice.predicted_before_ms == pytest.approx(2 * plain.predicted_before_ms)
    assert twice.predicted_after_ms == pytest.approx(2 * plain.predicted_after_ms)
    # Rows found their weights in a cache that does not hold the network's.
    heavy = pad_to_fast_widths(
        bottleneck(), Blocks(), calibration=replace(law, cache_mib=0.001, read_ms_per_mib=10.0)
    )
    assert heavy.predicted_before_ms > 1.02 * twice.predicted_before_ms
    assert heavy.predicted_after_ms > 1.2 * twice.predicted_after_ms  # of more weights


def test_counts_are_refused():
    with pytest.raises(InvalidInputError, match="prices in flops"):
        pad_to_fast_widths(bottleneck(), Flops())


def test_a_difference_is_an_error(monkeypatch):
    far = Agreement(difference=2 * TOLERANCE, variation=1.0)
    monkeypatch.setattr(alignment, "agreement", lambda *_: far)
    with pytest.raises(ModelFormatError, match="its results differ by 2e-05"):
        pad_to_fast_widths(bottleneck(), Blocks())


def test_a_network_that_magnifies_rounding_may_round_differently(monkeypatch):
    source = opened(bottleneck(), {})
    assert TOLERANCE <= allowed_difference(source.path, source.model, {}) < 1e-4
    far = Agreement(difference=2 * TOLERANCE, variation=1.0)
    monkeypatch.setattr(alignment, "agreement", lambda *_: far)
    monkeypatch.setattr(alignment, "allowed_difference", lambda *_: 3 * TOLERANCE)
    assert pad_to_fast_widths(bottleneck(), Blocks()).difference == far.difference


def test_results_that_do_not_depend_on_the_input_are_pointed_out():
    assert pad_to_fast_widths(bottleneck(), Blocks()).telling
    model = bottleneck()
    last = model.graph.node[-1].input[1]
    weight = next(item for item in model.graph.initializer if item.name == last)
    nothing = np.zeros(tuple(weight.dims), dtype=np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(nothing, last))
    found = pad_to_fast_widths(model, Blocks())
    assert found.changed
    assert not found.telling


def test_differences_are_seen():
    source = opened(bottleneck(), {})
    changed = onnx.ModelProto()
    changed.CopyFrom(source.model)
    bias = next(item for item in changed.graph.initializer if list(item.dims) == [10])
    value = onnx.numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(onnx.numpy_helper.from_array(value, bias.name))
    assert 1e-4 < agreement(source.path, source.model, changed, {}).difference < 1.0


def test_values_that_are_not_finite_must_agree():
    graph = Graph()
    made = graph.node("Log", graph.conv("image", 3))
    other = Graph()
    root = other.node("Exp", other.conv("image", 3))
    path = opened(bottleneck(), {}).path
    first, second = graph.model(made), other.model(root)
    second.graph.output[0].name = root
    assert agreement(path, first, first, {}).difference == 0.0
    assert agreement(path, first, second, {}).difference == float("inf")
    assert agreement(path, second, first, {}).difference == float("inf")
    nothing = Graph()
    lost = nothing.node("Log", nothing.node("Neg", nothing.node("Exp", nothing.conv("image", 3))))
    model = nothing.model(lost)
    with pytest.raises(ModelFormatError, match="no finite number"):
        agreement(path, model, model, {})


def test_json_holds_everything_but_the_models():
    data = json.loads(
        json.dumps(pad_to_fast_widths(bottleneck(), Blocks()).to_json(), allow_nan=False)
    )
    assert data["changed"] is True
    assert data["measured_after_ms"] is None
    assert {"name": "conv0", "before": 13, "after": 16} in data["groups"]
    assert any(item.get("frozen") == "it is the network's input" for item in data["groups"])


def test_the_result_is_saved_whole(tmp_path):
    found = pad_to_fast_widths(bottleneck(), Blocks())
    path = found.save(tmp_path / "new" / "fast.onnx")
    assert onnx.load(path).SerializeToString() == found.model.SerializeToString()
    with pytest.raises(InvalidInputError, match="cannot be written"):
        found.save(tmp_path)
