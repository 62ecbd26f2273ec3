"""From a model, data and a budget to a trained network that keeps it, in one call."""

from __future__ import annotations

from morphnet_core.morph.clock import Clock, DeviceClock
from morphnet_core.morph.data import Data
from morphnet_core.morph.loop import LoopResult, LoopRound, device_rounds, fit_to_device
from morphnet_core.morph.morph import Morphed, morph
from morphnet_core.morph.recipe import Recipe, load_recipe, standard

__all__ = [
    "Clock",
    "Data",
    "DeviceClock",
    "LoopResult",
    "LoopRound",
    "Morphed",
    "Recipe",
    "device_rounds",
    "fit_to_device",
    "load_recipe",
    "morph",
    "standard",
]
