"""The original's regularizers: names, arguments, raw terms and costs in closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import InvalidInputError
from morphnet_core import network_regularizers as ours
from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.signals.source import as_numpy

pytestmark = pytest.mark.keras

GAMMA_A = np.array([1.0, -2.0, 0.5, 0.0])
GAMMA_B = np.array([1.0, 3.0, 0.0, 0.1, 1.0])


def network() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="a")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_a")(x))
    x = layers.Conv2D(5, 1, name="b")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_b")(x))
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="c")(x), name="net")
    model.get_layer("norm_a").gamma.assign(GAMMA_A)
    model.get_layer("norm_b").gamma.assign(GAMMA_B)
    return model


def term(regularizer: NetworkRegularizer, only: Any = None) -> float:
    return float(as_numpy(regularizer.get_regularization_term(only)))


def closed(coefficients: tuple[float, float, float], only: str = "abc") -> tuple[float, float]:
    """The original's cost and term of the chain at the gammas above: ``c (a_i r_o + a_o r_i)``."""
    alive, norms = (2, 3, 4, 3), (0.0, np.abs(GAMMA_A).sum(), np.abs(GAMMA_B).sum(), 0.0)
    cost = raw = 0.0
    for index, factor in enumerate(coefficients):
        if "abc"[index] in only:
            cost += factor * alive[index] * alive[index + 1]
            raw += factor * alive[index] * norms[index + 1]
            raw += factor * alive[index + 1] * norms[index]
    return cost, raw


FLOPS = (2 * 36 * 9.0, 2 * 36.0, 2 * 36.0)
PARAMS = (9.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "coefficients"),
    [(ours.GammaFlopsRegularizer, FLOPS), (ours.GammaModelSizeRegularizer, PARAMS)],
)
def test_terms_and_costs_are_the_originals(kind: Any, coefficients: Any) -> None:
    regularizer = kind(network(), 0.01)
    cost, raw = closed(coefficients)
    assert regularizer.get_cost() == pytest.approx(cost, rel=1e-9)
    assert term(regularizer) == pytest.approx(raw, rel=1e-6)
    for only in ("a", "b", "c", "ac"):
        cost, raw = closed(coefficients, only)
        assert regularizer.get_cost(list(only)) == pytest.approx(cost, rel=1e-9)
        assert term(regularizer, list(only)) == pytest.approx(raw, rel=1e-6)
    by_layer = [regularizer.model.get_layer("b")]
    assert term(regularizer, by_layer) == pytest.approx(closed(coefficients, "b")[1], rel=1e-6)


def test_activations_are_counted() -> None:
    regularizer = ours.GammaActivationRegularizer(network(), 0.01)
    assert regularizer.get_cost() == 3 + 4 + 3
    expected = np.abs(GAMMA_A).sum() + np.abs(GAMMA_B).sum()
    assert term(regularizer) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "name", "cost_name", "arguments"),
    [
        (ours.GammaFlopsRegularizer, "GammaFlops", "FLOPs", (0.1,)),
        (ours.GammaModelSizeRegularizer, "GammaModelSize", "ModelSize", (0.1,)),
        (ours.GammaActivationRegularizer, "GammaActivationCount", "Activations", (0.1,)),
        (ours.GammaLatencyRegularizer, "Latency", "V100 Latency", (0.1, "V100")),
        (ours.GroupLassoFlopsRegularizer, "GroupLassoFlops", "FLOPs", (0.1, 0.5)),
        (ours.GroupLassoModelSizeRegularizer, "GroupLassoModelSize", "ModelSize", (0.1, 0.5)),
        (ours.GroupLassoActivationRegularizer, "GroupLassoActivationCount", "Activations", (0.1,)),
        (ours.GroupLassoLatencyRegularizer, "Latency", "P100 Latency", (0.1, "P100", 8, 0.5)),
        (ours.LogisticSigmoidFlopsRegularizer, "LogisticSigmoidFlops", "FLOPs", ()),
        (ours.LogisticSigmoidModelSizeRegularizer, "LogisticSigmoidModelSize", "ModelSize", ()),
        (ours.LogisticSigmoidLatencyRegularizer, "LogisticSigmoidLatency", "K80 Latency", ("K80",)),
    ],
)
def test_every_regularizer_of_the_original_is_there(
    kind: Any, name: str, cost_name: str, arguments: Any
) -> None:
    regularizer = kind(network(), *arguments)
    assert (regularizer.name, regularizer.cost_name) == (name, cost_name)
    assert term(regularizer) > 0
    assert regularizer.get_cost() > 0
    assert "a" in regularizer.op_regularizer_manager.by_name
    # Nothing is in the loss until a strength is given: the original's users add the term.
    assert sum(float(as_numpy(item)) for item in regularizer.model.losses) == 0.0


