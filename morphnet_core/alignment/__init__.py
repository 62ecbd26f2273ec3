"""align: pads channels of any ONNX network with zeros up to widths that a device runs faster.

``pad_to_fast_widths(model, cost)`` finds the widths and checks that the function stays the same;
``measured(alignment, runner=...)`` adds what the clock says.
"""

from __future__ import annotations

from costmodel._moved import moved_names
from morphnet_core.alignment.alignment import Alignment, GroupWidth, pad_to_fast_widths
from morphnet_core.alignment.edit import cut, pad
from morphnet_core.alignment.freeze import paddable
from morphnet_core.alignment.measure import measured, timed
from morphnet_core.alignment.search import Limits
from morphnet_core.alignment.source import Source, read_source
from morphnet_core.alignment.verify import TOLERANCE, agreement

__all__ = [
    "TOLERANCE",
    "Alignment",
    "GroupWidth",
    "Limits",
    "Source",
    "agreement",
    "cut",
    "measured",
    "pad",
    "pad_to_fast_widths",
    "paddable",
    "read_source",
    "timed",
]

__getattr__ = moved_names(__name__, {"align": ":pad_to_fast_widths"})
