"""Fresh weights: rebuilding a structure, and expanding to other widths."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, outputs_of, random_alive, without
from keras import layers
from keras_models import MODELS, example, randomised

from costmodel.errors import InvalidInputError, ModelFormatError
from morphnet_core.expansion import expand_to
from morphnet_core.groups.convert import structure_of
from morphnet_core.surgery import expand, rebuild, shrink

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {item.path: tuple(item.shape) for item in model.weights}


@pytest.mark.parametrize("name", ["concat", "separable", "nested", "two_heads", "sequential"])
def test_rebuilt_is_shrunk_with_fresh_weights(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    structure = structure_of(grouping, random_alive(grouping, 0.6, 2))
    small, fresh = shrink(model, structure), rebuild(model, structure, seed=1)
    assert sorted(shapes_of(small).values()) == sorted(shapes_of(fresh).values())
    again, other = rebuild(model, structure, seed=1), rebuild(model, structure, seed=2)
    fed = example(model)
    assert np.array_equal(outputs_of(fresh, fed)[0], outputs_of(again, fed)[0])
    assert not np.array_equal(outputs_of(fresh, fed)[0], outputs_of(other, fed)[0])
    assert not np.array_equal(outputs_of(fresh, fed)[0], outputs_of(small, fed)[0])


def test_a_dead_branch_is_dropped_whatever_it_added() -> None:
    model = randomised(MODELS["depthwise"](keras))
    grouping = grouped(model)
    fresh = rebuild(model, without(grouping, "reduce"), grouping=grouping)
    assert not any("constant" in layer.name for layer in fresh.layers)
    assert not {"gate", "squeeze", "excite"} & {layer.name for layer in fresh.layers}


def test_what_was_measured_on_data_is_kept() -> None:
    image = keras.Input((6, 6, 3), name="image")
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(3.0, 2.0, (64, 6, 6, 3)))
    x = layers.Conv2D(4, 3, name="conv", kernel_initializer=keras.initializers.Ones())(norm(image))
    model = keras.Model(image, layers.Dense(2, name="head")(layers.Flatten(name="flat")(x)))
    grouping = grouped(model)
    fresh = rebuild(model, without(grouping), grouping=grouping)
    part = [keras.Model(item.input, item.get_layer("conv").output) for item in (model, fresh)]
    wanted, got = (outputs_of(item, example(model)) for item in part)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
def test_any_factor_gives_a_network(name: str) -> None:
    model = MODELS[name](keras)
    grouping = grouped(model)
    wide = expand(model, 1.3, grouping=grouping, seed=0)
    assert wide.count_params() > model.count_params()
    wanted = [item.shape for item in outputs_of(model, example(model))]
    assert [item.shape for item in outputs_of(wide, example(model))] == wanted
    assert [layer.name for layer in wide.layers] == [layer.name for layer in model.layers]


def test_tied_layers_get_one_width_and_multiples_hold() -> None:
    model = MODELS["residual"](keras)
    wide = expand(model, 1.4, multiple=4)
    widths = {name: wide.get_layer(name).filters for name in ("stem", "a1", "a2", "b1", "b2")}
    assert widths == {"stem": 8, "a1": 4, "a2": 8, "b1": 8, "b2": 8}
    assert wide.get_layer("head").units == 3
    narrow = expand(model, {"stem": 3, "b1": 11})
    assert (narrow.get_layer("a2").filters, narrow.get_layer("b1").filters) == (3, 11)


def test_slices_and_groups_of_channels_grow_in_proportion() -> None:
    wide = expand(MODELS["separable"](keras), 2.0)
    assert wide.get_layer("grouped").groups == 2
    assert wide.get_layer("grouped").filters == 16
    assert wide.get_layer("leaky").output.shape[-1] == 8
    assert wide.get_layer("cat").output.shape[-1] == 12


def test_a_shrunk_network_is_expanded_back_to_its_cost() -> None:
    model = MODELS["residual"](keras)
    grouping = grouped(model)
    small = rebuild(model, random_alive(grouping, 0.5, 1), grouping=grouping, seed=0)
    again = grouped(small)

    def price(counts: Any) -> float:
        """Kernel weights."""
        network = again.network
        sizes = {name: again.width(name, counts) for name in again.units}
        windows = ((layer, layer.op.weights[0][2:]) for layer in network.layers if layer.op.weights)
        return float(
            sum(
                sizes[layer.inputs[0]] * sizes[layer.outputs[0]] * int(np.prod(window))
                for layer, window in windows
                if layer.op.kind in {"conv", "gemm"}
            )
        )

    def weights(network: Any) -> int:
        return sum(
            int(np.prod(shape)) for path, shape in shapes_of(network).items() if "kernel" in path
        )

    assert price(again.counts(again.full())) == weights(small)
    found = expand_to(again, again.counts(again.full()), price, weights(model))
    wide = expand(small, np.array(found.counts), grouping=again)
    assert found.multiplier > 1.0
    assert found.cost == weights(wide)
    assert 0.7 * weights(model) < weights(wide) <= weights(model)


def test_widths_of_no_group_are_refused() -> None:
    model = MODELS["chain"](keras)
    with pytest.raises(InvalidInputError, match="no group of channels 'conv9'; there are image"):
        expand(model, {"conv9": 3})
    with pytest.raises(InvalidInputError, match="3 channels of 'head' cannot change: it is the"):
        expand(model, {"head": 4})
    with pytest.raises(InvalidInputError, match="one count from 0 for each of 5 groups"):
        expand(model, np.array([1, 2]))
    other = MODELS["unet"](keras)
    with pytest.raises(ModelFormatError, match="is of another model"):
        expand(other, 1.5, grouping=grouped(model))