def test_latency_is_priced_at_its_batch() -> None:
    one = ours.GammaLatencyRegularizer(network(), 0.01, "K80")
    many = ours.GammaLatencyRegularizer(network(), 0.01, "K80", batch_size=64)
    assert 10 * one.get_cost() < many.get_cost() <= 64 * one.get_cost()
    with pytest.raises(InvalidInputError, match="no parts by layer"):
        one.get_cost(["a"])
    with pytest.raises(InvalidInputError, match="batch_size must be at least 1"):
        ours.GammaLatencyRegularizer(network(), 0.01, "K80", batch_size=0)


def test_groups_can_be_forced_kept_and_bounded() -> None:
    x = inputs = keras.Input((6, 6, 2))
    for name in ("one", "two"):
        x = layers.BatchNormalization()(layers.Conv2D(4, 1, name=name)(x))
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="last")(x))
    forced = ours.GroupLassoFlopsRegularizer(model, 0.0, force_group=["one|two"])
    assert forced.op_regularizer_manager.by_name["one"].producers == ("one", "two")
    kept = ours.GammaFlopsRegularizer(network(), 0.01, regularizer_blacklist=["^a$"])
    assert kept.regularizer.structure().layers["a"].count == 4
    bounded = ours.GammaFlopsRegularizer(network(), 0.01, input_boundary=["norm_a"])
    assert bounded.regularizer.structure().layers["a"].count == 4
    assert bounded.regularizer.structure().layers["b"].count == 4


def test_decorators_change_the_term() -> None:
    class Dummy:
        def __init__(self, regularizer_object: Any, scale: float) -> None:
            self.regularization_vector = regularizer_object.regularization_vector * scale
            self.alive_vector = regularizer_object.alive_vector

    plain = ours.GammaFlopsRegularizer(network(), 0.01)
    scaled = ours.GammaFlopsRegularizer(
        network(), 0.01, regularizer_decorator=Dummy, decorator_parameters={"scale": 0.5}
    )
    assert term(scaled) == pytest.approx(0.5 * term(plain), rel=1e-6)
    assert scaled.get_cost() == plain.get_cost()


def test_tensors_bound_a_model() -> None:
    model = network()
    regularizer = ours.GammaFlopsRegularizer([model.get_layer("c").output], 0.01)
    assert regularizer.get_cost() == pytest.approx(closed(FLOPS)[0])
    assert regularizer.model.get_layer("a") is model.get_layer("a")
    short = ours.GammaFlopsRegularizer(model.get_layer("b").output, 0.01)
    assert short.get_cost() == pytest.approx(2 * 36 * (9 * 2 * 3 + 3 * 5))
    for wrong in ("c", [], [SimpleNamespace()]):
        with pytest.raises(InvalidInputError, match="output_boundary is a model or Keras tensors"):
            ours.GammaFlopsRegularizer(wrong, 0.01)
    with pytest.raises(InvalidInputError, match="no layer 'nowhere'"):
        term(regularizer, ["nowhere"])


@pytest.mark.parametrize("on_mask", [True, False])
def test_stochastic_gates_are_charged_as_drawn_or_as_expected(*, on_mask: bool) -> None:
    regularizer = ours.LogisticSigmoidFlopsRegularizer(
        network(), regularize_on_mask=on_mask, gate={"straight_through": True}
    )
    gate = regularizer.model.get_layer("gates").gate
    gate.logits.assign(np.zeros(9))
    expected = term(regularizer)
    assert expected == pytest.approx(0.5 * 2 * 36 * (9 * 2 * 4 + 2 * 4 * 5 + 5 * 3), rel=1e-6)
    callback = regularizer.callback(strength=1.0)
    x = np.zeros((2, 6, 6, 2), dtype="float32")
    regularizer.model.compile(keras.optimizers.SGD(0.0), "mse")
    losses = []
    for _ in range(6):
        y = np.zeros((2, 6, 6, 3), dtype="float32")
        history = regularizer.model.fit(x, y, verbose=0, callbacks=[callback]).history
        losses.append(history["loss"][0])
    spread = max(losses) - min(losses)
    assert (spread > 1.0) is on_mask
    if not on_mask:
        assert losses[0] == pytest.approx(expected, rel=1e-3)


def test_alive_can_be_judged_by_the_probability() -> None:
    by_mask, by_probability = (
        ours.LogisticSigmoidFlopsRegularizer(
            network(), alive_threshold=0.2, mask_as_alive_vector=mask
        )
        for mask in (True, False)
    )
    for regularizer, count in ((by_mask, 2), (by_probability, 3)):
        logits = np.array([3.0, 0.1, -0.5, -3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
        regularizer.model.get_layer("gates").gate.logits.assign(logits)
        assert regularizer.regularizer.structure().layers["a"].count == count
