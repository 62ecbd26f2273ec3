"""Signals: their values and gradients against closed forms, their rules, what lacks one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_groups
from morphnet_core.signals import Gates, GroupLasso, Source, UnitSignal, choose, enable_gammas
from morphnet_core.signals.decorate import decorated
from morphnet_core.signals.gamma import flush_denormals, gamma_sources
from morphnet_core.signals.group_lasso import channel_norms, group_lasso_sources
from morphnet_core.signals.prepare import prepare
from morphnet_core.signals.source import as_numpy

pytestmark = pytest.mark.keras


def residual() -> Any:
    """A stream of two writers, and one convolution inside the branch."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="stem_norm")(layers.Conv2D(4, 3, name="stem")(x))
    x = layers.ReLU()(x)
    y = layers.MaxPooling2D(2, strides=1, padding="same")(layers.Conv2D(3, 1, name="inside")(x))
    y = layers.BatchNormalization(name="inside_norm")(layers.Dropout(0.1)(y))
    y = layers.BatchNormalization(name="out_norm")(layers.Conv2D(4, 1, name="out")(y))
    x = layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)), name="net")


def grouping_of(model: Any, **options: Any) -> Any:
    return find_groups(read_keras(model), **options)


def source(values: Any, units: Any, name: str = "s") -> Source:
    variable = keras.Variable(np.asarray(values, dtype="float32"), name=name)
    return Source(
        name=name,
        units=np.asarray(units, dtype=np.intp),
        values=lambda: ops.abs(ops.convert_to_tensor(variable)),
        variable=variable,
    )


def gradient(term: Any, variable: Any, at: Any, step: float = 1e-2) -> NDArray[np.float64]:
    """By central differences, on any backend."""
    at = np.asarray(at, dtype=np.float64)
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        values = []
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            variable.assign(moved)
            values.append(float(as_numpy(term())))
        found[index] = (values[0] - values[1]) / (2 * step)
    variable.assign(at)
    return found


def test_gamma_is_found_behind_other_layers() -> None:
    model = residual()
    grouping = grouping_of(model)
    found = gamma_sources(grouping, model)
    assert [item.name for item in found] == ["stem_norm", "inside_norm", "out_norm"]
    names = grouping.by_name
    stream, inside = names["stem"], names["inside"]
    np.testing.assert_array_equal(found[0].units, np.arange(4) + stream.start)
    np.testing.assert_array_equal(found[1].units, np.arange(3) + inside.start)
    np.testing.assert_array_equal(found[2].units, found[0].units)
    model.get_layer("inside_norm").gamma.assign([-2.0, 0.5, 0.0])
    np.testing.assert_array_equal(as_numpy(found[1].values()), [2.0, 0.5, 0.0])


def test_a_normalisation_of_a_concatenation_is_shared_out() -> None:
    x = inputs = keras.Input((4, 4, 2))
    joined = layers.Concatenate()(
        [layers.Conv2D(2, 1, name="a")(x), layers.Conv2D(3, 1, name="b")(x)]
    )
    x = layers.BatchNormalization(name="norm")(joined)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x))
    grouping = grouping_of(model)
    (found,) = gamma_sources(grouping, model)
    a, b = grouping.by_name["a"], grouping.by_name["b"]
    np.testing.assert_array_equal(found.units, [a.start, a.start + 1, *range(b.start, b.start + 3)])


def without_scale() -> Any:
    x = inputs = keras.Input((4, 4, 2))
    for name in ("one", "two"):
        x = layers.BatchNormalization(scale=name == "two", name=f"norm_{name}")(
            layers.Conv2D(3, 1, name=name)(x)
        )
    inner = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.BatchNormalization(scale=False, name="norm")], name="inner"
    )
    return keras.Model(inputs, layers.Conv2D(2, 1, name="last")(inner(x)))


def test_a_normalisation_without_gamma_is_named_with_the_fix() -> None:
    model = without_scale()
    with pytest.raises(InvalidInputError, match=r"norm_one, inner/norm\. Build them with scale=T"):
        gamma_sources(grouping_of(model), model)
    kept = grouping_of(model, exclude=["^one$", "^two$"])
    assert gamma_sources(kept, model) == ()


