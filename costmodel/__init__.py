"""Latency cost models for convolutional networks: profile a device, predict, compare.

>>> import costmodel as cm
>>> report = cm.profile("cpu.jsonl", models="net.onnx", budget="10m")  # doctest: +SKIP
>>> print(cm.predict("net.onnx", "cpu.jsonl"))  # doctest: +SKIP
net: 1.31 ms (1.25 to 1.37), 41 layers
>>> print(*cm.compare(["net.onnx", "other.onnx"], "cpu.jsonl"))  # doctest: +SKIP
net: predicted 1.31 ms, measured 1.29 ms (+1.6 %)

Everything is imported at its first use, so that ``import costmodel`` stays light: numpy, pandas,
scikit-learn, onnx and every runtime are imported by the modules that use them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from costmodel._lazy import lazy_names
from costmodel._moved import moved_modules

if TYPE_CHECKING:
    from costmodel.costs.estimator import LatencyRegressor
    from costmodel.table import LatencyTable
    from costmodel.uses.checking_up import doctor
    from costmodel.uses.comparing import compare
    from costmodel.uses.explaining import explain
    from costmodel.uses.fleet_comparing import compare_fleet
    from costmodel.uses.fleets import fleet_status, profile_fleet
    from costmodel.uses.importing import import_file
    from costmodel.uses.listing import devices
    from costmodel.uses.predicting import predict
    from costmodel.uses.profiled import compare_profile
    from costmodel.uses.profiling import profile
    from costmodel.uses.progress import progress
    from costmodel.uses.reporting import write_page
    from costmodel.uses.showing import annotate, overlay, trace
    from costmodel.uses.solving import solve
    from costmodel.uses.tables import fit, score

__all__ = [
    "LatencyRegressor",
    "LatencyTable",
    "annotate",
    "compare",
    "compare_fleet",
    "compare_profile",
    "devices",
    "doctor",
    "explain",
    "fit",
    "fleet_status",
    "import_file",
    "overlay",
    "predict",
    "profile",
    "profile_fleet",
    "progress",
    "score",
    "solve",
    "trace",
    "write_page",
]

__version__ = "0.2.0"

# Recent releases of ONNX Runtime keep an identifier of the machine and report every session to
# their maker, by a thread of their own, unless this is set before the library is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LatencyRegressor": "costs.estimator",
        "LatencyTable": "table",
        "annotate": "uses.showing",
        "compare": "uses.comparing",
        "compare_fleet": "uses.fleet_comparing",
        "compare_profile": "uses.profiled",
        "devices": "uses.listing",
        "doctor": "uses.checking_up",
        "explain": "uses.explaining",
        "fit": "uses.tables",
        "fleet_status": "uses.fleets",
        "import_file": "uses.importing",
        "overlay": "uses.showing",
        "predict": "uses.predicting",
        "profile": "uses.profiling",
        "profile_fleet": "uses.fleets",
        "progress": "uses.progress",
        "score": "uses.tables",
        "solve": "uses.solving",
        "trace": "uses.showing",
        "write_page": "uses.reporting",
    },
)

moved_modules(
    __name__,
    {
        "compare": "comparison",
        "fusion": "anticipation",
        "predict": "prediction",
        "score": "scoring",
    },
)
