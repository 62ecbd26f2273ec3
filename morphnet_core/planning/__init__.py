"""plan: widths within a budget for any ONNX network, without training and without data.

``plan_widths(model, cost, target)`` rates channels by the norms of their weights, lets the
projection choose widths that the budget pays for, and names the layers as their PyTorch module
does, so that a pruner can apply them there.
"""

from __future__ import annotations

from morphnet_core.planning.importance import weight_importance
from morphnet_core.planning.naming import layer_names
from morphnet_core.planning.plan import LEAST, WidthPlan, plan_widths

__all__ = ["LEAST", "WidthPlan", "layer_names", "plan_widths", "weight_importance"]