def test_gammas_can_be_enabled_without_changing_what_is_computed() -> None:
    model = without_scale()
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    copy = enable_gammas(model)
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(
        as_numpy(model(x, training=False)), as_numpy(copy(x, training=False)), atol=1e-6
    )
    assert len(gamma_sources(grouping_of(copy), copy)) == 3
    assert copy.get_layer("norm_one").gamma is not None
    assert model.get_layer("norm_one").gamma is None


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_group_lasso_is_the_closed_form(fraction: float) -> None:
    model = residual()
    found = group_lasso_sources(grouping_of(model), model, fraction)
    assert [item.name for item in found] == ["stem", "inside", "out"]
    kernel = as_numpy(model.get_layer("stem").kernel).reshape(-1, 4)
    dim = len(kernel)
    expected = (1 - fraction) * np.linalg.norm(kernel, axis=0) / np.sqrt(dim)
    expected += fraction * np.abs(kernel).sum(axis=0) / dim
    np.testing.assert_allclose(as_numpy(found[0].values()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "attribute", "axis"),
    [
        (lambda: layers.Conv2DTranspose(6, 2, name="made"), "kernel", -2),
        (lambda: layers.SeparableConv2D(6, 2, name="made"), "pointwise_kernel", -1),
        (lambda: layers.Conv2D(6, 2, groups=3, name="made"), "kernel", -1),
        (lambda: layers.Dense(6, name="made"), "kernel", -1),
    ],
)
def test_group_lasso_takes_the_outputs_of_each_kind_of_kernel(
    make: Any, attribute: str, axis: int
) -> None:
    inputs, layer = keras.Input((4, 4, 6)), make()
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(layer(inputs)))
    (found,) = group_lasso_sources(grouping_of(model), model)
    kernel = np.moveaxis(as_numpy(getattr(layer, attribute)), axis, -1)
    expected = np.sqrt(np.mean(kernel.reshape(-1, kernel.shape[-1]) ** 2, axis=0))
    np.testing.assert_allclose(as_numpy(found.values()), expected, rtol=1e-5)


def test_a_kernel_of_zeros_has_no_nan() -> None:
    """Under training with a penalty on it, as a dead channel is."""
    model = residual()
    sources = group_lasso_sources(grouping_of(model), model)
    dead = as_numpy(model.get_layer("inside").kernel).copy()
    dead[..., 1] = 0.0
    model.get_layer("inside").kernel.assign(dead)
    signal = UnitSignal(sources, grouping_of(model).num_units, "l2")
    x = np.zeros((2, 6, 6, 2), dtype="float32")

    class Trained(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def call(self, data: Any, training: Any = None) -> Any:
            self.add_loss(signal.weighted_sum(ops.ones((len(signal.signalled),))))
            return self.inner(data, training=training)

    trained = Trained()
    trained.compile("sgd", "mse")
    trained.fit(x, np.zeros((2, 2), dtype="float32"), verbose=0)
    assert np.isfinite(as_numpy(model.get_layer("inside").kernel)).all()


def test_l1_fraction_is_checked() -> None:
    model = residual()
    with pytest.raises(InvalidInputError, match=r"0 to 1\. Received: 1.5"):
        group_lasso_sources(grouping_of(model), model, 1.5)


RULES = {
    "max": lambda values: np.max(values),
    "sum": lambda values: np.sum(values),
    "l2": lambda values: np.sqrt(np.sum(np.square(values))),
}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(RULES)),
    st.lists(
        st.lists(st.integers(-1, 5), min_size=1, max_size=5, unique=True), min_size=1, max_size=4
    ),
    st.integers(0, 2**32 - 1),
)
def test_members_are_combined_by_the_rule(rule: str, places: list[list[int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = [random.normal(size=len(units)) for units in places]
    signal = UnitSignal([source(v, u) for v, u in zip(values, places, strict=True)], 6, rule)
    expected, weights = np.zeros(6), random.uniform(size=6).astype("float32")
    for unit in range(6):
        members = [abs(v[u.index(unit)]) for v, u in zip(values, places, strict=True) if unit in u]
        assert signal.signalled[unit] == bool(members)
        expected[unit] = RULES[rule](members) if members else 0.0
    np.testing.assert_allclose(signal.numbers(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        float(as_numpy(ops.sum(signal.weighted_sum(ops.convert_to_tensor(weights))))),
        expected @ weights,
        rtol=1e-4,
        atol=1e-6,
    )


def test_gradients_follow_the_rule() -> None:
    first, second = np.array([3.0, -4.0]), np.array([1.0, 5.0])
    weights = np.array([2.0, 10.0], dtype="float32")
    expected = {
        "max": ([2.0, 0.0], [0.0, 10.0]),
        "sum": ([2.0, -10.0], [2.0, 10.0]),
        "l2": (
            [2 * 3 / np.sqrt(10), -10 * 4 / np.sqrt(41)],
            [2 * 1 / np.sqrt(10), 10 * 5 / np.sqrt(41)],
        ),
    }
    for rule, (of_first, of_second) in expected.items():
        a, b = source(first, [0, 1]), source(second, [0, 1])
        signal = UnitSignal([a, b], 2, rule)
        term = lambda s=signal: s.weighted_sum(ops.convert_to_tensor(weights))  # noqa: E731
        np.testing.assert_allclose(gradient(term, a.variable, first), of_first, atol=2e-3)
        np.testing.assert_allclose(gradient(term, b.variable, second), of_second, atol=2e-3)


def test_impossible_signals_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no rule 'mean'"):
        UnitSignal([source([1.0], [0])], 1, "mean")
    with pytest.raises(InvalidInputError, match="no source"):
        UnitSignal([], 1)
    with pytest.raises(
        InvalidInputError, match=r"no signal 'beta'\. Use one of gamma, group_lasso"
    ):
        choose("beta")
    with pytest.raises(InvalidInputError, match="must be at least 0"):
        choose("gamma", -1.0)
    assert choose(GroupLasso(l1_fraction=0.5), 0.3) == GroupLasso(threshold=0.3, l1_fraction=0.5)


def test_what_has_no_signal_is_told() -> None:
    model = residual()
    grouping = grouping_of(model)
    model.get_layer("inside_norm")
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="a")(inputs))
    x = layers.Conv2D(5, 1, name="b")(x)
    bare = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    found = prepare(grouping_of(bare), bare, choose("gamma"))
    assert found.silent == {"b": "no BatchNormalization carries its channels"}
    assert prepare(grouping, model, choose("gamma")).silent == {}
    nothing = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(inputs)))
    with pytest.raises(InvalidInputError, match="can shrink under Gamma"):
        prepare(grouping_of(nothing), nothing, choose("gamma"))
    with pytest.raises(InvalidInputError, match="nothing to gate"):
        prepare(grouping_of(nothing), nothing, choose("hard_concrete"))


