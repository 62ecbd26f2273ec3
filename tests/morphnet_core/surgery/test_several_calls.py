"""Layers and nested models that are called several times: cut alike everywhere, or left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from comparing import grouped, random_alive, shrunk_exactly
from keras import layers
from keras_models import randomised

from morphnet_core.surgery import expand

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]
SIDE = 6


def conv(width: int = SIDE, **more: Any) -> Any:
    return layers.Conv2D(width, 1, **more)


def turned(x: Any) -> Any:
    """As wide as it is high and deep, so that any layer can read it both ways."""
    return layers.Permute((1, 3, 2))(x)


def nested(*stack: Any) -> Any:
    return keras.Sequential([keras.Input((SIDE, SIDE, SIDE)), *stack], name="nested")


def read_as(shared: Any, *ways: Callable[[Any], Any]) -> Any:
    """A model that calls a layer on several tensors of other layers, each made ready in its way."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    ends = []
    for number, way in enumerate(ways):
        x = layers.Conv2D(SIDE, 1, name=f"read_{number}")(image)
        ends.append(layers.Dense(2, name=f"end_{number}")(shared(way(x))))
    return randomised(keras.Model(image, ends))


def plain(x: Any) -> Any:
    return x


TURNED: dict[str, Callable[[], Any]] = {
    "conv": conv,
    "grouped": lambda: conv(groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "depthwise_times_two": lambda: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
    "dense": lambda: layers.Dense(SIDE),
    "separable": lambda: layers.SeparableConv2D(4, 3, padding="same"),
    "batch_norm": layers.BatchNormalization,
    "prelu": lambda: layers.PReLU(shared_axes=[1]),
    "group_norm": lambda: layers.GroupNormalization(3),
    "rescaling": lambda: layers.Rescaling([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    "nested": lambda: nested(layers.DepthwiseConv2D(3, padding="same"), conv(4)),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", TURNED)
def test_a_layer_also_called_along_another_axis_is_left(name: str, *, first: bool) -> None:
    ways = (turned, plain) if first else (plain, turned)
    model = read_as(TURNED[name](), *ways, plain)
    grouping = grouped(model)
    if name != "rescaling":  # its calls may differ: it has settings rather than weights
        for group in grouping.groups:
            assert group.frozen or not any(name.startswith("read") for name in group.producers)
    for seed in range(3):
        shrunk_exactly(model, grouping, random_alive(grouping, 0.5, seed))


def test_a_call_that_cannot_be_read_freezes_the_others() -> None:
    model = read_as(layers.TimeDistributed(layers.Dense(SIDE)), plain, turned)
    grouping = grouped(model)
    assert all(group.frozen for group in grouping.groups)


def test_the_reason_is_that_of_the_call() -> None:
    reason = grouped(read_as(conv(name="shared"), plain, turned)).by_name["read_0"].frozen
    assert reason.startswith("shared_2 cannot be followed: it is called")


FREE: dict[str, Callable[[], Any]] = {
    "reshape": lambda: layers.Reshape((SIDE * SIDE, SIDE)),
    "groups_without_weights": lambda: layers.GroupNormalization(3, center=False, scale=False),
    "nested_reshape": lambda: nested(layers.Reshape((SIDE * SIDE, SIDE)), layers.ReLU()),
    "activation": layers.ReLU,
}


@pytest.mark.parametrize("name", FREE)
def test_a_layer_without_weights_may_keep_other_channels_in_each_call(name: str) -> None:
    model = read_as(FREE[name](), plain, plain, plain)
    grouping = grouped(model)
    frozen = [group.name for group in grouping.groups if group.frozen]
    assert not [title for title in frozen if title.startswith("read")]
    for seed in range(4):
        shrunk_exactly(model, grouping, random_alive(grouping, 0.5, seed))


def test_as_many_layers_are_made_as_settings_are_needed() -> None:
    model = read_as(layers.Reshape((SIDE * SIDE, SIDE), name="flat"), plain, plain, plain)
    grouping = grouped(model)
    alive = grouping.full()
    alive[grouping.by_name["read_1"].start] = False
    small = shrunk_exactly(model, grouping, alive)
    made = [layer for layer in small.layers if isinstance(layer, layers.Reshape)]
    assert sorted(layer.target_shape for layer in made) == [(36, 5), (36, 6)]
    assert made[0].name == "flat"


def after(kind: Any, *before: Any) -> Any:
    """A model with one layer whose channels are cut as they are written."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = image
    for layer in before:
        x = layer(x)
    return randomised(keras.Model(image, conv(2)(kind(x))))


@pytest.mark.parametrize(
    "model",
    [
        lambda: after(layers.DepthwiseConv2D(3, depth_multiplier=8, name="cut")),
        lambda: after(layers.DepthwiseConv2D(3, depth_multiplier=8, name="cut"), conv(1)),
        lambda: after(layers.DepthwiseConv2D(3, depth_multiplier=3, name="cut"), conv(4), turned),
    ],
    ids=["one_channel", "one_written_channel", "another_axis"],
)
def test_a_depthwise_layer_gives_up_filters_where_its_channels_stay(model: Any) -> None:
    made = model()
    grouping = grouped(made)
    assert not grouping.by_name["cut"].frozen
    for seed in range(4):
        shrunk_exactly(made, grouping, random_alive(grouping, 0.5, seed))


@pytest.mark.parametrize("before", [(), (conv, turned)], ids=["one_channel", "another_axis"])
def test_what_a_separable_layer_makes_for_itself_stays(before: Any) -> None:
    stack = [layer() if layer is conv else layer for layer in before]
    model = after(layers.SeparableConv2D(5, 3, depth_multiplier=4, name="two"), *stack)
    grouping = grouped(model)
    free = [group for group in grouping.groups if not group.frozen]
    assert [(group.producers, group.size) for group in free] == [(("two",), 5)]
    assert "it stays within two" in {group.frozen for group in grouping.groups}
    for seed in range(3):
        shrunk_exactly(model, grouping, random_alive(grouping, 0.5, seed))


def test_a_depthwise_layer_over_one_channel_is_widened_with_it() -> None:
    """As keyword spotters begin: one channel, then eight filters for it."""
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.DepthwiseConv2D(3, depth_multiplier=8, name="filters")(conv(1)(image))
    model = keras.Model(image, layers.Conv2D(4, 1)(layers.ReLU()(x)))
    wide = expand(model, 2.0)
    assert wide.get_layer("filters").depth_multiplier == 8
    assert wide.get_layer("filters").output.shape[-1] == 16
