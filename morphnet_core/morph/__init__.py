"""From a model, data and a budget to a trained network that keeps it, in one call."""

from __future__ import annotations

from morphnet_core.morph.clock import Clock, DeviceClock
from morphnet_core.morph.loop import LoopResult, LoopRound, fit_to_device
from morphnet_core.morph.morph import Data, Morphed, morph

__all__ = [
    "Clock",
    "Data",
    "DeviceClock",
    "LoopResult",
    "LoopRound",
    "Morphed",
    "fit_to_device",
    "morph",
]