def test_units_without_a_signal_stay() -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="a")(inputs))
    x = layers.Conv2D(5, 1, name="b")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    grouping = grouping_of(model)
    found = prepare(grouping, model, choose("gamma", 0.5))
    model.get_layer("norm").gamma.assign([1.0, 0.5, -0.6, 0.0])
    above = found.read().above
    np.testing.assert_array_equal(above[grouping.by_name["a"].units], [True, False, True, False])
    assert above[grouping.by_name["b"].units].all()
    assert np.isinf(found.read().scores[grouping.by_name["b"].units]).all()


def test_gates_are_alive_as_long_as_they_are_open_at_inference() -> None:
    model = residual()
    grouping = grouping_of(model)
    for kind, odds in (("logistic_sigmoid", 0.0), ("hard_concrete", np.log(0.1 / 1.1))):
        found = prepare(grouping, model, Gates(kind=kind), seed=1)
        assert found.gated is not None
        gate = found.gated.gates.gate
        gate.logits.assign(odds + np.where(np.arange(7) % 2, -0.4, 0.4))
        above = found.read().above[found.gated.units]
        np.testing.assert_array_equal(above, np.arange(7) % 2 == 0)
        # The probability that is pressed on is above zero in either case.
        assert (found.plain.numbers()[found.gated.units] > 0.2).all()


def test_the_first_gate_of_a_group_can_be_kept() -> None:
    model = residual()
    grouping = grouping_of(model)
    found = prepare(
        grouping, model, Gates(kind="hard_concrete", keep_first_channel_alive=True), seed=1
    )
    assert found.gated is not None
    found.gated.gates.gate.logits.assign(np.full(7, -9.0))
    assert grouping.counts(found.read().above).tolist() == [2, 1, 1, 2]


def test_decorators_of_the_original_work() -> None:
    class Doubled:
        def __init__(self, regularizer_object: Any, scale: float) -> None:
            self.regularization_vector = regularizer_object.regularization_vector * scale
            self.alive_vector = regularizer_object.alive_vector

    plain = source([1.0, -3.0], [0, 1])
    found = decorated(plain, Doubled, {"scale": 2.0}, 0.5)
    np.testing.assert_array_equal(as_numpy(found.values()), [2.0, 6.0])
    seen = {}

    def spy(view: Any) -> Any:
        seen["alive"] = as_numpy(view.alive_vector).tolist()
        return SimpleNamespace(regularization_vector=view.regularization_vector)

    decorated(plain, spy, None, 2.0).values()
    assert seen["alive"] == [False, True]


def test_decorated_values_are_penalised_but_not_judged_by() -> None:
    model = residual()
    found = prepare(
        grouping_of(model),
        model,
        choose("gamma"),
        decorator=lambda view, factor: SimpleNamespace(
            regularization_vector=view.regularization_vector * factor
        ),
        parameters={"factor": 0.0},
    )
    assert found.penal.numbers().sum() == 0.0
    assert found.read().above.all()


def test_denormals_become_zero() -> None:
    values = np.array([1e-39, -1e-40, 1e-30, 0.0, 1.0], dtype=np.float32)
    touched = source(values, range(5), "norm")
    other = source([1e-30], [0], "other")
    assert flush_denormals((touched, other)) == ["norm"]
    np.testing.assert_array_equal(
        as_numpy(touched.variable), np.array([0, 0, 1e-30, 0, 1], dtype=np.float32)
    )
    assert flush_denormals((touched, other)) == []


def test_signals_are_float32_whatever_the_weights_are() -> None:
    kernel = keras.Variable(np.full((3, 4), 0.001), dtype="bfloat16")
    norms = channel_norms(kernel, -1, 0.5)
    assert keras.backend.standardize_dtype(norms.dtype) == "float32"
    np.testing.assert_allclose(as_numpy(norms), 0.001, rtol=0.01)
