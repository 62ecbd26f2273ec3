"""Importance of units by a Taylor expansion of the loss.

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019: what the loss would
change without a channel is about the square of the sum of weight times gradient, here over the
scale and shift of its BatchNormalization, averaged over batches.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.groups import Grouping
from morphnet_core.signals.copying import copied
from morphnet_core.signals.gamma import gamma_sources
from morphnet_core.signals.source import as_numpy


def taylor_importance(
    grouping: Grouping, model: Any, x: Any, y: Any, *, loss: Any, batch: int = 64, batches: int = 16
) -> NDArray[np.float64]:
    """What the loss would lose with each unit.

    Gradients are read as the change that one plain step of gradient descent makes, on a copy, so
    that the same code serves every backend of Keras.

    Args:
        grouping: of the model.
        model: a Keras model with BatchNormalization; not changed.
        x: inputs.
        y: targets.
        loss: of the model.
        batch: samples a batch.
        batches: how many to average over.

    Returns:
        ``(units,)``; infinite for units without a BatchNormalization.

    Raises:
        InvalidInputError: for no data.
    """
    if len(x) < 1:
        message = "Importance needs at least one sample."
        raise InvalidInputError(message)
    copy = copied(model)
    sources = gamma_sources(grouping, copy)
    norms = layers_by_path(copy)
    copy.compile(keras.optimizers.SGD(1.0), loss)
    weights = copy.get_weights()
    found = np.zeros(grouping.num_units)
    known = np.zeros(grouping.num_units, dtype=bool)
    before = {source.name: _scales(norms[source.name]) for source in sources}
    starts = range(0, min(len(x), batch * batches), batch)
    for start in starts:
        copy.train_on_batch(x[start : start + batch], y[start : start + batch])
        change = np.zeros(grouping.num_units)
        for source in sources:
            # A step of rate 1 changes a weight by its gradient.
            old, mine = before[source.name], source.units >= 0
            gradient = old - _scales(norms[source.name])
            np.add.at(change, source.units[mine], (old * gradient).sum(axis=0)[mine])
            known[source.units[mine]] = True
        found += change**2
        copy.set_weights(weights)
    return np.where(known, found / len(starts), np.inf)


def _scales(layer: Any) -> NDArray[np.float64]:
    """``(2, channels)`` scale and shift; zeros where there is no shift."""
    gamma = np.asarray(as_numpy(layer.gamma), dtype=float)
    beta = getattr(layer, "beta", None)
    shift = np.zeros_like(gamma) if beta is None else np.asarray(as_numpy(beta), dtype=float)
    return np.stack([gamma, shift])
