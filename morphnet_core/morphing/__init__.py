"""From a model, data and a budget to a trained network that keeps it, in one call."""

from __future__ import annotations

from morphnet_core.data import Data
from morphnet_core.morphing.clock import Clock, DeviceClock, device_clock
from morphnet_core.morphing.course import Morphed
from morphnet_core.morphing.loop import device_rounds, fit_to_device
from morphnet_core.morphing.morph import morph
from morphnet_core.morphing.recipe import Recipe, load_recipe, standard
from morphnet_core.projection.device import LoopResult, LoopRound

__all__ = [
    "Clock",
    "Data",
    "DeviceClock",
    "LoopResult",
    "LoopRound",
    "Morphed",
    "Recipe",
    "device_clock",
    "device_rounds",
    "fit_to_device",
    "load_recipe",
    "morph",
    "standard",
]
