"""Tensors without a channel axis live with the network, untouched, and nothing waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, random_alive, shrunk_exactly
from keras import layers, ops
from keras_models import randomised

from costmodel.errors import ModelFormatError
from morphnet_core.surgery import expand, rebuild, shrink
from morphnet_core.surgery.plan import Plan
from morphnet_core.surgery.resized import _revive
from morphnet_core.surgery.values import ReviveError

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def pooled(x: Any, width: int = 3) -> Any:
    return layers.Dense(width)(layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(x)))


ENDS: dict[str, Callable[[Any], Any]] = {
    "squeeze": lambda x: ops.squeeze(pooled(x, 1), axis=-1),
    "reshape": lambda x: ops.reshape(pooled(x, 1), (-1,)),
    "reshape_layer": lambda x: layers.Reshape(())(pooled(x, 1)),
    "index": lambda x: pooled(x)[:, 1],
    "index_of_pixels": lambda x: x[:, 0, 0, 2],
    "mean": lambda x: ops.mean(pooled(x), axis=-1),
    "argmax": lambda x: ops.argmax(pooled(x), axis=-1),
    "norm": lambda x: ops.norm(pooled(x), axis=-1),
    "dot": lambda x: ops.squeeze(layers.Dot(axes=1)([pooled(x), pooled(x)]), axis=-1),
    "scalar": lambda x: ops.mean(x),
    "all_but_the_batch": lambda x: ops.sum(x, axis=(1, 2, 3)),
    "of_two": lambda x: [pooled(x), ops.max(layers.Conv2D(4, 1)(x), axis=(1, 2, 3))],
    "between": lambda x: layers.Dense(3)(
        ops.expand_dims(2.0 * ops.mean(pooled(x, 4), axis=-1) + 1.0, -1)
    ),
    "factor": lambda x: pooled(layers.Conv2D(6, 1)(x) * ops.mean(x)),
    "added_up": lambda x: ops.mean(pooled(x), axis=-1) + ops.max(pooled(x), axis=-1),
}


def model_of(end: Callable[[Any], Any]) -> Any:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return randomised(keras.Model(image, end(x)))


@pytest.mark.parametrize("name", list(ENDS))
def test_every_way_of_resizing_ends(name: str) -> None:
    model = model_of(ENDS[name])
    grouping = grouped(model)
    shapes = [item.shape for item in model.outputs]
    for seed in range(2):
        alive = random_alive(grouping, 0.5, seed)
        made = shrunk_exactly(model, grouping, alive), rebuild(model, alive, seed=0)
        assert [[item.shape for item in one.outputs] for one in made] == [shapes] * 2
    shrunk_exactly(model, grouping, grouping.full())
    assert [item.shape for item in expand(model, 1.5).outputs] == shapes


@pytest.mark.parametrize("name", ["squeeze", "between", "added_up", "of_two"])
def test_a_network_of_which_all_dies_still_ends(name: str) -> None:
    model = model_of(ENDS[name])
    grouping = grouped(model)
    alive = grouping.frozen_units
    small = shrunk_exactly(model, grouping, alive)
    assert [item.shape for item in small.outputs] == [item.shape for item in model.outputs]


def test_a_need_that_nothing_can_meet_is_an_error() -> None:
    grouping = grouped(model_of(ENDS["squeeze"]))
    plan = Plan(grouping, np.ones(grouping.num_units, dtype=np.intp))
    for tensors in ((), grouping.network.outputs, ("conv",)):
        with pytest.raises(ModelFormatError, match=r"cannot be rebuilt .* Keep more channels"):
            _revive(plan, ReviveError(tensors, "m"), warn=False)


def test_the_file_of_a_structure_is_taken_too() -> None:
    model = model_of(ENDS["squeeze"])
    grouping = grouped(model)
    assert shrink(model, grouping.full()).count_params() == model.count_params()
