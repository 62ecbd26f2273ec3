"""Normalisations, products and activations along every axis: cut along the channels', or left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, outputs_of, random_alive, shrunk_exactly
from keras import layers
from keras_models import example, randomised

from morphnet_core.groups import resize
from morphnet_core.surgery import expand, shrink

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def turned(*stack: Any) -> Callable[[Any], Any]:
    """Layers that see the channels on axis 1 of a channels-last model."""

    def call(x: Any) -> Any:
        x = layers.Permute((3, 1, 2))(x)
        for layer in stack:
            x = layer(x)
        return layers.Permute((2, 3, 1))(x)

    return call


NORM, OVER, GROUP = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
)
FOLLOWED: dict[str, Callable[[], Any]] = {
    "batch_norm_of_rows": lambda: NORM(axis=1),
    "batch_norm_of_columns": lambda: NORM(axis=-2),
    "batch_norm_of_turned_channels": lambda: turned(NORM(axis=1)),
    "batch_norm_of_turned_columns": lambda: turned(NORM()),
    "layer_norm_of_rows": lambda: OVER(axis=1),
    "layer_norm_of_pictures": lambda: OVER(axis=[1, 2]),
    "layer_norm_of_turned_columns": lambda: turned(OVER()),
    "groups_of_two": lambda: GROUP(4),
    "instances": lambda: GROUP(-1),
    "instances_by_number": lambda: GROUP(8),
    "unit_norm_of_pictures": lambda: layers.UnitNormalization(axis=[1, 2]),
    "softmax_of_rows": lambda: layers.Softmax(axis=1),
    "prelu_of_all": lambda: layers.PReLU(),
    "prelu_of_pictures": lambda: layers.PReLU(shared_axes=[3]),
    "prelu_of_turned_channels": lambda: turned(layers.PReLU(shared_axes=[2])),
}
FROZEN: dict[str, Callable[[], Any]] = {
    "layer_norm": lambda: OVER(),
    "layer_norm_of_some": lambda: OVER(axis=[1, 3]),
    "layer_norm_of_all": lambda: OVER(axis=[1, 2, 3]),
    "one_group": lambda: GROUP(1),
    "groups_of_rows": lambda: GROUP(2, axis=1),
    "groups_of_turned_channels": lambda: turned(GROUP(2, axis=1)),
    "unit_norm": lambda: layers.UnitNormalization(),
    "softmax": lambda: layers.Softmax(),
    "softmax_of_several": lambda: layers.Softmax(axis=[1, 2]),
    "dense_of_columns": lambda: turned(layers.Dense(6)),
    "other_order": lambda: turned(layers.Conv2D(5, 1, data_format="channels_first")),
    "windows_in_the_other_order": lambda: turned(
        layers.AveragePooling2D(2, data_format="channels_first")
    ),
}


def between(make: Callable[[], Any]) -> Any:
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="before")(image)
    x = layers.Conv2D(4, 1, name="after")(make()(x))
    return randomised(keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(x))))


@pytest.mark.parametrize("name", list(FOLLOWED))
def test_channels_are_cut_along_their_own_axis(name: str) -> None:
    model = between(FOLLOWED[name])
    grouping = grouped(model)
    assert not grouping.by_name["before"].frozen
    assert resize(grouping, grouping.full()) == grouping.network
    for seed in range(2):
        alive = random_alive(grouping, 0.6, seed)
        group = grouping.by_name["before"]
        alive[group.units] = np.arange(group.size) % (seed + 2) != 0
        small = shrunk_exactly(model, grouping, alive)
        assert 0 < small.get_layer("before").filters < 8
        widths = resize(grouping, alive)
        assert [layer.op.outputs[0][1] for layer in widths.layers if layer.name == "before"] == [
            small.get_layer("before").filters
        ]
    assert expand(model, 2.0).get_layer("before").filters == 16


@pytest.mark.parametrize("name", list(FROZEN))
def test_what_depends_on_other_channels_is_left_with_its_reason(name: str) -> None:
    model = between(FROZEN[name])
    grouping = grouped(model)
    assert grouping.by_name["before"].frozen
    assert not grouping.by_name["after"].frozen
    if "other_order" not in name:  # on a processor, nothing runs pictures in that order
        shrunk_exactly(model, grouping, random_alive(grouping, 0.6, 0))


@pytest.mark.parametrize("name", [*FOLLOWED, *FROZEN])
def test_keeping_everything_is_the_identity(name: str) -> None:
    model = between({**FOLLOWED, **FROZEN}[name])
    same = shrink(model, grouped(model).full(), check=False)
    assert same.get_config() == model.get_config() or name.startswith("instances")
    old, new = (
        [np.asarray(keras.ops.convert_to_numpy(w)) for w in m.weights] for m in (model, same)
    )
    assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    if "other_order" not in name:
        fed = example(model)
        assert np.array_equal(outputs_of(same, fed)[0], outputs_of(model, fed)[0])
