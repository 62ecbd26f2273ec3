"""MorphNet on Keras 3, priced by any cost model of ``costmodel``.

>>> import morphnet_core as mc
>>> regularizer = mc.CostRegularizer(model, "cpu.jsonl")  # doctest: +SKIP
>>> model.fit(x, y, callbacks=[regularizer])  # doctest: +SKIP
>>> smaller = mc.shrink(model, regularizer.structure())  # doctest: +SKIP

Everything is imported at its first use: ``import morphnet_core`` needs neither Keras nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel._lazy import lazy_names
from costmodel._moved import moved_modules
from costmodel.errors import missing_extra

if TYPE_CHECKING:
    from morphnet_core.budget import LatencyBudget
    from morphnet_core.morphing import Data, morph
    from morphnet_core.regularizer import CostRegularizer
    from morphnet_core.structure import Structure
    from morphnet_core.surgery import expand, rebuild, shrink
    from morphnet_core.uses.aligning import align
    from morphnet_core.uses.planning import plan
    from morphnet_core.uses.sweeping import sweep

__all__ = [
    "CostRegularizer",
    "Data",
    "LatencyBudget",
    "Structure",
    "align",
    "expand",
    "morph",
    "plan",
    "rebuild",
    "shrink",
    "sweep",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CostRegularizer": "regularizer",
        "Data": "morphing",
        "LatencyBudget": "budget",
        "Structure": "structure",
        "align": "uses.aligning",
        "expand": "surgery",
        "morph": "morphing",
        "network_regularizers.gamma": "network_regularizers.original",
        "network_regularizers.group_lasso": "network_regularizers.original",
        "network_regularizers.logistic_sigmoid": "network_regularizers.original",
        "plan": "uses.planning",
        "rebuild": "surgery",
        "shrink": "surgery",
        "sweep": "uses.sweeping",
    },
    missing_extra,
)

moved_modules(
    __name__,
    {
        "align": "alignment",
        "morph": "morphing",
        "network_regularizers.gamma": "network_regularizers.original",
        "network_regularizers.group_lasso": "network_regularizers.original",
        "network_regularizers.logistic_sigmoid": "network_regularizers.original",
        "pictures": "plots",
        "prices": "pricing",
        "signals.taylor": "budget.taylor",
    },
)
