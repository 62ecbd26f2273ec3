"""The device loop finds the budget although prices are wrong, and says where there is no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_groups
from morphnet_core.morphing import fit_to_device
from morphnet_core.pricing import Pricer

pytestmark = pytest.mark.keras


def network(width: int = 32) -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for name in "abcd":
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"norm_{name}")(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5, name="head")(x), name="net")


class LawClock:
    """A device whose time is a law of the weights that the prices do not know."""

    def __init__(self, fixed: float = 0.3, slope: float = 1.7) -> None:
        self.fixed, self.slope = fixed, slope
        self.timed = 0

    def __call__(self, models: Sequence[Any]) -> list[float]:
        self.timed += len(models)
        return [self.fixed + self.slope * m.count_params() / 1e4 for m in models]


@pytest.fixture
def model() -> Any:
    return network()


@pytest.fixture
def pricer(model: Any) -> Pricer:
    return Pricer(find_groups(read_keras(model)), "params")


@pytest.mark.parametrize("share", ["70%", "40%"])
def test_the_clock_corrects_the_prices(model: Any, pricer: Pricer, share: str) -> None:
    clock = LawClock()
    importance = np.random.default_rng(0).random(pricer.grouping.num_units)
    found = fit_to_device(model, pricer, importance, share, clock=clock)
    assert found.hit
    assert found.target_ms == pytest.approx(float(share[:-1]) / 100 * found.seed_ms)
    assert found.best.measured_ms is not None
    assert abs(found.best.measured_ms / found.target_ms - 1) <= 0.02
    assert 1 <= len(found.rounds) <= 3
    assert clock.timed == 1 + 2 * len(found.rounds), "the seed again beside every network"
    assert "<- taken" in str(found)
    assert "measured" in str(found)


def test_without_a_clock_it_is_predicted_only(model: Any, pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    found = fit_to_device(model, pricer, importance, "50%", clock=None)
    assert found.predicted_only
    assert found.hit is None
    assert "predicted only" in str(found)
    assert found.best.predicted_ms <= 0.5 * pricer.seed
    assert f" {pricer.unit} of " in str(found)
    assert " ms" not in str(found), "what is counted are no milliseconds"


def test_a_clock_keeps_no_number_of_parameters(model: Any, pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    with pytest.raises(InvalidInputError, match="cannot keep a target of 5000 params"):
        fit_to_device(model, pricer, importance, 5000.0, clock=LawClock())


def test_slack_grows_the_network(model: Any, pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    clock = LawClock()
    found = fit_to_device(model, pricer, importance, "140%", clock=clock, grow=2.0)
    assert found.best.measured_ms is not None
    assert found.best.measured_ms > 1.2 * found.seed_ms


def test_a_clock_that_never_agrees_ends_after_three_rounds(model: Any, pricer: Pricer) -> None:
    times = iter([1.0, 1.0, 9.0, 1.0, 0.01, 1.0, 7.0])
    importance = np.ones(pricer.grouping.num_units)
    found = fit_to_device(
        model, pricer, importance, "50%", clock=lambda models: [next(times) for _ in models]
    )
    assert found.hit is False
    assert len(found.rounds) <= 3
    assert found.best.measured_ms == 0.01, "below the budget is better than above it"


def test_a_budget_that_the_clock_finds_too_small_ends_with_what_was_timed(
    model: Any, pricer: Pricer
) -> None:
    importance = np.ones(pricer.grouping.num_units)
    found = fit_to_device(
        model, pricer, importance, "2%", clock=lambda models: [1.0 for _ in models]
    )
    assert found.hit is False
    assert len(found.rounds) == 1
    assert found.best.measured_ms == 1.0


def test_a_machine_that_becomes_slower_changes_nothing(model: Any, pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    steady = fit_to_device(model, pricer, importance, "50%", clock=LawClock())
    law, speed = LawClock(), iter([1.0, 1.3, 1.7, 0.6])

    def drifting(models: Sequence[Any]) -> list[float]:
        now = next(speed)
        return [now * ms for ms in law(models)]

    found = fit_to_device(model, pricer, importance, "50%", clock=drifting)
    assert [item.measured_ms for item in found.rounds] == pytest.approx(
        [item.measured_ms for item in steady.rounds]
    )
    assert (found.best.projection.counts == steady.best.projection.counts).all()
