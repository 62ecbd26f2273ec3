"""Gates in front of the layers that read gated channels, and folded into them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates import (
    HardConcreteGating,
    LogisticSigmoidGating,
    SharedGates,
    fold_gates,
    insert_gates,
)

pytestmark = pytest.mark.keras

#: Odds of the eight gates: closed, open, and half open.
ODDS = np.array([-9, 9, 0.3, 1.0, -9, 0.5, 9, 9], dtype="float32")


def inner_model() -> Any:
    """Nested, with two inputs of which one is read by a convolution."""
    a, b = keras.Input((4, 4, 8)), keras.Input((4, 4, 3))
    return keras.Model([a, b], layers.Add()([layers.Conv2D(3, 1, name="conv")(a), b]), name="inner")


def outer_model() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, padding="same", activation="sigmoid", name="first")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(beta_initializer="ones", name="norm")(x)
    y = layers.Conv2D(6, 3, strides=2, groups=2, padding="same", name="grouped")(x)
    z = layers.SeparableConv2D(6, 3, strides=2, padding="same", name="separable")(x)
    t = layers.Conv2DTranspose(3, 2, name="transposed")(layers.MaxPooling2D(2)(x))
    s = keras.Sequential(
        [keras.Input((8,)), layers.Dense(3, name="conv"), layers.Activation("tanh")], name="head"
    )
    pooled = layers.GlobalAveragePooling2D()(x)
    w = layers.Conv2D(3, 1, strides=2, name="reduce")(x)
    u = inner_model()([layers.AveragePooling2D(2)(x), w])
    outputs = [
        layers.Add()([y, z]),
        t,
        layers.Add()([s(pooled), s(pooled)]),
        u,
        layers.Dense(2, name="flat")(layers.Flatten()(layers.MaxPooling2D(8)(x))),
    ]
    return keras.Model(inputs, outputs, name="outer")


READ = ("grouped", "separable", "transposed", "head/conv", "inner/conv", "reduce", "flat")


def gates_of(kind: Any = HardConcreteGating, **settings: Any) -> SharedGates:
    gates = SharedGates(kind(**settings), 8)
    gates.gate.logits.assign(ODDS)
    return gates


def batch() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(4, 8, 8, 2)).astype("float32")


def assert_same(first: Any, second: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(a), ops.convert_to_numpy(b), rtol=tolerance, atol=tolerance
        )


def test_gated_reading_equals_folded_kernels() -> None:
    model = outer_model()
    gates = gates_of()
    gated = insert_gates(model, gates, {path: range(8) for path in READ})
    x = batch()
    plain = model(x, training=False)
    out = gated(x, training=False)
    for a, b in zip(plain, out, strict=True):
        assert np.abs(ops.convert_to_numpy(a) - ops.convert_to_numpy(b)).max() > 1e-3
    mask = ops.convert_to_numpy(gates.gate.mask(training=False))
    assert 0 < mask[2] < 1
    fold_gates(model, dict.fromkeys(READ, mask))
    assert_same(model(x, training=False), out)


def test_a_closed_gate_is_a_channel_that_is_zero_where_it_is_read() -> None:
    """Whatever the depthwise convolution and the offset behind the writer make of it."""
    model = outer_model()
    gates = gates_of()
    gates.gate.logits.assign(np.where(np.arange(8) == 2, -9.0, 9.0))
    gated = insert_gates(model, gates, {path: range(8) for path in READ})
    x = batch()
    before = gated(x, training=False)
    first = model.get_layer("first")
    first.kernel.assign(first.kernel + 5.0 * np.eye(8)[2])
    assert_same(before, gated(x, training=False))


def test_one_draw_serves_every_reader() -> None:
    x = inputs = keras.Input((5,))
    reads = [
        layers.Dense(5, use_bias=False, kernel_initializer="identity", name=name)(x)
        for name in ("a", "b")
    ]
    model = keras.Model(inputs, reads)
    gates = SharedGates(LogisticSigmoidGating(seed=1, log_odds_init=0.0), 5)
    gated = insert_gates(model, gates, {"a": range(5), "b": range(5)})
    seen = set()
    for _ in range(6):
        a, b = (ops.convert_to_numpy(y) for y in gated(np.ones((3, 5), "float32"), training=True))
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[0], a[2])
        seen.add(tuple(a[0] > 0.5))
    assert len(seen) > 1


def test_layers_are_shared_and_the_model_is_left_alone() -> None:
    model = outer_model()
    count = len(model.layers)
    gated = insert_gates(model, gates_of(), {path: range(8) for path in READ})
    assert gated.get_layer("grouped") is model.get_layer("grouped")
    assert len(model.layers) == count
    assert gated.name == model.name
    assert len(gated.trainable_weights) == len(model.trainable_weights) + 1


def test_channels_without_a_gate_are_multiplied_by_one() -> None:
    model = outer_model()
    x = batch()
    gated = insert_gates(model, gates_of(), {path: [8] * 8 for path in READ})
    assert_same(model(x, training=False), gated(x, training=False))


def test_gated_models_are_saved(tmp_path: Any) -> None:
    gated = insert_gates(outer_model(), gates_of(seed=3), {path: range(8) for path in READ})
    path = tmp_path / "gated.keras"
    gated.save(path)
    again = keras.models.load_model(path)
    x = batch()
    assert_same(gated(x, training=False), again(x, training=False), 0.0)
    assert_same(gated(x, training=True), again(x, training=True), 0.0)


def test_an_unknown_path_is_named() -> None:
    with pytest.raises(InvalidInputError, match="no layer 'nowhere/conv'"):
        insert_gates(outer_model(), gates_of(), {"nowhere/conv": range(8)})
    with pytest.raises(InvalidInputError, match="no layer 'nowhere'"):
        fold_gates(outer_model(), {"nowhere": np.ones(8)})


def test_only_kernels_can_be_folded_into() -> None:
    with pytest.raises(InvalidInputError, match=r"'norm' .BatchNormalization. has no kernel"):
        fold_gates(outer_model(), {"norm": np.ones(8)})
    with pytest.raises(InvalidInputError, match="reads 8 channels and is given 7"):
        fold_gates(outer_model(), {"reduce": np.ones(7)})


def test_a_wrong_number_of_gates_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="gates for 7 channels"):
        insert_gates(outer_model(), gates_of(), {"reduce": range(7)})


def test_channels_first_is_gated_along_axis_one() -> None:
    inputs = keras.Input((8, 4, 4))
    conv = layers.Conv2D(3, 1, data_format="channels_first", name="conv")
    gated = insert_gates(keras.Model(inputs, conv(inputs)), gates_of(), {"conv": range(8)})
    gate = next(layer for layer in gated.layers if layer.name == "conv_gates")
    assert gate.axis == 1
    assert gate.output.shape == (None, 8, 4, 4)
