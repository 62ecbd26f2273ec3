"""The original MorphNet's regularizers under their own names, on Keras 3.

Each is a ``CostRegularizer`` with the original's constructor and its raw, unnormalised term::

    regularizer = GammaFlopsRegularizer(model, gamma_threshold=1e-3)
    loss = task_loss + 1e-10 * regularizer.get_regularization_term()

or, in compiled training, without touching the loss::

    regularizer.model.fit(x, y, callbacks=[regularizer.callback(strength=1e-10)])

``output_boundary`` is a model, or Keras tensors at which the regularized part of a model ends; the
latter make a new model of the same layers, ``regularizer.model``. New code is better served by
``CostRegularizer``: any cost model, and a strength that does not depend on the unit.
"""

from __future__ import annotations

from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.network_regularizers.original import (
    GammaActivationRegularizer,
    GammaFlopsRegularizer,
    GammaLatencyRegularizer,
    GammaModelSizeRegularizer,
    GroupLassoActivationRegularizer,
    GroupLassoFlopsRegularizer,
    GroupLassoLatencyRegularizer,
    GroupLassoModelSizeRegularizer,
    LogisticSigmoidFlopsRegularizer,
    LogisticSigmoidLatencyRegularizer,
    LogisticSigmoidModelSizeRegularizer,
)

__all__ = [
    "GammaActivationRegularizer",
    "GammaFlopsRegularizer",
    "GammaLatencyRegularizer",
    "GammaModelSizeRegularizer",
    "GroupLassoActivationRegularizer",
    "GroupLassoFlopsRegularizer",
    "GroupLassoLatencyRegularizer",
    "GroupLassoModelSizeRegularizer",
    "LogisticSigmoidFlopsRegularizer",
    "LogisticSigmoidLatencyRegularizer",
    "LogisticSigmoidModelSizeRegularizer",
    "NetworkRegularizer",
]
