"""Recurrent layers, einsums, attention: cut where channels can be followed, else left and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, random_alive, shrunk_exactly
from keras import layers
from keras_models import randomised

from morphnet_core.groups import resize

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def cells() -> Any:
    return layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], name="m")


READS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: layers.LSTM(4, name="m"),
    "lstm_of_steps": lambda: layers.LSTM(4, return_sequences=True, use_bias=False, name="m"),
    "gru": lambda: layers.GRU(4, go_backwards=True, name="m"),
    "old_gru": lambda: layers.GRU(4, reset_after=False, dropout=0.3, name="m"),
    "simple_rnn": lambda: layers.SimpleRNN(4, name="m"),
    "stacked": cells,
    "both_ways": lambda: layers.Bidirectional(layers.LSTM(3), name="m"),
    "both_ways_added": lambda: layers.Bidirectional(
        layers.GRU(3, return_sequences=True), merge_mode="sum", name="m"
    ),
    "einsum": lambda: layers.EinsumDense("abc,cd->abd", (16, 5), bias_axes="d", name="m"),
    "einsum_turned": lambda: layers.EinsumDense("abc,dc->abd", (16, 5), name="m"),
    "einsum_of_any": lambda: layers.EinsumDense("...c,cd->...d", 5, bias_axes="d", name="m"),
}
LEFT: dict[str, Callable[[Any], Any]] = {
    "attention": lambda x: layers.MultiHeadAttention(2, 3, name="m")(x, x),
    "dot_attention": lambda x: layers.Attention(name="m")([x, x]),
    "every_step": lambda x: layers.TimeDistributed(layers.Dense(3), name="m")(x),
    "einsum_of_steps": lambda x: layers.EinsumDense("abc,bd->adc", (5, 8), name="m")(x),
    "einsum_of_heads": lambda x: layers.EinsumDense("abc,cde->abde", (16, 2, 3), name="m")(x),
    "convolved": lambda x: layers.ConvLSTM1D(3, 1, name="m")(layers.Reshape((4, 4, 8))(x)),
    "own_cell": lambda x: layers.RNN(Cell(3), name="m")(x),
}


@keras.saving.register_keras_serializable("tests")
class Cell(layers.SimpleRNNCell):
    """Has mathematics of its own."""

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        return super().call(inputs - keras.ops.mean(inputs, axis=-1, keepdims=True), states)


def model_of(middle: Callable[[Any], Any]) -> Any:
    image = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="before")(image)
    x = middle(layers.Reshape((16, 8))(x))
    x = layers.Dense(4, name="after")(layers.Flatten()(x))
    return randomised(keras.Model(image, layers.Dense(2, name="head")(x)))


@pytest.mark.parametrize("name", list(READS))
def test_what_is_read_of_a_step_is_cut(name: str) -> None:
    model = model_of(lambda x: READS[name]()(x))
    grouping = grouped(model)
    group = grouping.by_name["before"]
    assert not group.frozen
    assert resize(grouping, grouping.full()) == grouping.network
    for seed in range(2):
        alive = random_alive(grouping, 0.6, seed)
        alive[group.units] = np.arange(8) % (seed + 2) != 0
        small = shrunk_exactly(model, grouping, alive)
        assert small.get_layer("before").filters in {4, 5}
    if "einsum" not in name:
        told = grouping.by_name["m"].frozen
        assert told.endswith("is recurrent: each of its units reads all the others")


@pytest.mark.parametrize("name", list(LEFT))
def test_what_cannot_be_followed_is_left_and_named(name: str) -> None:
    model = model_of(LEFT[name])
    grouping = grouped(model)
    group = grouping.by_name["before"]
    assert group.frozen.startswith(("m", "m/"))
    assert not grouping.by_name["after"].frozen
    shrunk_exactly(model, grouping, random_alive(grouping, 0.6, 0))
