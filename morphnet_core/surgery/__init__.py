"""Other widths for a Keras model: shrunk with its weights, rebuilt without them, or expanded."""

from morphnet_core.surgery.reference import masked
from morphnet_core.surgery.resized import expand, rebuild, shrink
from morphnet_core.surgery.statistics import reestimate

__all__ = ["expand", "masked", "rebuild", "reestimate", "shrink"]
