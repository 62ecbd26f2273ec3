"""The device loop knows nothing of what it is a loop over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from costmodel.errors import InvalidInputError
from morphnet_core.projection import Projection
from morphnet_core.projection.device import (
    LoopResult,
    by_clock,
    corrected_rounds,
    milliseconds,
    share_of,
)

PRICER: Any = SimpleNamespace(seed=10.0, unit="ms", at_counts=lambda counts: float(counts[0]))


def chosen(target, scale):
    """As many channels as the target pays for, one ms each."""
    count = int(target / scale)
    if count < 1:
        message = "too little"
        raise InvalidInputError(message)
    return Projection(
        counts=np.array([count]), alive=np.ones(1, dtype=bool), cost=scale * count, target=target,
        value=1.0, method="chain", rounds=1, moves=0,
    )  # fmt: skip


def loop(clock, target="50%", **options):
    rounds = corrected_rounds(
        10, lambda found: int(found.counts[0]), PRICER, target, chosen, **options
    )
    return by_clock(rounds, clock)


def test_prices_are_corrected_until_the_clock_agrees():
    found = loop(lambda many: [3.0 * count + 10.0 for count in many])
    assert found.seed_ms == 40.0
    assert found.target_ms == 20.0
    assert int(found.rounds[0].projection.counts[0]) == 5
    assert found.best.measured_ms is not None
    assert abs(found.best.measured_ms - 20.0) < abs((found.rounds[0].measured_ms or 0.0) - 20.0)
    assert LoopResult.from_json(found.to_json()).to_json() == found.to_json()


def test_a_number_needs_the_seed_once_only():
    asked = []

    def clock(many):
        asked.append(list(many))
        return [float(count) for count in many]

    assert loop(clock, 5.0).hit
    assert asked == [[10], [5]]


def test_what_no_width_can_reach_is_an_error_before_anything_is_built():
    with pytest.raises(InvalidInputError, match="too little"):
        loop(lambda many: [100.0 * count for count in many], "1%")


def test_a_share_is_a_text_that_ends_in_per_cent():
    assert milliseconds("25%", 8.0) == 2.0
    assert milliseconds(3.0, 8.0) == 3.0
    for text in ("25", "x%", "nan%", ""):
        with pytest.raises(
            InvalidInputError, match="is neither a number nor a share such as '50%'"
        ):
            share_of(text)


def test_below_the_target_with_nothing_wider_is_a_hit():
    """As at a lower resolution, where the whole network may take less than was asked for."""

    def at_most_three(target, scale):
        return chosen(min(target, 3.0 * scale), scale)

    rounds = corrected_rounds(10, lambda found: int(found.counts[0]), PRICER, 8.0, at_most_three)
    found = by_clock(rounds, lambda many: [float(count) for count in many])
    assert found.best.measured_ms == 3.0
    assert found.hit


def test_what_stands_in_for_a_clock_is_not_above_the_target():
    """A law of whole networks that adds to some what the seed does not tell."""

    def law(many):
        return [count + (5.0 if count > 100 else 0.0) for count in many]

    by_noise, exact = (loop(law, 500.0, **more) for more in ({}, {"above": 0.0}))
    assert by_noise.best.measured_ms == 505.0
    assert exact.best.measured_ms == 500.0
