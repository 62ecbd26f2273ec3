"""Compares a shrunk model with the original whose dead channels are read as zero."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras_models import example

from costmodel.readers.keras import read_keras
from morphnet_core.groups import Grouping, cascade, find_groups
from morphnet_core.surgery import masked, shrink


def outputs_of(model: Any, fed: Any) -> list[Any]:
    """Every output of a model at inference, as arrays."""
    results = keras.tree.flatten(model(fed, training=False))
    return [values(item) for item in results]


def values(tensor: Any) -> Any:
    """A tensor as an array of 64-bit floats."""
    return np.asarray(keras.ops.convert_to_numpy(tensor)).astype("float64")


def largest_error(got: list[Any], wanted: list[Any]) -> float:
    """Largest difference over the largest value, over all outputs."""
    assert [item.shape for item in got] == [item.shape for item in wanted]
    return max(
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3))
        for a, b in zip(got, wanted, strict=True)
    )


def grouped(model: Any, **options: Any) -> Grouping:
    return find_groups(read_keras(model), **options)


def random_alive(grouping: Grouping, share: float, seed: int) -> Any:
    """About a share of all units; groups that must stay do, and some die as a whole."""
    random = np.random.default_rng(seed)
    alive = random.random(grouping.num_units) < share
    for group in grouping.groups:
        alive[group.units] &= random.random() < 0.9
        if group.frozen:
            alive[group.units] = True
        if alive[group.units].sum() < group.minimum:
            alive[group.start + group.size - group.minimum : group.start + group.size] = True
    return alive


def without(grouping: Grouping, *names: str) -> Any:
    """All units but those of some groups."""
    alive = grouping.full()
    for name in names:
        alive[grouping.by_name[name].units] = False
    return alive


def shrunk_exactly(model: Any, grouping: Grouping, alive: Any) -> Any:
    """The shrunk model, after asserting that it computes what the masked one does."""
    fed = example(model)
    wanted = [values(item) for item in masked(model, grouping, cascade(grouping, alive))(fed)]
    before = [np.array(keras.ops.convert_to_numpy(item)) for item in model.weights]
    small = shrink(model, alive, grouping=grouping)
    assert largest_error(outputs_of(small, fed), wanted) <= 1e-5
    after = [keras.ops.convert_to_numpy(item) for item in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    return small
