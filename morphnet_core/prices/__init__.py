"""Prices: what a channel of each group costs on a target, at the present structure.

``Pricer(grouping, cost).prices(alive)`` is all that training needs; ``Pricer.tables`` and
``Pricer.candidate_widths`` are what a projection onto a budget chooses from.
"""

from __future__ import annotations

from morphnet_core.prices.pricer import GroupPrices, Pricer
from morphnet_core.prices.targets import COUNTS, Count, target

__all__ = ["COUNTS", "Count", "GroupPrices", "Pricer", "target"]
