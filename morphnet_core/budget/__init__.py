"""Budgets: milliseconds are asked for, and the strength of the penalty follows from them."""

from __future__ import annotations

from morphnet_core.budget.callback import LatencyBudget, Limit
from morphnet_core.budget.controller import Controller, Path

__all__ = ["Controller", "LatencyBudget", "Limit", "Path"]
