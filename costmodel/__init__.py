"""Latency cost models for convolutional networks: profile a device, predict, compare.

Only names that need nothing heavier than the standard library and msgspec are imported here, so
that ``import costmodel`` stays light; numpy, pandas, scikit-learn, onnx and every runtime are
imported by the modules that use them.
"""

from __future__ import annotations

from costmodel._moved import moved_modules

__version__ = "0.1.0"

moved_modules(
    __name__,
    {
        "compare": "comparison",
        "fusion": "anticipation",
        "predict": "prediction",
        "score": "scoring",
    },
)
