"""Other widths for a Keras model: shrunk or widened with its weights, or rebuilt without them."""

from morphnet_core.surgery.reference import masked
from morphnet_core.surgery.resized import expand, rebuild, shrink, widen
from morphnet_core.surgery.statistics import reestimate

__all__ = ["expand", "masked", "rebuild", "reestimate", "shrink", "widen"]
