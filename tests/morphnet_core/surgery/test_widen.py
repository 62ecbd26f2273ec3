"""Widening: the function stays, new channels learn, and what goes at the same time goes exactly."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, largest_error, outputs_of, random_alive
from keras import layers
from keras_models import MODELS, example, randomised

from costmodel.errors import InvalidInputError
from morphnet_core.groups import cascade
from morphnet_core.surgery import masked, widen

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def wider(grouping: Any, factor: float = 1.5) -> Any:
    """All groups that may, so many times as wide."""
    counts = grouping.full_counts
    for place, group in enumerate(grouping.groups):
        if not group.frozen:
            counts[place] = -(-int(counts[place] * factor) // group.multiple) * group.multiple
    return counts


@pytest.mark.parametrize("name", ["chain", "residual", "concat", "depthwise"])
def test_a_wider_network_returns_the_same(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    wide = widen(model, wider(grouping), grouping=grouping, examples=[])
    assert wide.count_params() > model.count_params()
    fed = example(model)
    assert largest_error(outputs_of(wide, fed), outputs_of(model, fed)) < 1e-4


@pytest.mark.parametrize("name", ["residual", "concat"])
def test_some_groups_grow_while_others_shrink(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    alive = random_alive(grouping, 0.6, 3)
    counts = grouping.counts(alive)
    whole = [p for p, g in enumerate(grouping.groups) if not g.frozen and counts[p]][::2]
    for place in whole:
        alive[grouping.groups[place].units] = True
        counts[place] = 2 * grouping.groups[place].size
    made = widen(model, counts, alive=alive, grouping=grouping, examples=[])
    fed = example(model)
    wanted = [np.asarray(item) for item in masked(model, grouping, cascade(grouping, alive))(fed)]
    assert largest_error(outputs_of(made, fed), wanted) < 1e-4


def test_new_channels_are_new_and_learn() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="a_bn")(x))
    x = layers.Conv2D(4, 3, padding="same", name="b")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    grouping = grouped(model)
    wide = widen(model, wider(grouping, 2.0), grouping=grouping)
    kernel = np.asarray(wide.get_layer("a").kernel).reshape(-1, 8)
    assert len({column.tobytes() for column in kernel.T}) == 8
    reader = wide.get_layer("b")
    silent = ~np.asarray(reader.kernel).any(axis=(0, 1, 3))
    assert silent.sum() == 4
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wide.compile(keras.optimizers.SGD(0.1), loss)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 6, 6, 3)).astype("float32"), np.arange(16) % 3
    wide.fit(x, y, epochs=2, verbose=0)
    assert np.asarray(reader.kernel)[:, :, silent].any(axis=(0, 1, 3)).all()
    assert np.asarray(wide.get_layer("a_bn").gamma)[-1] != 1.0


def test_counts_and_units_must_agree() -> None:
    model = MODELS["residual"](keras)
    grouping = grouped(model)
    counts = grouping.full_counts
    free = next(p for p, g in enumerate(grouping.groups) if not g.frozen)
    fixed = next(p for p, g in enumerate(grouping.groups) if g.frozen)
    counts[free] -= 1
    with pytest.raises(InvalidInputError, match="of its units are alive"):
        widen(model, counts, grouping=grouping)
    counts = grouping.full_counts
    counts[fixed] += 1
    with pytest.raises(InvalidInputError, match="cannot change"):
        widen(model, counts, grouping=grouping)
    with pytest.raises(InvalidInputError, match="one count"):
        widen(model, counts[1:], grouping=grouping)
