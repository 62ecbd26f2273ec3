from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers, ops

from costmodel.errors import InvalidInputError
from morphnet_core.groups import Grouping
from morphnet_core.regularizer import CostRegularizer
from morphnet_core.signals import SIGNALS, Source, choose
from morphnet_core.signals.source import as_float32

pytestmark = pytest.mark.keras


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A signal of somebody else's: the size of the biases of layers called ``conv...``."""

    lacking: ClassVar[str] = "no convolution with a bias writes its channels"
    threshold: float = 0.05

    def sources(self, grouping: Grouping, model: Any) -> tuple[Source, ...]:
        found = []
        for layer in grouping.network.layers:
            if layer.op.kind == "conv":
                bias = model.get_layer(layer.name.rpartition("/")[2]).bias
                values = partial(lambda bias: ops.abs(as_float32(bias)), bias)
                units = grouping.units[layer.name]
                found.append(Source(name=layer.name, units=units, values=values, variable=bias))
        return tuple(found)


def test_a_signal_of_ones_own_decides_what_is_alive() -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.ReLU()(layers.Conv2D(3, 3, name="conv1")(inputs))
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.get_layer("conv1").bias.assign([1.0, 0.0, -1.0])
    structure = CostRegularizer(model, "flops", signal=Bias()).structure()
    assert structure.counts["conv1/Conv2D"] == 2
    term = float(np.asarray(ops.convert_to_numpy(sum(model.losses))))
    assert term > 0.0


def test_a_threshold_of_ones_own_is_kept() -> None:
    assert choose(Bias(), 0.5) == Bias(threshold=0.5)
    assert choose("gamma", 0.02).threshold == 0.02
    for name, signal in SIGNALS.items():
        assert choose(name) is signal
        assert signal.lacking
    with pytest.raises(InvalidInputError, match="must be at least 0"):
        choose("gamma", -1.0)
    with pytest.raises(InvalidInputError, match="Use one of gamma, group_lasso"):
        choose("bias")
