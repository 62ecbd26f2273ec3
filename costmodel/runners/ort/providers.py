"""ONNX Runtime's execution providers by short name: where each comes from and how it is set up.

A provider's options are chosen here, never left to a default that could change with a version, and
all of them stand in the device's identity. CUDA's search for a convolution algorithm is
``HEURISTIC``: unlike ``EXHAUSTIVE`` it picks the same algorithm for a kernel alone, in a network
and in every process, which is what makes a sum of kernels a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime

from costmodel.errors import InvalidInputError, MissingProviderError

CPU_NAME = "CPUExecutionProvider"
Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One execution provider.

    Attributes:
        name: ONNX Runtime's own name.
        wheel: how to get a runtime that has it.
        memory: where its tensors lie between runs, as IO binding names it; ``cpu`` where the
            runtime's Python API knows no other, so that copies are part of its time.
        whole_graph: whether it compiles parts of a graph into kernels of its own, so that nobody
            outside knows what is executed.
        defaults: options; ``{threads}``, ``{is_float16}`` and ``{is_int8}`` are filled in.
    """

    name: str
    wheel: str
    memory: str = "cpu"
    whole_graph: bool = False
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The runtime's name without what all of them end with, in small letters."""
        return self.name.removesuffix("ExecutionProvider").lower()

    def defaults_for(self, dtype: str, threads: int) -> dict[str, str]:
        """Its options for an element type and a number of threads."""
        known = {"threads": threads, "is_float16": dtype == "float16", "is_int8": dtype == "int8"}
        return {key: value.format(**known) for key, value in self.defaults.items()}


_PIP = "pip install {}, in place of onnxruntime"
_BUILD = "a runtime built with {}; no wheel has it"
#: By the short name that a user types.
PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider(name=CPU_NAME, wheel="pip install onnxruntime"),
    "cuda": Provider(
        name="CUDAExecutionProvider",
        wheel=_PIP.format("onnxruntime-gpu"),
        memory="cuda",
        defaults={
            "device_id": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "1",
            "use_tf32": "1",
        },
    ),
    "tensorrt": Provider(
        name="TensorrtExecutionProvider",
        wheel=_PIP.format("onnxruntime-gpu tensorrt"),
        memory="cuda",
        whole_graph=True,
        defaults={
            "device_id": "0",
            "trt_fp16_enable": "{is_float16}",
            "trt_int8_enable": "{is_int8}",
            "trt_engine_cache_enable": "False",
        },
    ),
    "openvino": Provider(
        name="OpenVINOExecutionProvider",
        wheel=_PIP.format("onnxruntime-openvino"),
        whole_graph=True,
        defaults={"device_type": "CPU", "num_of_threads": "{threads}"},
    ),
    "coreml": Provider(
        name="CoreMLExecutionProvider",
        wheel="pip install onnxruntime, on macOS",
        whole_graph=True,
        defaults={"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
    ),
    "directml": Provider(
        name="DmlExecutionProvider",
        wheel=_PIP.format("onnxruntime-directml") + ", on Windows",
        memory="dml",
        defaults={"device_id": "0"},
    ),
    "xnnpack": Provider(
        name="XnnpackExecutionProvider",
        wheel=_BUILD.format("--use_xnnpack"),
        defaults={"intra_op_num_threads": "{threads}"},
    ),
    "nnapi": Provider(
        name="NnapiExecutionProvider",
        wheel=_BUILD.format("--use_nnapi, for Android"),
        whole_graph=True,
    ),
    "qnn": Provider(
        name="QNNExecutionProvider",
        wheel=_PIP.format("onnxruntime-qnn"),
        whole_graph=True,
        defaults={"backend_type": "htp", "htp_performance_mode": "burst"},
    ),
    "webgpu": Provider(name="WebGpuExecutionProvider", wheel=_PIP.format("onnxruntime-webgpu")),
}
#: Providers that compute nothing on this machine.
_REMOTE = frozenset({"azure"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A provider with its options.

    Attributes:
        provider: which.
        options: name and value of each, sorted.
    """

    provider: Provider
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_cpu(self) -> bool:
        """Whether it is the runtime's own CPU provider."""
        return self.provider.name == CPU_NAME

    @property
    def device_id(self) -> int:
        """Number of the accelerator."""
        found = dict(self.options).get("device_id", "0")
        return int(found) if found.isdecimal() else 0

    @property
    def listing(self) -> list[str | tuple[str, dict[str, str]]]:
        """What a session is given; the CPU takes what the provider does not."""
        if self.is_cpu:
            return [CPU_NAME]
        return [(self.provider.name, dict(self.options)), CPU_NAME]


CPU = Setup(provider=PROVIDERS["cpu"])


def find_setup(name: str, options: Mapping[str, Value], dtype: str, threads: int) -> Setup:
    """The provider of a short name, if the installed runtime has it.

    Args:
        name: one of ``PROVIDERS`` or the runtime's own name, in any case.
        options: replace or add to those chosen here.
        dtype: element type of the runner; some providers must be told.
        threads: of one kernel, for providers that run on processors.

    Raises:
        InvalidInputError: for an unknown name, or options for the CPU, which takes none.
        MissingProviderError: if the installed runtime lacks it, naming what to install.
    """
    short = name.lower().removesuffix("executionprovider")
    short = next((key for key, item in PROVIDERS.items() if item.stem == short), short)
    if short in _REMOTE:
        message = (
            f"The provider {name!r} calls a service over the network; it computes nothing on this "
            f"machine. Choose one of {', '.join(PROVIDERS)}."
        )
        raise InvalidInputError(message)
    if short not in PROVIDERS:
        message = f"There is no provider {name!r}. Known: {', '.join(PROVIDERS)}."
        raise InvalidInputError(message)
    found = PROVIDERS[short]
    if found.name == CPU_NAME and options:
        message = f"The CPU provider takes no options. Received: {', '.join(sorted(options))}."
        raise InvalidInputError(message)
    available = onnxruntime.get_available_providers()
    if found.name not in available:
        raise MissingProviderError(found.name, found.wheel, available)
    chosen = {**found.defaults_for(dtype, threads), **{k: str(v) for k, v in options.items()}}
    return Setup(provider=found, options=tuple(sorted(chosen.items())))
