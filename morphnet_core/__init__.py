"""MorphNet on Keras 3, priced by any cost model of ``costmodel``."""

from __future__ import annotations

from costmodel._moved import moved_modules

moved_modules(
    __name__,
    {
        "align": "alignment",
        "morph": "morphing",
        "pictures": "plots",
        "prices": "pricing",
        "signals.taylor": "budget.taylor",
    },
)
