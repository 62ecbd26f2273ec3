"""CostRegularizer in training: what the loss is, when it changes, what is saved and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.pricing import ChannelPrices
from morphnet_core.regularizer import CostRegularizer, RegularizationWarning
from morphnet_core.signals import Gates
from morphnet_core.signals.source import as_numpy

pytestmark = pytest.mark.keras

FLOPS = 2 * (36 * 9 * 2 * 4 + 36 * 1 * 4 * 5 + 5 * 3)  # of ``network``, layer by layer


def network(*, sequential: bool = False, dtype: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    stack = [
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="a", dtype=dtype),
        layers.BatchNormalization(name="norm_a", dtype=dtype),
        layers.ReLU(dtype=dtype),
        layers.Conv2D(5, 1, use_bias=False, name="b", dtype=dtype),
        layers.BatchNormalization(name="norm_b", dtype=dtype),
        layers.ReLU(dtype=dtype),
        layers.GlobalAveragePooling2D(dtype=dtype),
        layers.Dense(3, name="head", dtype=dtype),
    ]
    if sequential:
        return keras.Sequential([keras.Input((6, 6, 2)), *stack])
    x = inputs = keras.Input((6, 6, 2))
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x, name="net")


def batches(count: int = 4) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(4 * count, 6, 6, 2)).astype("float32")
    return x, random.normal(size=(4 * count, 3)).astype("float32")


def fit(regularizer: Any, epochs: int = 1, count: int = 4, **more: Any) -> Any:
    x, y = batches(count)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": [regularizer]}
    return regularizer.model.fit(x, y, epochs=epochs, **{**options, **more})


def compiled(regularizer: Any, rate: float = 0.05) -> Any:
    regularizer.model.compile(keras.optimizers.SGD(rate), "mse")
    return regularizer


def number(tensor: Any) -> float:
    return float(as_numpy(tensor))


class StepLosses(keras.callbacks.Callback):
    """The loss of every single step, out of Keras's running means."""

    def __init__(self, then: Any = None) -> None:
        super().__init__()
        self.values: list[float] = []
        self._then = then

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        total = logs["loss"] * (batch + 1)
        self.values.append(total - sum(self.values))
        if self._then is not None:
            self._then(batch)


def test_the_term_is_the_bilinear_one_as_a_share_of_the_seed() -> None:
    model = network()
    regularizer = CostRegularizer(model, "flops", strength=0.5)
    gamma_a, gamma_b = np.array([1.0, -2.0, 0.5, 0.0]), np.array([1.0, 3.0, 0.0, 0.1, 1.0])
    model.get_layer("norm_a").gamma.assign(gamma_a)
    model.get_layer("norm_b").gamma.assign(gamma_b)
    # At the seed's prices: each layer is charged for its inputs and its outputs.
    price_a = 2 * (36 * 9 * 2 + 36 * 5)
    price_b = 2 * (36 * 4 + 3)
    expected = 0.5 * (price_a * np.abs(gamma_a).sum() + price_b * np.abs(gamma_b).sum()) / FLOPS
    (loss,) = model.losses
    assert number(loss) == pytest.approx(expected, rel=1e-6)
    # At the prices of what is alive: three channels of one, four of the other.
    regularizer.refresh()
    price_a, price_b = 2 * (36 * 9 * 2 + 36 * 4), 2 * (36 * 3 + 3)
    expected = 0.5 * (price_a * np.abs(gamma_a).sum() + price_b * np.abs(gamma_b).sum()) / FLOPS
    assert number(model.losses[0]) == pytest.approx(expected, rel=1e-6)
    raw = CostRegularizer(network(), "flops", strength=0.5, normalise=False)
    assert number(raw.state.strength) == 0.5
    assert as_numpy(raw.state.prices)[1] == 2 * (36 * 9 * 2 + 36 * 5)


