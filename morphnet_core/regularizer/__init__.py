"""Training under a price: the penalty in the model, its schedule, and what is told about it."""

from __future__ import annotations

from morphnet_core.regularizer.callback import DEFAULT_STRENGTH, CostRegularizer
from morphnet_core.regularizer.log import ScalarWriter
from morphnet_core.regularizer.penalty import PenaltyState
from morphnet_core.regularizer.report import Report
from morphnet_core.regularizer.watch import RegularizationWarning

__all__ = [
    "DEFAULT_STRENGTH",
    "CostRegularizer",
    "PenaltyState",
    "RegularizationWarning",
    "Report",
    "ScalarWriter",
]
