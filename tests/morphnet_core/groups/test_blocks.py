"""What can go as a whole: branches of sums, of concatenations, and gates."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from comparing import grouped
from keras import layers
from keras_models import MODELS

from morphnet_core.groups import find_blocks, vanished

pytestmark = pytest.mark.keras


def named(grouping: Any) -> dict[str, list[str]]:
    """By block, its groups."""
    return {
        block.name: [grouping.groups[index].name for index in block.groups]
        for block in find_blocks(grouping)
    }


def test_a_residual_branch_is_one_block_with_all_its_layers() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(6, 1, name="a")(x)
    y = layers.ReLU(name="a_relu")(layers.BatchNormalization(name="a_bn")(y))
    y = layers.Conv2D(6, 3, padding="same", name="b")(y)
    y = layers.Conv2D(4, 1, name="c")(layers.ReLU(name="b_relu")(y))
    x = layers.Add(name="sum")([x, layers.BatchNormalization(name="c_bn")(y)])
    outputs = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D(name="pool")(x))
    grouping = grouped(keras.Model(inputs, outputs))
    (block,) = find_blocks(grouping)
    assert named(grouping) == {"a": ["a", "b"]}
    gone = {"a", "a_bn", "a_relu", "b", "b_relu", "c", "c_bn"}
    assert gone <= set(block.layers) <= gone | {"sum"}
    left = block.without(grouping, grouping.full())
    assert vanished(grouping, grouping.counts(left)) == block.layers
    assert vanished(grouping, grouping.full_counts) == ()


def test_branches_and_gates_are_blocks_and_what_is_needed_is_none() -> None:
    grouping = grouped(MODELS["depthwise"](keras))
    found = named(grouping)
    assert "reduce" in {name for names in found.values() for name in names}, "the gate's own"
    for block in find_blocks(grouping):
        assert not any(grouping.groups[index].frozen for index in block.groups)
    grouping = grouped(MODELS["concat"](keras))
    assert len(named(grouping)) > 2
    assert find_blocks(grouped(MODELS["concat"](keras), minimum=1)) == ()


def test_a_chain_has_none() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    outputs = layers.Conv2D(2, 3, name="b")(x)
    assert find_blocks(grouped(keras.Model(inputs, outputs))) == ()


def averaged(count: int) -> Any:
    """Ways beside each other, all of one input, and their average."""
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    ways = [stem]
    for name in "ab"[: count - 1]:
        y = layers.Conv2D(6, 1, name=f"{name}1")(stem)
        ways.append(layers.Conv2D(4, 1, name=f"{name}2")(y))
    x = layers.GlobalAveragePooling2D()(layers.Average()(ways))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_of_an_average_a_branch_goes_where_one_stays() -> None:
    """No layer divides the sum of two by three."""
    assert named(grouped(averaged(2))) == {"a1": ["a1"]}
    assert named(grouped(averaged(3))) == {}
