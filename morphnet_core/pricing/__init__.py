"""Prices: what a channel of each group costs on a target, at the present structure.

``Pricer(grouping, cost).channel_prices(alive)`` is all that training needs; ``Pricer.tables`` and
``Pricer.candidate_widths`` are what a projection onto a budget chooses from.
"""

from __future__ import annotations

from costmodel._moved import moved_names
from morphnet_core.pricing.pricer import ChannelPrices, Pricer
from morphnet_core.pricing.targets import COUNTS, Cost, Count, target

__all__ = ["COUNTS", "ChannelPrices", "Cost", "Count", "Pricer", "target"]

__getattr__ = moved_names(__name__, {"GroupPrices": ":ChannelPrices"})