@pytest.mark.parametrize("sequential", [False, True])
def test_fit_pays_and_shrinks(*, sequential: bool) -> None:
    regularizer = CostRegularizer(
        network(sequential=sequential), "flops", strength=3.0, threshold=0.5, refresh_every=2
    )
    with pytest.warns(RegularizationWarning, match="threshold"):
        history = fit(compiled(regularizer, 0.1), 3).history
    assert history["cost"][-1] < FLOPS
    assert history["cost_share"][-1] == pytest.approx(history["cost"][-1] / FLOPS)
    assert 0 < history["penalty_share"][-1] < 1
    report = regularizer.report()
    assert report.alive["a"][0] < 4
    assert history["alive_channels"][-1] == sum(now for now, _ in report.alive.values())
    assert regularizer.structure().layers["a"].count == report.alive["a"][0]
    assert "flops" in str(report)


def test_the_next_step_uses_the_new_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under JAX, whose steps run on copies of the variables during an epoch."""
    regularizer = CostRegularizer(network(), "flops", strength=1.0, refresh_every=2)
    calls = []

    def prices(alive: Any) -> ChannelPrices:
        calls.append(alive)
        values = np.full(len(regularizer.grouping.groups), 100.0 * len(calls))
        return ChannelPrices(total=1.0, values=values, unit="flops", snapped=1.0)

    monkeypatch.setattr(regularizer.pricer, "channel_prices", prices)
    monkeypatch.setattr(regularizer, "_divisor", 1.0)
    regularizer.refresh()
    losses = StepLosses()
    compiled(regularizer, 0.0)  # nothing moves but the price: 9 gammas of 1
    fit(regularizer, count=6, callbacks=[regularizer, losses])
    task = [number(losses.values[index]) - 900.0 * (1 + index // 2) for index in range(6)]
    assert all(0 < item < 10 for item in task), losses.values
    # One refresh by hand, two in the epoch (before steps 2 and 4), one for its end.
    assert len(calls) == 4


def test_a_strength_set_in_an_epoch_counts_from_the_next_step() -> None:
    regularizer = CostRegularizer(network(), "flops", strength=0.0)

    def raise_strength(batch: int) -> None:
        if batch == 1:
            regularizer.strength = 100.0

    losses = StepLosses(raise_strength)
    fit(compiled(regularizer, 0.0), callbacks=[regularizer, losses])
    assert max(losses.values[:2]) < 10
    assert min(losses.values[2:]) > 100


def test_the_warm_up_rises_with_the_steps() -> None:
    regularizer = CostRegularizer(network(), "flops", strength=8.0, warmup_steps=8, refresh_every=2)
    assert number(regularizer.state.strength) == 0.0
    seen: list[float] = []
    spy = StepLosses(lambda _: seen.append(regularizer.report().strength))
    fit(compiled(regularizer, 0.0), 3, callbacks=[spy, regularizer])
    assert seen == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 8, 8]
    assert regularizer.state.step == 12


@pytest.mark.parametrize("signal", ["gamma", "logistic_sigmoid"])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(signal: str, tmp_path: Path) -> None:
    path = tmp_path / "run.weights.h5"

    def regularizer() -> CostRegularizer:
        chosen: Any = signal
        if signal == "logistic_sigmoid":
            settings = {"temperature": 0.7, "annealing_rate": 5}
            chosen = Gates(kind=signal, on_draws=True, settings=settings)
        return compiled(
            CostRegularizer(
                network(),
                "flops",
                signal=chosen,
                strength=1.0,
                seed=7,
                refresh_every=3,
                warmup_steps=10,
            )
        )

    whole = regularizer()
    fit(whole, 3)
    first = regularizer()
    fit(first, 2)
    first.model.save_weights(path)
    second = regularizer()
    second.model.load_weights(path)
    assert second.state.step == 8
    fit(second, 3, initial_epoch=2)
    for mine, theirs in zip(second.model.variables, whole.model.variables, strict=True):
        np.testing.assert_array_equal(as_numpy(mine), as_numpy(theirs), err_msg=mine.path)
    assert (second.state.step, second.state.refreshed) == (12, whole.state.refreshed)


def test_backup_and_restore_brings_the_state_back(tmp_path: Path) -> None:
    def run(stop: int) -> CostRegularizer:
        regularizer = CostRegularizer(network(), "flops", strength=1.0, refresh_every=3)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)

        class Stop(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                if epoch == stop:
                    raise KeyboardInterrupt

        fit(compiled(regularizer), 3, callbacks=[Stop(), backup, regularizer])
        return regularizer

    with pytest.raises(KeyboardInterrupt):
        run(2)
    assert run(99).state.step == 12


def test_a_model_is_saved_and_loaded_without_the_penalty(tmp_path: Path) -> None:
    model = network(sequential=True)
    CostRegularizer(model, "flops")
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert again.losses == []
    x, _ = batches()
    np.testing.assert_allclose(
        as_numpy(model(x, training=False)), as_numpy(again(x, training=False)), atol=1e-6
    )


def test_weights_from_before_leave_the_penalty_alone(tmp_path: Path) -> None:
    path = tmp_path / "plain.weights.h5"
    model = network()
    model.save_weights(path)
    regularizer = CostRegularizer(model, "flops", strength=2.0)
    with pytest.warns(RegularizationWarning, match="saved without a cost regularizer"):
        model.load_weights(path)
    assert number(regularizer.state.strength) == 2.0


def test_a_frozen_layer_keeps_its_penalty() -> None:
    model = network()
    CostRegularizer(model, "flops")
    before = number(model.losses[0])
    model.get_layer("norm_a").trainable = False
    assert number(model.losses[0]) == before
    model.trainable = False
    assert number(model.losses[0]) == before


def test_a_model_that_was_fitted_before_pays_from_the_next_fit_on() -> None:
    model = network()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = batches()
    quiet: dict[str, Any] = {"batch_size": 4, "shuffle": False, "verbose": 0}
    plain = model.fit(x, y, **quiet).history["loss"][0]
    regularizer = CostRegularizer(model, "flops", strength=10.0)
    with_penalty = fit(regularizer).history["loss"][0]
    assert with_penalty == pytest.approx(plain + number(model.losses[0]), rel=1e-3)
    regularizer.detach()
    assert model.losses == []
    assert len(model.weights) == len(network().weights)
    assert model.fit(x, y, **quiet).history["loss"][0] == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("signal", ["gamma", "group_lasso", "hard_concrete"])
def test_the_penalty_is_float32_under_any_precision(policy: str, signal: str) -> None:
    model = network(dtype=policy)
    regularizer = CostRegularizer(model, "flops", signal=signal, strength=1.0, seed=1)
    (loss,) = regularizer.model.losses
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    reference = CostRegularizer(network(), "flops", signal=signal, strength=1.0, seed=1)
    # Kernels drawn in bfloat16 are others.
    tolerance = 0.05 if policy == "bfloat16" else 0.01
    assert number(loss) == pytest.approx(number(reference.model.losses[0]), rel=tolerance)
    if signal == "gamma":
        history = fit(compiled(regularizer)).history
        assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize("signal", ["gamma", "hard_concrete", "logistic_sigmoid"])
def test_a_finished_model_computes_what_was_trained(signal: str) -> None:
    model = network()
    regularizer = CostRegularizer(model, "flops", signal=signal, strength=0.1, seed=2)
    fit(compiled(regularizer), 2)
    if signal != "gamma":
        gates = regularizer.model.get_layer("gates")
        gates.gate.logits.assign(np.linspace(-4, 2, 9))
    finished = regularizer.finished_model()
    assert [type(layer) for layer in finished.layers] == [type(layer) for layer in model.layers]
    assert finished.losses == []
    x, _ = batches()
    trained = as_numpy(regularizer.model(x, training=False))
    np.testing.assert_allclose(as_numpy(finished(x, training=False)), trained, atol=1e-5)


def test_a_loop_of_ones_own_refreshes_by_begin_step() -> None:
    model = network()
    regularizer = CostRegularizer(model, "flops", strength=1.0, threshold=0.5, refresh_every=3)
    model.get_layer("norm_a").gamma.assign([1.0, 1.0, 0.1, 0.1])
    before = as_numpy(regularizer.state.prices).copy()
    for _ in range(3):
        regularizer.begin_step()
    np.testing.assert_array_equal(as_numpy(regularizer.state.prices), before)
    regularizer.begin_step()
    after = as_numpy(regularizer.state.prices)
    group = [item.name for item in regularizer.grouping.groups].index("b")
    assert after[group] == pytest.approx(before[group] * (36 * 2 + 3) / (36 * 4 + 3))
    assert regularizer.state.step == 4


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras runs one step there")
def test_steps_run_at_once_are_counted() -> None:
    regularizer = CostRegularizer(network(), "flops", strength=0.1)
    regularizer.model.compile(keras.optimizers.SGD(0.01), "mse", steps_per_execution=2)
    fit(regularizer, 2)
    assert regularizer.state.step == 8


def test_the_same_seed_trains_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        regularizer = CostRegularizer(network(), "flops", signal="logistic_sigmoid", seed=3)
        fit(compiled(regularizer), 2)
        runs.append([as_numpy(item) for item in regularizer.model.variables])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_history_and_writer_hear_of_it(tmp_path: Path) -> None:
    path, heard = tmp_path / "history.jsonl", []

    class Writer:
        def scalar(self, name: str, value: float, step: int) -> None:
            heard.append((name, value, step))

    regularizer = CostRegularizer(
        network(), "params", strength=0.1, refresh_every=2, history=path, writer=Writer()
    )
    seen = []

    class Later(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(dict(logs))

    fit(compiled(regularizer), 2, callbacks=[regularizer, Later()])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [
        ("refresh", 0),
        ("refresh", 2),
        ("epoch", 4),
        ("refresh", 4),
        ("refresh", 6),
        ("epoch", 8),
    ]
    assert lines[0]["cost"] == 9 * 2 * 4 + 4 * 5 + 5 * 3
    assert lines[0]["alive"]["a"] == 4
    assert {"cost", "cost_share", "penalty_share", "alive_channels"} <= set(seen[1])
    assert ("morphnet/alive/b", 5, 4) in heard


def test_a_wrong_model_or_option_is_refused(tmp_path: Path) -> None:
    model = network()
    gated = CostRegularizer(model, "flops", signal="hard_concrete")
    model.compile("sgd", "mse")
    with pytest.raises(InvalidInputError, match=r"Fit regularizer\.model"):
        model.fit(*batches(), verbose=0, callbacks=[gated])
    regularizer = CostRegularizer(model, "flops")
    with pytest.raises(InvalidInputError, match="has a cost regularizer already"):
        CostRegularizer(model, "params")
    regularizer.detach()
    CostRegularizer(model, "params")
    for wrong, text in (
        ({"strength": -1.0}, "strength must be"),
        ({"refresh_every": 0}, "refresh_every at least 1"),
        ({"writer": object()}, "no writer"),
        ({"rule": "mean"}, "no rule 'mean'"),
        ({"grouping": {"exclude": ["nowhere"]}}, "nowhere"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            CostRegularizer(network(), "flops", **wrong)
    with pytest.raises(InvalidInputError, match="cannot be written"):
        CostRegularizer(network(), "flops", history=tmp_path / "no" / "folder.jsonl")


def test_groups_can_be_kept() -> None:
    regularizer = CostRegularizer(network(), "flops", grouping={"exclude": ["^a$"]})
    regularizer.model.get_layer("norm_a").gamma.assign(np.zeros(4))
    regularizer.model.get_layer("norm_b").gamma.assign([1, 0, 0, 1, 0])
    assert regularizer.structure().counts == {"a/Conv2D": 4, "b/Conv2D": 2, "head/MatMul": 3}


def test_denormal_gammas_are_set_to_zero() -> None:
    regularizer = CostRegularizer(network(), "flops")
    gamma = regularizer.model.get_layer("norm_a").gamma
    gamma.assign(np.array([1.0, 1e-39, 1.0, 1e-20], np.float32))
    with pytest.warns(RegularizationWarning, match="set to zero, in: norm_a"):
        regularizer.refresh()
    np.testing.assert_array_equal(as_numpy(gamma), np.array([1.0, 0.0, 1.0, 1e-20], np.float32))
