"""Whole branches go exactly: what is left is the seed with nothing in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, largest_error, outputs_of
from keras import layers
from keras_models import MODELS, example, randomised

from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_blocks, resize
from morphnet_core.groups.convert import alive_of, structure_of
from morphnet_core.morphing.clock import as_onnx
from morphnet_core.morphing.verify import same_outputs
from morphnet_core.structure import Structure
from morphnet_core.surgery import shrink

pytestmark = pytest.mark.keras


def residual(*, cut: bool = False, relu: Any = None) -> Any:
    """Two blocks; with ``cut`` the branch of the first is multiplied by zero."""
    activated = relu or (lambda name: layers.ReLU(name=name))
    inputs = keras.Input((8, 8, 3), name="image")
    x = activated("stem_relu")(layers.Conv2D(6, 3, padding="same", name="stem")(inputs))
    for name in "ab":
        y = layers.Conv2D(5, 3, padding="same", name=f"{name}1")(x)
        y = layers.ReLU(name=f"{name}1_relu")(layers.BatchNormalization(name=f"{name}1_bn")(y))
        y = layers.Conv2D(6, 3, padding="same", name=f"{name}2")(y)
        y = layers.BatchNormalization(name=f"{name}2_bn")(y)
        if cut and name == "a":
            y = layers.Rescaling(0.0, name="mask")(y)
        x = activated(f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    outputs = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, outputs, name="net")


def test_the_cut_network_is_the_masked_seed(tmp_path: Path) -> None:
    model = randomised(residual())
    grouping = grouped(model)
    block = next(item for item in find_blocks(grouping) if item.name == "a1")
    kept = block.without(grouping, grouping.full())
    examples = [np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")]
    small = shrink(model, kept, grouping=grouping, constants=False, examples=examples)
    masked = residual(cut=True)
    for layer in model.layers:
        masked.get_layer(layer.name).set_weights(layer.get_weights())
    fed = example(model)
    assert largest_error(outputs_of(small, fed), outputs_of(masked, fed)) < 1e-5
    names = [layer.name for layer in small.layers]
    assert not any(name.startswith("a") for name in names), "nor a second ReLU"
    exported = as_onnx(small, tmp_path / "small.onnx")
    assert max(same_outputs(small, exported, examples[0][:1]).values()) < 1e-4
    path = structure_of(grouping, kept).save(tmp_path / "s.json")
    loaded = Structure.load(path)
    assert set(loaded.removed) == {
        "a1", "a1_bn", "a1_relu", "a2", "a2_bn", "a_add", "a_relu",
    }  # fmt: skip
    assert (alive_of(grouping, loaded) == kept).all()
    assert loaded.counts["a1/Conv2D"] == 0


RELUS: dict[str, tuple[Any, bool]] = {
    "relu6": (lambda name: layers.Activation("relu6", name=name), True),
    "top": (lambda name: layers.ReLU(max_value=6.0, name=name), True),
    "function": (lambda _: keras.ops.relu, True),
    "slope": (lambda name: layers.ReLU(negative_slope=0.1, name=name), False),
    "tanh": (lambda name: layers.Activation("tanh", name=name), False),
}


@pytest.mark.parametrize("kind", RELUS)
def test_an_activation_runs_twice_only_where_that_changes_something(kind: str) -> None:
    relu, once = RELUS[kind]
    model = randomised(residual(relu=relu))
    grouping = grouped(model)
    kept = find_blocks(grouping)[0].without(grouping, grouping.full())
    small = shrink(model, kept, grouping=grouping, constants=False)  # which compares
    # Gone are two convolutions, normalisations, the activation between them, and the sum.
    assert len(model.operations) - len(small.operations) == 6 + once
    written, priced = read_keras(small), resize(grouping, kept)
    assert [layer.op for layer in written.layers] == [layer.op for layer in priced.layers]


@pytest.mark.parametrize("name", ["residual", "depthwise", "two_heads"])
def test_every_block_of_other_networks_goes_exactly(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    for block in find_blocks(grouping):
        kept = block.without(grouping, grouping.full())
        small = shrink(model, kept, grouping=grouping, constants=False)  # which compares
        assert small.count_params() < model.count_params()
        there = {layer.name for layer in small.layers}
        assert not there.intersection(block.layers)
