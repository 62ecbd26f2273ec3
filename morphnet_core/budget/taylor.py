"""Importance of units by a Taylor expansion of the loss.

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019: what the loss would
change without a channel is about the sum of weight times gradient, here over the scale and shift of
its BatchNormalization. The paper averages the squares over batches; their root is taken here, so
that importances of channels add up to changes of the loss.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.budget.callback import LatencyBudget
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.groups import Grouping
from morphnet_core.signals.copying import copied
from morphnet_core.signals.gamma import gamma_sources
from morphnet_core.signals.source import as_numpy
from morphnet_core.signals.ways import judging


def taylor_importance(
    grouping: Grouping, model: Any, x: Any, y: Any, *, loss: Any, batch: int = 64, batches: int = 16
) -> NDArray[np.float64]:
    """What the loss changes by without each unit, to first order.

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
        ``(units,)``; infinite for units without a BatchNormalization on every way.

    Raises:
        InvalidInputError: for no data.
    """
    if len(x) < 1:
        message = "Importance needs at least one sample."
        raise InvalidInputError(message)
    copy = copied(model)
    sources, _ = judging(grouping, gamma_sources(grouping, copy))
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
    return np.where(known, np.sqrt(found / len(starts)), np.inf)


def _scales(layer: Any) -> NDArray[np.float64]:
    """``(2, channels)`` scale and shift; zeros where there is no shift."""
    gamma = np.asarray(as_numpy(layer.gamma), dtype=float)
    beta = getattr(layer, "beta", None)
    shift = np.zeros_like(gamma) if beta is None else np.asarray(as_numpy(beta), dtype=float)
    return np.stack([gamma, shift])


class TaylorSnapshot(keras.callbacks.Callback):  # type: ignore[misc]
    """Importance of units when a budget begins to press on them.

    Afterwards it tells little of what a group is worth: what is pressed on is small because it was.
    So the value of each group is taken here, and only which of its units are the best is left to
    the end (see ``in_order_of``). The budget then presses towards the widths that it pays for.

    Attributes:
        importance: ``(units,)``, of ``taylor_importance``; None until then.
    """

    def __init__(self, budget: LatencyBudget, x: Any, y: Any, *, batch: int = 64) -> None:
        """Watch a budget.

        Args:
            budget: whose ``begin`` is waited for.
            x: inputs.
            y: targets.
            batch: samples a batch.
        """
        super().__init__()
        self._budget, self._data, self._batch = budget, (x, y), batch
        self.importance: NDArray[np.float64] | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take it once."""
        if self.importance is None and self._budget.state.step >= self._budget.begin:
            self._budget.aim(self.take())

    def take(self) -> NDArray[np.float64]:
        """Take it now."""
        self.importance = taylor_importance(
            self._budget.grouping,
            self._budget.finished_model(),
            *self._data,
            loss=self._budget.model.loss,
            batch=self._batch,
        )
        return self.importance


def in_order_of(
    grouping: Grouping, importance: NDArray[np.float64], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Each group's importances, given to its units in the order of other scores.

    Args:
        grouping: of the network.
        importance: ``(units,)`` what the units are worth.
        scores: ``(units,)`` the greatest of a group gets the greatest importance of the group.

    Returns:
        ``(units,)``.
    """
    result = np.array(importance, dtype=float)
    for group in grouping.groups:
        order = np.argsort(-np.asarray(scores[group.units], dtype=float), kind="stable")
        result[group.start + order] = np.sort(importance[group.units])[::-1]
    return result
