"""A model is trained to a budget: it keeps to it, says where it is, and goes on after a stop."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import InvalidInputError
from costmodel.figures import digits
from morphnet_core.budget import LatencyBudget, Limit
from morphnet_core.groups.convert import structure_of
from morphnet_core.surgery import shrink

pytestmark = pytest.mark.keras

STEPS = 160


def network() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    for name, width in (("a", 16), ("b", 24)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"norm_{name}")(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def data(count: int = 64) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 6, 6, 2)).astype("float32")
    return x, (np.abs(x).mean(axis=(1, 2)) @ random.normal(size=(2, 3))).argmax(axis=1)


def fit(budget: Any, steps: int = STEPS, rate: float = 0.1) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    budget.model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    x, y = data()
    epochs = steps // 8
    return budget.model.fit(x, y, batch_size=8, epochs=epochs, callbacks=[budget], verbose=0)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_budget_is_kept(share: float) -> None:
    steps = 2 * STEPS
    budget = LatencyBudget(network(), "flops", target=f"{share:.0%}", steps=steps, refresh_every=4)
    history = fit(budget, steps).history
    assert history["budget_goal"][-1] == pytest.approx(share)
    assert -0.15 < history["budget_error"][-1] < 0.05  # of the channels alive
    assert budget.recoveries == 0
    found = budget.project()
    assert found.cost <= share * budget.pricer.seed
    assert found.cost > 0.6 * share * budget.pricer.seed
    smaller = shrink(budget.finished_model(), structure_of(budget.grouping, found.alive))
    x, _ = data(4)
    assert smaller(x).shape == (4, 3)
    assert smaller.count_params() < budget.model.count_params()


def test_nothing_is_charged_at_first_and_then_only_what_is_beyond_the_widths_aimed_at() -> None:
    budget = LatencyBudget(network(), "flops", target="50%", steps=STEPS, refresh_every=2)
    fit(budget, budget.begin)
    assert not np.asarray(budget.state.prices).any()
    worth = np.zeros(budget.grouping.num_units)
    second = budget.grouping.by_name["b"]
    worth[second.units] = 1.0  # so that the budget pays for all of it, and little of the first
    budget.aim(worth)
    fit(budget, 16)
    charged = np.asarray(budget.state.charged)
    first = budget.grouping.by_name["a"]
    assert charged[first.units].sum() > charged[second.units].sum()
    order = np.argsort(budget.scores()[first.units])
    weakest = order[: int(charged[first.units].sum())]
    assert charged[first.units][weakest].mean() > 0.8  # scores have moved since the last refresh


def test_the_cheapest_group_can_be_charged_the_most_that_any_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("morphnet_core.budget.callback._BEYOND", 1.0)
    budget = LatencyBudget(network(), "flops", target="20%", steps=STEPS, refresh_every=2)
    fit(budget, budget.begin)
    budget.aim(np.ones(budget.grouping.num_units))
    budget.state.step = budget.begin
    for _ in range(40):  # the cost stays where it is, so the strength goes up to its bound
        budget.state.step += 8
        budget.refresh()
    paid = np.asarray(budget.state.prices)[[not g.frozen for g in budget.grouping.groups]]
    assert paid == pytest.approx(np.full(len(paid), paid.max()))
    assert f"strength {digits(budget.controllers[0].strength)}" in str(budget.report())


def test_every_one_of_several_budgets_has_a_strength() -> None:
    budget = LatencyBudget(
        network(),
        "flops",
        target="90%",
        also=[Limit(cost="params", target="20%")],
        steps=STEPS,
        refresh_every=2,
    )
    fit(budget)
    flops, params = budget.controllers
    assert params.strength > flops.strength
    assert budget.targets[1] == pytest.approx(0.2 * budget._pricers[1].seed)
    assert budget._floor is not None
    for pricer, target in zip(budget._pricers, budget.targets, strict=True):
        assert pricer.at_counts(budget._floor.astype(int)) <= target, "what is aimed at keeps all"


def test_a_run_goes_on_where_it_was(tmp_path: FilePath) -> None:
    first = LatencyBudget(network(), "flops", target="50%", steps=STEPS, refresh_every=2)
    fit(first, 80)
    path = tmp_path / "run.weights.h5"
    first.model.save_weights(path)
    second = LatencyBudget(network(), "flops", target="50%", steps=STEPS, refresh_every=2)
    second.model.load_weights(path)
    second.refresh()
    assert second.state.step == first.state.step
    assert second.controllers[0].strength == pytest.approx(first.controllers[0].strength, rel=0.5)
    assert second.controllers[0].strength != pytest.approx(0.1)


def test_a_collapse_brings_the_last_good_weights_back() -> None:
    budget = LatencyBudget(network(), "flops", target="50%", steps=STEPS, refresh_every=2)
    fit(budget, 16)
    good = [np.array(w) for w in budget.model.get_weights()]
    budget._first_loss, budget._best_loss, budget._good = 2.0, 0.5, good
    strength = budget.controllers[0].strength
    budget.model.set_weights([w * 0 + 7 for w in good])
    budget._look_at_loss(1.9)
    assert budget.recoveries == 1
    assert budget.controllers[0].strength == pytest.approx(strength / 4)
    for now, before in zip(budget.model.get_weights(), good, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "Give the budget either"),
        ({"target": "50%", "target_ms": 1.0}, "Give the budget either"),
        ({"target_ms": 1.0}, "counts flops"),
        ({"target": "half"}, "neither a number nor a share"),
        ({"target": "150%"}, "at most that"),
        ({"target": 0.0}, "above 0"),
        ({"target": "50%", "strength": 1.0}, "decides the strength"),
        ({"target": "50%", "steps": 0}, "at least 1"),
    ],
)
def test_wrong_budgets_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        LatencyBudget(network(), "flops", **{"steps": 10, **wrong})
