"""Importance of units by a Taylor expansion of the loss.

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019: what the loss would
change without a channel is about the sum of weight times gradient, here over the scale and shift of
its BatchNormalization. The paper averages the squares over batches; their root is taken here, so
that importances of channels add up to changes of the loss.

Where some way passes a unit around every normalisation, the weights that write it count as well:
weight times gradient over the kernel and bias of one output channel is what a scale behind that
layer would have. Kernels that a normalisation follows add nothing, since no scale of theirs changes
the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.readers.keras_copy import in_float32
from morphnet_core.budget.callback import LatencyBudget
from morphnet_core.data import Data
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.signals.copying import copied
from morphnet_core.signals.gamma import gamma_sources
from morphnet_core.signals.group_lasso import group_lasso_sources
from morphnet_core.signals.source import Source, as_numpy
from morphnet_core.signals.ways import judging, ways_around


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
        model: a Keras model; not changed.
        data: to rate them on.
        loss: one or several, as ``compile`` takes them; see ``losses_of``.
        loss_weights: likewise.
        run_eagerly: likewise.
        batches: how many to average over.

    Returns:
        ``(units,)``; infinite for units that some way carries past every weight of a channel.
    """
    whole = in_float32(model)
    copy = copied(model) if whole is model else whole
    for layer in copy._flatten_layers():
        layer.trainable = True  # one that is not trained has no gradient, and may be worth much
    for variable in copy.trainable_variables:
        variable.regularizer = None  # what a unit costs is not what it is worth
    sources = _sources(grouping, copy)
    copy.compile(keras.optimizers.SGD(1.0), loss, loss_weights, run_eagerly=run_eagerly)
    weights = copy.get_weights()
    found = np.zeros(grouping.num_units)
    known = np.zeros(grouping.num_units, dtype=bool)
    for source in sources:
        known[source.units[source.units != NOBODY]] = True
    before = [_parts(source) for source in sources]
    steps = data.first(batches)
    for x, y, weights_of in steps:
        copy.train_on_batch(x, y, sample_weight=weights_of)
        change = np.zeros(grouping.num_units)
        for source, old in zip(sources, before, strict=True):
            # A step of rate 1 changes a weight by its gradient.
            first = sum(
                (was * (was - now)).sum(axis=1)
                for was, now in zip(old, _parts(source), strict=True)
            )
            mine = source.units != NOBODY
            np.add.at(change, source.units[mine], first[mine])
        found += change**2
        copy.set_weights(weights)
    return np.where(known, np.sqrt(found / len(steps)), np.inf)


def _sources(grouping: Grouping, model: Any) -> tuple[Source, ...]:
    """Normalisations, and what writes the units that some way carries past all of these."""
    norms = gamma_sources(grouping, model)
    around = list(ways_around(grouping, norms))
    writers = [
        replace(source, units=np.where(np.isin(source.units, around), source.units, NOBODY))
        for source in group_lasso_sources(grouping, model)
    ]
    return judging(grouping, (*norms, *writers))[0]


def _parts(source: Source) -> list[NDArray[np.float64]]:
    """``(channels, weights)`` of a source's variable and of its offset, where each has its own."""
    channels = len(source.units)
    arrays = [np.moveaxis(np.asarray(as_numpy(source.variable), dtype=float), source.axis, 0)]
    if source.offset is not None and source.offset.shape[-1] == channels:
        arrays.append(np.moveaxis(np.asarray(as_numpy(source.offset), dtype=float), -1, 0))
    return [array.reshape(channels, -1) for array in arrays]


def losses_of(model: Any) -> dict[str, Any]:
    """How a compiled model counts its loss, as ``taylor_importance`` is given it."""
    # No public property tells the weights.
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    return {"loss": model.loss, "loss_weights": weights, "run_eagerly": model.run_eagerly}


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
