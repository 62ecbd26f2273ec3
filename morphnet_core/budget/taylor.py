"""Importance of units by a Taylor expansion of the loss.

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019: what the loss would
change without a channel is about the sum of weight times gradient, here over the scale and shift of
its BatchNormalization. The paper averages the squares over batches; their root is taken here, so
that importances of channels add up to changes of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.readers.keras_copy import in_float32
from morphnet_core.budget.callback import LatencyBudget
from morphnet_core.data import Data
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.groups import Grouping
from morphnet_core.signals.copying import copied
from morphnet_core.signals.gamma import gamma_sources
from morphnet_core.signals.source import as_numpy
from morphnet_core.signals.ways import judging


def taylor_importance(
    grouping: Grouping,
    model: Any,
    data: Data,
    *,
    loss: Any,
    loss_weights: Any = None,
    run_eagerly: bool = False,
    batches: int = 16,
) -> NDArray[np.float64]:
    """What the loss changes by without each unit, to first order.

    Gradients are read as the change that one plain step of gradient descent makes, on a copy, so
    that the same code serves every backend of Keras. The copy computes in float32: gradients in 16
    bits may be none at all.

    Args:
        grouping: of the model.
        model: a Keras model with BatchNormalization; not changed.
        data: to rate them on.
        loss: one or several, as ``compile`` takes them; see ``losses_of``.
        loss_weights: likewise.
        run_eagerly: likewise.
        batches: how many to average over.

    Returns:
        ``(units,)``; infinite for units without a BatchNormalization on every way.
    """
    whole = in_float32(model)
    copy = copied(model) if whole is model else whole
    sources, _ = judging(grouping, gamma_sources(grouping, copy))
    norms = layers_by_path(copy)
    copy.compile(keras.optimizers.SGD(1.0), loss, loss_weights, run_eagerly=run_eagerly)
    weights = copy.get_weights()
    found = np.zeros(grouping.num_units)
    known = np.zeros(grouping.num_units, dtype=bool)
    before = {source.name: _scales(norms[source.name]) for source in sources}
    steps = data.first(batches)
    for x, y, weights_of in steps:
        copy.train_on_batch(x, y, sample_weight=weights_of)
        change = np.zeros(grouping.num_units)
        for source in sources:
            # A step of rate 1 changes a weight by its gradient.
            old, mine = before[source.name], source.units >= 0
            gradient = old - _scales(norms[source.name])
            np.add.at(change, source.units[mine], (old * gradient).sum(axis=0)[mine])
            known[source.units[mine]] = True
        found += change**2
        copy.set_weights(weights)
    return np.where(known, np.sqrt(found / len(steps)), np.inf)


def losses_of(model: Any) -> dict[str, Any]:
    """How a compiled model counts its loss, as ``taylor_importance`` is given it."""
    # No public property tells the weights.
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    return {"loss": model.loss, "loss_weights": weights, "run_eagerly": model.run_eagerly}


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

    def __init__(self, budget: LatencyBudget, data: Data) -> None:
        """Watch a budget.

        Args:
            budget: whose ``begin`` is waited for.
            data: to rate units on.
        """
        super().__init__()
        self._budget, self._data = budget, data
        self.importance: NDArray[np.float64] | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take it once."""
        if self.importance is None and self._budget.state.step >= self._budget.begin:
            self._budget.aim(self.take())

    def saved(self) -> dict[str, NDArray[Any]]:
        """What it has taken."""
        return {} if self.importance is None else {"importance": self.importance}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``saved`` gave."""
        self.importance = arrays.get("importance")

    def take(self) -> NDArray[np.float64]:
        """Take it now."""
        self.importance = taylor_importance(
            self._budget.grouping,
            self._budget.finished_model(),
            self._data,
            **losses_of(self._budget.model),
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
