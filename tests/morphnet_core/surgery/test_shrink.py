"""Shrinking: every wiring stays exact, dead branches vanish, names and settings stay."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from comparing import (
    grouped,
    outputs_of,
    random_alive,
    shrunk_exactly,
    without,
)
from keras import layers
from keras_models import MODELS, example, randomised

from morphnet_core.groups.convert import structure_of
from morphnet_core.structure import Structure
from morphnet_core.surgery import shrink

pytestmark = [
    pytest.mark.keras,
    # A network of which next to nothing is left says so.
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize(("seed", "share"), [(0, 0.6), (1, 0.3)])
def test_a_random_structure_is_exact(name: str, seed: int, share: float) -> None:
    model = randomised(MODELS[name](keras), seed)
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, random_alive(grouping, share, seed))
    assert small.count_params() < model.count_params()
    assert small.name == model.name
    known = {layer.name for layer in model.layers}
    assert all(layer.name.removesuffix("_constant") in known for layer in small.layers)


@pytest.mark.parametrize("name", list(MODELS))
def test_keeping_everything_changes_nothing(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    same = shrunk_exactly(model, grouping, grouping.full())
    assert [layer.name for layer in same.layers] == [layer.name for layer in model.layers]
    assert same.count_params() == model.count_params()
    assert type(same) is type(model)


def test_a_saved_structure_shrinks_the_model(tmp_path: Any) -> None:
    model = randomised(MODELS["residual"](keras))
    grouping = grouped(model)
    alive = random_alive(grouping, 0.6, 5)
    path = structure_of(grouping, alive).save(tmp_path / "s.json")
    small = shrink(model, Structure.load(path))
    wanted = shrink(model, alive, grouping=grouping)
    assert outputs_of(small, example(model))[0].tolist() == (
        outputs_of(wanted, example(model))[0].tolist()
    )


def test_a_dead_residual_branch_leaves_its_constant() -> None:
    model = randomised(MODELS["residual"](keras))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "a1"))
    names = [layer.name for layer in small.layers]
    assert not {"a1", "a1_bn", "a2", "a2_bn", "add_a"} & set(names)
    assert isinstance(small.get_layer("add_a_constant"), layers.Rescaling)
    assert len(small.get_layer("add_a_constant").offset) == 6


def test_a_branch_that_adds_nothing_leaves_no_layer() -> None:
    model = randomised(MODELS["residual"](keras))
    norm = model.get_layer("a2_bn")
    model.get_layer("a2").bias.assign(np.zeros(6))
    norm.moving_mean.assign(np.zeros(6))
    norm.beta.assign(np.zeros(6))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "a1"))
    assert not any("add_a" in layer.name for layer in small.layers)


def test_a_dead_projection_leaves_the_other_branch() -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    middle = layers.Conv2D(3, 1, name="middle")(x)
    y = layers.Conv2D(5, 3, padding="same", name="first")(middle)
    z = layers.Conv2D(5, 1, activation="sigmoid", name="second")(x)
    for kind in (layers.Add, layers.Multiply, layers.Subtract, layers.Average):
        x = kind(name=kind.__name__.lower())([y, z])
        out = layers.Conv2D(2, 1, name="head")(x)
        model = randomised(keras.Model(image, out))
        grouping = grouped(model)
        small = shrunk_exactly(model, grouping, without(grouping, "middle"))
        assert [layer.name for layer in small.layers] == [
            *("image", "stem", "second", f"{kind.__name__.lower()}_constant", "head"),
        ]


def test_a_dead_concatenated_branch_vanishes() -> None:
    model = randomised(MODELS["concat"](keras))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "a2", "b1", "b4"))
    names = {layer.name for layer in small.layers}
    assert not {"a2", "a3", "a3_bn", "b1", "b1_act", "b_pool", "b4"} & names
    assert "a_cat" in names  # of two
    assert "b_cat" not in names  # of one


def test_a_gate_that_is_left_constant_is_folded() -> None:
    model = randomised(MODELS["depthwise"](keras))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "reduce"))
    names = {layer.name for layer in small.layers}
    assert not {"squeeze", "reshape", "reduce", "excite", "gate"} & names
    assert len(small.get_layer("gate_constant").scale) == 8


@pytest.mark.filterwarnings("default:All channels of:UserWarning")
def test_a_constant_that_differs_at_the_border_keeps_a_channel() -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    y = layers.Conv2D(3, 1, name="gone")(x)
    y = layers.Conv2D(4, 1, name="bias")(y)
    x = layers.Add(name="tie")([x, y])
    y = layers.Conv2D(5, 3, padding="same", name="border")(y)
    x = layers.Add(name="add")([layers.Conv2D(5, 1, name="other")(x), y])
    model = randomised(keras.Model(image, layers.Conv2D(2, 1, name="head")(x)))
    grouping = grouped(model)
    with pytest.warns(UserWarning, match="All channels of 'gone' were to go, but then add would"):
        small = shrunk_exactly(model, grouping, without(grouping, "gone"))
    assert small.get_layer("gone").filters == 1
    assert not np.asarray(keras.ops.convert_to_numpy(small.get_layer("bias").kernel)).any()


@pytest.mark.filterwarnings("default:All channels of:UserWarning")
def test_a_network_of_which_nothing_is_left_is_still_exact() -> None:
    model = randomised(MODELS["concat"](keras))
    grouping = grouped(model)
    gone = [group.name for group in grouping.groups if not group.frozen]
    with pytest.warns(UserWarning, match="One channel each is kept") as caught:
        small = shrunk_exactly(model, grouping, without(grouping, *gone))
    assert sum("All channels" in str(item.message) for item in caught) == 1
    assert small.count_params() < 100


def test_nested_models_stay_nested_and_shared() -> None:
    model = randomised(MODELS["nested"](keras))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, random_alive(grouping, 0.6, 3))
    backbone = small.get_layer("backbone")
    assert isinstance(backbone, keras.Model)
    assert len(backbone._inbound_nodes) >= 2
    assert isinstance(small.get_layer("head"), keras.Sequential)
    assert backbone.get_layer("conv1").filters < 5


def test_a_nested_model_of_which_an_output_dies_is_opened() -> None:
    inner = keras.Input((8, 8, 4), name="inner")
    one = layers.Conv2D(3, 3, padding="same", name="conv")(inner)
    two = layers.Conv2D(2, 3, padding="same", name="two")(inner)
    nested = keras.Model(inner, [one, two], name="nested")
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 1, name="conv")(image)
    x = layers.Concatenate(name="cat")(nested(x))
    model = randomised(keras.Model(image, layers.Conv2D(2, 1, name="head")(x)))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "nested/two"))
    assert [layer.name for layer in small.layers] == ["image", "conv", "nested_conv", "head"]


def test_a_shrunk_model_shrinks_again() -> None:
    model = randomised(MODELS["depthwise"](keras))
    grouping = grouped(model)
    small = shrunk_exactly(model, grouping, without(grouping, "reduce"))
    again = grouped(small)
    alive = again.full()
    alive[again.by_name["expand"].units] = [True, False] * 4
    smaller = shrunk_exactly(small, again, alive)
    assert len(smaller.get_layer("gate_constant").scale) == 4


def test_settings_of_layers_are_kept() -> None:
    image = keras.Input((8, 8, 3), name="image")
    policy = keras.DTypePolicy("mixed_float16")
    x = layers.Conv2D(
        6, 3, name="conv", kernel_regularizer=keras.regularizers.L2(0.5), dtype=policy
    )(image)
    x = layers.BatchNormalization(name="bn", momentum=0.7, trainable=False)(x)
    model = randomised(keras.Model(image, layers.Conv2D(2, 1, name="head", trainable=False)(x)))
    grouping = grouped(model)
    alive = grouping.full()
    alive[grouping.by_name["conv"].start] = False
    small = shrink(model, alive, grouping=grouping)
    conv, norm = small.get_layer("conv"), small.get_layer("bn")
    assert conv.dtype_policy.name == "mixed_float16"
    assert float(conv.kernel_regularizer.l2) == 0.5
    assert norm.momentum == 0.7
    assert not norm.trainable
    assert [item.path for item in small.trainable_weights] == ["conv/kernel", "conv/bias"]


def test_inputs_by_name_and_outputs_by_name_stay() -> None:
    one, two = keras.Input((8, 8, 3), name="one"), keras.Input((8, 8, 2), name="two")
    x = layers.Concatenate(name="cat")([one, layers.Conv2D(3, 1, name="lift")(two)])
    x = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.Dense(3, name="y")(layers.GlobalAveragePooling2D(name="mean")(x))
    model = randomised(keras.Model({"two": two, "one": one}, {"y": y, "map": x}))
    grouping = grouped(model, exclude=["conv"])
    alive = grouping.full()
    alive[grouping.by_name["lift"].start] = False
    small = shrink(model, alive, grouping=grouping)
    assert sorted(small.input) == ["one", "two"]
    assert sorted(small.output) == ["map", "y"]
    assert small.get_layer("conv").kernel.shape[2] == 5
