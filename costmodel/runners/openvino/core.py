"""OpenVINO itself: imported without its telemetry, and the settings models are compiled with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.runners.arithmetic import own_arithmetic

#: Its import reports to the maker's servers ("general_import"); nothing here needs what it holds.
_TELLS = "openvino.tools.ovc"


def import_openvino() -> Any:
    """The package ``openvino``, imported so that nothing is sent anywhere.

    The converter ``openvino.tools.ovc`` sends an event as it is imported, unless the user opted
    out in a file of his home; ``import openvino`` does without it where it is missing. It is made
    to look missing for that one import only.

    Raises:
        MissingDependencyError: if the package is not installed.
    """
    if "openvino" not in sys.modules and _TELLS not in sys.modules:
        hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
        hidden[_TELLS] = None
        try:
            return _import()
        finally:
            del hidden[_TELLS]
    return _import()


def _import() -> Any:
    try:
        import openvino
        import openvino._offline_transformations
    except ImportError as error:
        package = extra = "openvino"
        raise MissingDependencyError(package, extra, "Timing with OpenVINO") from error
    return openvino


#: The package; its Python API has no types that hold here.
ov: Any = import_openvino()

#: Element types as OpenVINO prints them, and as numpy names them.
DTYPES: Mapping[str, str] = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "boolean": "bool",
}
#: Precision hint per element type of a runner; int8 networks keep their other parts in float32.
PRECISIONS: Mapping[str, str] = {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}


@cache
def core() -> Any:
    """The one ``Core`` of this process."""
    return ov.Core()


def settings(threads: int, dtype: str) -> dict[str, object]:
    """Properties that every model is compiled with; part of the device's identity.

    Args:
        threads: of one inference; one stream runs at a time.
        dtype: of the runner; without a hint AVX-512 processors may silently compute in bfloat16.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        # The profiler chooses processors by affinity; the plug-in would pin to some of its own.
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
        # Pruned networks are full of denormal weights, which are 10 to 30 times slower on x86.
        "CPU_DENORMALS_OPTIMIZATION": True,
    }


def compile_model(model: Any, threads: int, dtype: str, *, counters: bool = False) -> Any:
    """Compile a model for the CPU.

    Args:
        model: an ``openvino.Model``.
        threads: of one inference.
        dtype: of the runner.
        counters: whether to time each node, which costs a little time itself.

    Raises:
        InvalidInputError: if the plug-in does not take this many threads here.
    """
    with own_arithmetic():
        compiled = core().compile_model(
            model, "CPU", {**settings(threads, dtype), "PERF_COUNT": counters}
        )
    used = compiled.get_property("INFERENCE_NUM_THREADS")
    if used != threads:
        message = (
            f"OpenVINO uses {used} threads here, not {threads}: it takes no more than the "
            "processors that this process may use. Ask for fewer threads."
        )
        raise InvalidInputError(message)
    return compiled


def isa_cap() -> dict[str, str]:
    """The cap on instruction sets that the environment sets oneDNN; empty where there is none."""
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # the first that is set counts
    cap = next((os.environ[name] for name in names if os.environ.get(name)), "").upper()
    return {} if cap in {"", "ALL", "DEFAULT"} else {names[0]: cap}


def runtime_version() -> str:
    """Release of OpenVINO, e.g. ``2026.4.1``."""
    return str(ov.get_version()).split("-", maxsplit=1)[0]


def hint_of(compiled: Any) -> dict[str, str]:
    """What a compiled model says about its own settings, as text."""
    names = (
        "NUM_STREAMS",
        "INFERENCE_NUM_THREADS",
        "INFERENCE_PRECISION_HINT",
        "PERFORMANCE_HINT",
        "EXECUTION_MODE_HINT",
        "ENABLE_CPU_PINNING",
        "ENABLE_HYPER_THREADING",
        "SCHEDULING_CORE_TYPE",
        "CPU_DENORMALS_OPTIMIZATION",
        "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE",
        "RUNTIME_REQUIREMENTS",
    )
    known = compiled.get_property("SUPPORTED_PROPERTIES")
    return {name: _text(compiled.get_property(name)) for name in names if name in known}


def _text(value: object) -> str:
    """A property as text: numbers and words as they are, enumerations by their last name."""
    text = str(value).removeprefix("<Type: '").removesuffix("'>")
    return text.rsplit(".", maxsplit=1)[-1] if type(value).__module__.startswith("open") else text
