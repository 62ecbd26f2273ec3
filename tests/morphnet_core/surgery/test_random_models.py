"""Whatever a Keras model is made of, cutting equals masking activations, and nothing raises."""

from __future__ import annotations

import pytest
from drawn_cuts import keras_cut
from random_keras import RandomKeras

from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_groups
from morphnet_core.surgery import expand, rebuild

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]
#: Models of one test.
EACH = 2


@pytest.mark.parametrize("first", range(0, 20 * EACH, EACH))
def test_a_random_cut_equals_the_masked_model(first: int) -> None:
    for seed in range(first, first + EACH):
        found = keras_cut(seed)
        assert found.whole <= 1e-7, seed
        assert found.error <= 1e-6, seed
        assert not found.unreasoned, seed


#: Models that could once not be cut: layers and nested models called along several axes, a
#: depthwise layer along another axis than its channels', poolings in 3-D.
REFUSED = (60, 188, 196, 241, 363, 428, 586, 656, 713, 729)


@pytest.mark.parametrize("seed", REFUSED)
def test_no_model_is_refused(seed: int) -> None:
    found = keras_cut(seed)
    assert found.whole <= 1e-7
    assert found.error <= 1e-6
    assert not found.unreasoned


@pytest.mark.parametrize("seed", range(100, 106))
def test_fresh_weights_at_other_widths(seed: int) -> None:
    model = RandomKeras(seed).model()
    grouping = find_groups(read_keras(model))
    shapes = [item.shape for item in model.outputs]
    for made in (rebuild(model, grouping.full(), seed=0), expand(model, 1.5)):
        assert [item.shape for item in made.outputs] == shapes
