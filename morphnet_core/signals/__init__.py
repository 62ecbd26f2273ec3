"""Signals: how strongly each unit of channels is used, as a differentiable number.

A signal is made of sources (the gammas of one normalisation, the kernel of one layer, the gates)
and a rule by which several sources of one unit become one number.
"""

from __future__ import annotations

from morphnet_core.signals.choose import SIGNALS, Gamma, Gates, GroupLasso, Pressed, Signal, choose
from morphnet_core.signals.gamma import enable_gammas
from morphnet_core.signals.rules import RULES, UnitSignal
from morphnet_core.signals.source import Source

__all__ = [
    "RULES",
    "SIGNALS",
    "Gamma",
    "Gates",
    "GroupLasso",
    "Pressed",
    "Signal",
    "Source",
    "UnitSignal",
    "choose",
    "enable_gammas",
]
