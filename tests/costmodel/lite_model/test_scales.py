"""Scales that TensorFlow Lite's kernels accept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.lite_model.graph import Scale
from costmodel.lite_model.scales import (
    ACTIVATION,
    CHANNEL_AXIS,
    KEEPS_SCALE,
    bias_scale,
    output_scale,
    weight_scale,
)

OTHER = Scale(scales=(0.25,), zeros=(3,))


@pytest.mark.parametrize("code", sorted(KEEPS_SCALE))
def test_what_only_moves_numbers_keeps_their_scale(code: str) -> None:
    assert output_scale(code, [OTHER, ACTIVATION]) == OTHER
    assert output_scale(code, [None]) == ACTIVATION
    assert output_scale(code, []) == ACTIVATION


@pytest.mark.parametrize(
    ("code", "low", "high"),
    [("LOGISTIC", 0.0, 1.0), ("SOFTMAX", 0.0, 1.0), ("TANH", -1.0, 1.0), ("LOG_SOFTMAX", -16, 0)],
)
def test_results_of_known_range_have_its_scale(code: str, low: float, high: float) -> None:
    found = output_scale(code, [OTHER])
    ends = [found.scales[0] * (value - found.zeros[0]) for value in (-128, 127)]
    assert ends == pytest.approx([low, high], abs=found.scales[0])


@pytest.mark.parametrize("code", [*CHANNEL_AXIS, "ADD", "MUL", "NO_SUCH_OPERATOR"])
def test_all_others_have_that_of_an_activation(code: str) -> None:
    assert output_scale(code, [OTHER]) == ACTIVATION


@given(st.integers(1, 40), st.integers(0, 3), st.booleans())
def test_a_bias_is_added_to_products(channels: int, axis: int, per_channel: bool) -> None:  # noqa: FBT001
    weight = weight_scale(channels, axis, per_channel=per_channel)
    assert len(weight.scales) == len(weight.zeros) == (channels if per_channel else 1)
    assert (weight.axis, set(weight.zeros)) == (axis, {0})
    bias = bias_scale(OTHER, weight)
    assert bias.scales == pytest.approx([0.25 * scale for scale in weight.scales])
    assert set(bias.zeros) == {0}
