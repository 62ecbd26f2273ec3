"""Gates: their distributions, gradients, precision, saving and reproducibility."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates import (
    HardConcreteGating,
    LogisticSigmoidGating,
    gated_batch_norm,
    gated_relu_activation,
    sampling,
)

pytestmark = pytest.mark.keras


def as_numpy(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))


def built(gate: Any, channels: int, log_odds: Any = None) -> Any:
    gate.build((None, 3, 3, channels))
    if log_odds is not None:
        gate.logits.assign(log_odds)
    return gate


def drawn(gate: Any, times: int) -> NDArray[np.float32]:
    return np.stack([as_numpy(gate.mask(training=True)) for _ in range(times)])


def test_noise_is_logistic() -> None:
    noise = as_numpy(sampling.logistic_noise(20_000, 3))
    assert abs(noise.mean()) < 0.05
    assert noise.var() == pytest.approx(math.pi**2 / 3, rel=0.05)


@pytest.mark.parametrize("straight_through", [False, True])
def test_a_logistic_gate_opens_as_often_as_its_odds_say(*, straight_through: bool) -> None:
    odds = np.linspace(-3, 3, 500).astype("float32")
    gate = LogisticSigmoidGating(
        straight_through=straight_through, keep_first_channel_alive=False, seed=1
    )
    share = (drawn(built(gate, 500, odds), 60) > 0.5).mean(axis=0)
    expected = 1 / (1 + np.exp(-odds))
    assert np.abs(share - expected).mean() < 0.05
    assert np.corrcoef(share, expected)[0, 1] > 0.98


def test_straight_through_is_hard_forward() -> None:
    gate = LogisticSigmoidGating(temperature=1.0, straight_through=True, seed=1)
    assert set(np.unique(drawn(built(gate, 200), 3))) <= {0.0, 1.0}
    soft = LogisticSigmoidGating(temperature=1.0, seed=1)
    assert len(np.unique(drawn(built(soft, 200), 1))) > 100


def test_inference_is_without_noise() -> None:
    odds = np.array([-1.0, 0.0, 2.0, -9.0], dtype="float32")
    gate = built(LogisticSigmoidGating(keep_first_channel_alive=False), 4, odds)
    np.testing.assert_allclose(
        as_numpy(gate.mask(training=False)), [0, 0, 1 / (1 + math.exp(-2)), 0], atol=1e-6
    )
    hard = built(
        LogisticSigmoidGating(keep_first_channel_alive=False, soft_mask_for_inference=False),
        4,
        odds,
    )
    np.testing.assert_array_equal(as_numpy(hard.mask(training=False)), [0, 0, 1, 0])
    kept = built(LogisticSigmoidGating(), 4, odds)
    assert as_numpy(kept.mask(training=False))[0] == 1.0


def test_default_odds_are_ninety_two_percent() -> None:
    gate = built(LogisticSigmoidGating(), 3)
    np.testing.assert_allclose(as_numpy(gate.probability()), 0.924142, atol=1e-5)


def test_hard_concrete_probability_is_that_of_the_draws() -> None:
    odds = np.linspace(-4, 2, 400).astype("float32")
    gate = built(HardConcreteGating(seed=2), 400, odds)
    draws = drawn(gate, 100)
    assert ((draws >= 0) & (draws <= 1)).all()
    assert (draws == 1).any()
    assert (draws == 0).any()
    expected = as_numpy(gate.probability())
    np.testing.assert_allclose(
        expected, 1 / (1 + np.exp(-(odds - 2 / 3 * math.log(0.1 / 1.1)))), atol=1e-5
    )
    assert np.abs((draws > 0).mean(axis=0) - expected).mean() < 0.04


@settings(max_examples=20, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_both_kinds_are_monotone_in_the_odds(first: float, second: float) -> None:
    odds = ops.convert_to_tensor(np.array(sorted([first, second]), dtype="float32"))
    noise = ops.zeros((2,), dtype="float32")
    for values in (
        sampling.logistic_sigmoid(odds, noise, 0.5, straight_through=False),
        sampling.hard_concrete(odds, noise, 2 / 3, -0.1, 1.1),
        sampling.hard_concrete_probability(odds, 2 / 3, -0.1, 1.1),
        sampling.hard_concrete_mean(odds, -0.1, 1.1),
    ):
        low, high = as_numpy(values)
        assert 0.0 <= low <= high <= 1.0


def test_the_temperature_falls_tenfold_per_rate() -> None:
    gate = LogisticSigmoidGating(
        temperature=1.0, annealing_rate=2, keep_first_channel_alive=False, seed=5
    )
    built(gate, 2000, np.zeros(2000, dtype="float32"))
    spread = [np.minimum(mask, 1 - mask).mean() for mask in drawn(gate, 7)]
    # Far from 0 and 1 at first; after six steps at a thousandth of the temperature, a step.
    assert spread[0] > 0.15
    assert spread[2] < 0.2 * spread[0]
    assert spread[6] < 0.001
    assert float(as_numpy(gate._steps)) == 7.0


def test_annealing_for_ever_makes_no_nan() -> None:
    gate = LogisticSigmoidGating(temperature=1.0, annealing_rate=1, seed=5)
    built(gate, 50)
    gate._steps.assign(1000.0)
    assert np.isfinite(drawn(gate, 2)).all()


@pytest.mark.parametrize("kind", [LogisticSigmoidGating, HardConcreteGating])
def test_the_same_seed_draws_the_same(kind: Any) -> None:
    first, second = (drawn(built(kind(seed=11), 30), 4) for _ in range(2))
    other = drawn(built(kind(seed=12), 30), 4)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_gates_are_float32_and_keep_the_precision_of_what_they_gate(dtype: str) -> None:
    gate = built(HardConcreteGating(dtype=keras.DTypePolicy(dtype)), 3, [-9.0, 9.0, 9.0])
    x = ops.ones((2, 3, 3, 3), dtype=keras.DTypePolicy(dtype).compute_dtype)
    y = gate(x, training=False)
    assert y.dtype == x.dtype
    assert keras.backend.standardize_dtype(gate.logits.dtype) == "float32"
    np.testing.assert_array_equal(as_numpy(ops.cast(y, "float32"))[0, 0, 0], [0, 1, 1])


@pytest.mark.parametrize("axis", [1, -1])
def test_one_gate_per_channel_on_any_axis(axis: int) -> None:
    gate = HardConcreteGating(axis=axis)
    x = np.ones((2, 4, 5, 6), dtype="float32")
    y = as_numpy(gate(x, training=False))
    gate.logits.assign(np.where(np.arange(x.shape[axis]) % 2, -9.0, 9.0))
    y = np.moveaxis(as_numpy(gate(x, training=False)), axis, -1)
    assert (y[..., ::2] == 1).all()
    assert (y[..., 1::2] == 0).all()


def test_an_open_axis_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="axis 1 is open"):
        LogisticSigmoidGating(axis=1).build((None, None, 3))


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"low": 0.1}, {"high": 0.9}])
def test_impossible_distributions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="hard-concrete gate needs"):
        HardConcreteGating(**wrong)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="temperature of a gate is 0"):
        LogisticSigmoidGating(temperature=0)


def gated_model() -> Any:
    x = inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3)(x)
    x = gated_batch_norm(seed=3, annealing_rate=10, temperature=0.5)(x)
    x = gated_relu_activation(seed=4, straight_through=True, temperature=0.5)(x)
    x = HardConcreteGating(seed=5)(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def test_helpers_put_their_gate_behind() -> None:
    kinds = [type(layer).__name__ for layer in gated_model().layers]
    assert kinds[2:7] == [
        "BatchNormalization",
        "LogisticSigmoidGating",
        "ReLU",
        "LogisticSigmoidGating",
        "HardConcreteGating",
    ]


def test_a_gated_model_trains_and_is_saved_with_its_noise(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = gated_model()
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
    y = np.zeros((16, 4), dtype="float32")
    before = [as_numpy(layer.logits) for layer in model.layers if hasattr(layer, "logits")]
    model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    after = [as_numpy(layer.logits) for layer in model.layers if hasattr(layer, "logits")]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    path = tmp_path / "gated.keras"
    model.save(path)
    again = keras.models.load_model(path)
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    # The noise goes on where it was.
    first, second = (as_numpy(net(x, training=True)) for net in (model, again))
    np.testing.assert_array_equal(first, second)
