"""Latency from a datasheet: the larger of arithmetic time and memory time, plus a fixed cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from costmodel.costs.counts import Bytes, Flops
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.op import SESSION, Op
from costmodel.protocols import Prices, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheet:
    """What a maker promises of a device.

    Attributes:
        name: the hardware.
        peak_flops: FLOP per second by element type, two per multiply-add; dense, never the doubled
            figure for structured sparsity.
        bandwidth_bytes_per_s: of the main memory.
        overhead_ms: fixed cost of one kernel.
        source: where the numbers are printed, and what was calculated from them.
    """

    name: str
    peak_flops: Mapping[str, float] = field(hash=False)
    bandwidth_bytes_per_s: float
    overhead_ms: float = 0.0
    source: str

    def __post_init__(self) -> None:
        """Refuse numbers that no device has."""
        rates = [*self.peak_flops.values(), self.bandwidth_bytes_per_s]
        if (
            not self.peak_flops
            or not all(0 < rate < inf for rate in rates)
            or not 0 <= self.overhead_ms < inf
        ):
            message = (
                f"The datasheet of {self.name!r} needs positive rates and an overhead >= 0. "
                f"Received: peak_flops={dict(self.peak_flops)}, "
                f"bandwidth_bytes_per_s={self.bandwidth_bytes_per_s}, "
                f"overhead_ms={self.overhead_ms}."
            )
            raise InvalidInputError(message)


#: Runtime of the devices of datasheets, which execute nothing.
DATASHEET = "datasheet"
_GPU = "NVIDIA datasheet"

#: Devices whose numbers their makers print; dense rates, one chip, boost clock.
DATASHEETS: Mapping[str, Datasheet] = {
    "k80": Datasheet(
        name="NVIDIA K80, one of its two GPUs",
        peak_flops={"float32": 4.37e12, "float64": 1.455e12},
        bandwidth_bytes_per_s=240e9,
        source=f"{_GPU} of the board with GPU boost (8.74 and 2.91 TFLOPS, 480 GB/s), halved",
    ),
    "p4": Datasheet(
        name="NVIDIA P4",
        peak_flops={"float32": 5.5e12, "int8": 22e12},
        bandwidth_bytes_per_s=192e9,
        source=_GPU,
    ),
    "t4": Datasheet(
        name="NVIDIA T4",
        peak_flops={"float32": 8.1e12, "float16": 65e12, "int8": 130e12},
        bandwidth_bytes_per_s=320e9,
        source=f"{_GPU}; float16 and int8 on tensor cores",
    ),
    "p100": Datasheet(
        name="NVIDIA P100 SXM2 16 GB",
        peak_flops={"float64": 5.3e12, "float32": 10.6e12, "float16": 21.2e12},
        bandwidth_bytes_per_s=732e9,
        source=_GPU,
    ),
    "v100": Datasheet(
        name="NVIDIA V100 SXM2",
        peak_flops={"float64": 7.8e12, "float32": 15.7e12, "float16": 125e12},
        bandwidth_bytes_per_s=900e9,
        source=f"{_GPU}; float16 on tensor cores",
    ),
    "a100": Datasheet(
        name="NVIDIA A100 SXM 40 GB",
        peak_flops={
            "float64": 9.7e12, "float32": 19.5e12, "tfloat32": 156e12,
            "float16": 312e12, "bfloat16": 312e12, "int8": 624e12,
        },
        bandwidth_bytes_per_s=1555e9,
        source=f"{_GPU}; tfloat32 and narrower on tensor cores, float64 without",
    ),
    "h100": Datasheet(
        name="NVIDIA H100 SXM5",
        peak_flops={
            "float64": 34e12, "float32": 67e12, "tfloat32": 494.5e12,
            "float16": 989.5e12, "bfloat16": 989.5e12, "int8": 1979e12,
        },
        bandwidth_bytes_per_s=3350e9,
        source=f"{_GPU}, its figures with sparsity halved; float64 without tensor cores",
    ),
    "h200": Datasheet(
        name="NVIDIA H200 SXM",
        peak_flops={
            "float64": 34e12, "float32": 67e12, "tfloat32": 494.5e12,
            "float16": 989.5e12, "bfloat16": 989.5e12, "int8": 1979e12,
        },
        bandwidth_bytes_per_s=4800e9,
        source=f"{_GPU}, its figures with sparsity halved; float64 without tensor cores",
    ),
    "l4": Datasheet(
        name="NVIDIA L4",
        peak_flops={
            "float32": 30.3e12, "tfloat32": 60e12, "float16": 121e12, "bfloat16": 121e12,
            "int8": 242.5e12,
        },
        bandwidth_bytes_per_s=300e9,
        source=f"{_GPU}, its figures with sparsity halved; tfloat32 and narrower on tensor cores",
    ),
    "tpuv2": Datasheet(
        name="Google TPUv2, one chip",
        peak_flops={"bfloat16": 46e12},
        bandwidth_bytes_per_s=700e9,
        source="Jouppi et al., A Domain-Specific Supercomputer for Training DNNs, 2020",
    ),
    "tpuv3": Datasheet(
        name="Google TPUv3, one chip",
        peak_flops={"bfloat16": 123e12},
        bandwidth_bytes_per_s=900e9,
        source="Google Cloud TPU documentation, system architecture of v3",
    ),
    "tpuv4": Datasheet(
        name="Google TPU v4, one chip",
        peak_flops={"bfloat16": 275e12, "int8": 275e12},
        bandwidth_bytes_per_s=1228e9,
        source="Google Cloud TPU documentation, system architecture of v4",
    ),
    "tpuv5e": Datasheet(
        name="Google TPU v5e, one chip",
        peak_flops={"bfloat16": 197e12, "int8": 393e12},
        bandwidth_bytes_per_s=819e9,
        source="Google Cloud TPU documentation, system architecture of v5e",
    ),
    "jetson-agx-orin": Datasheet(
        name="NVIDIA Jetson AGX Orin 64 GB, GPU",
        peak_flops={"float32": 5.3e12, "int8": 85e12},
        bandwidth_bytes_per_s=204.8e9,
        source="NVIDIA Jetson AGX Orin technical brief; int8 is half of its sparse 170 TOPS",
    ),
    "jetson-nano": Datasheet(
        name="NVIDIA Jetson Nano, GPU",
        peak_flops={"float32": 236e9, "float16": 472e9},
        bandwidth_bytes_per_s=25.6e9,
        source="NVIDIA Jetson Nano datasheet (472 GFLOPS float16, halved for float32)",
    ),
    "raspberry-pi-5": Datasheet(
        name="Raspberry Pi 5, four Cortex-A76 at 2.4 GHz",
        peak_flops={"float32": 153.6e9, "float16": 307.2e9},
        bandwidth_bytes_per_s=17.07e9,
        source=(
            "calculated: 4 cores x 2.4 GHz x 2 NEON pipes x 4 (8) lanes x 2, and 32 bit of "
            "LPDDR4X-4267, from the Raspberry Pi 5 product brief and the Cortex-A76 guide"
        ),
    ),
    "cortex-a76-core": Datasheet(
        name="one Cortex-A76 at 2.4 GHz",
        peak_flops={"float32": 38.4e9, "float16": 76.8e9},
        bandwidth_bytes_per_s=17.07e9,
        source="calculated: one of the cores of raspberry-pi-5 with all of its memory",
    ),
    "avx2-core": Datasheet(
        name="one x86 core with AVX2 at 3 GHz",
        peak_flops={"float64": 48e9, "float32": 96e9},
        bandwidth_bytes_per_s=25.6e9,
        source=(
            "calculated: 3 GHz x 2 FMA units x 8 (4) lanes x 2, and one channel of DDR4-3200; no "
            "particular product"
        ),
    ),
    "avx512-core": Datasheet(
        name="one x86 core with AVX-512 at 3 GHz",
        peak_flops={"float64": 96e9, "float32": 192e9},
        bandwidth_bytes_per_s=25.6e9,
        source=(
            "calculated: 3 GHz x 2 FMA units x 16 (8) lanes x 2, and one channel of DDR4-3200; no "
            "particular product"
        ),
    ),
}  # fmt: skip

_ORIGINAL = "morph-net, resource_function.py"


def _original(name: str, gflops: float, gigabytes: float, note: str = "") -> Datasheet:
    return Datasheet(
        name=f"{name} of the original MorphNet",
        peak_flops={"float32": gflops * 1e9},
        bandwidth_bytes_per_s=gigabytes * 1e9,
        source=f"{_ORIGINAL}{note}",
    )


#: The original MorphNet's devices under its own names and with its own numbers, so that its
#: experiments can be repeated. Some differ from ``DATASHEETS``: V100 puts float16 arithmetic beside
#: float32 traffic, K80 is the whole board, P100 the PCIe card, TPUv2 one core.
ORIGINAL_DEVICES: Mapping[str, Datasheet] = {
    "K80": _original("K80", 8740, 480, "; both GPUs of the board"),
    "P4": _original("P4", 5500, 192),
    "T4": _original("T4", 8100, 300),
    "P100": _original("P100", 9300, 732, "; the PCIe card"),
    "V100": _original("V100", 125000, 900, "; arithmetic is that of float16 on tensor cores"),
    "TPUv2": _original("TPUv2", 22500, 300, "; one of its two cores"),
    "FLOP_LATENCY": _original("FLOP_LATENCY", 1, 1e20, "; memory is free"),
    "MEMORY_LATENCY": _original("MEMORY_LATENCY", 1e20, 1, "; arithmetic is free"),
}


def datasheet(name: str) -> Datasheet:
    """The datasheet of this name.

    Raises:
        InvalidInputError: if there is none; lists those that there are.

    >>> datasheet("p100").bandwidth_bytes_per_s
    732000000000.0
    """
    if name not in DATASHEETS:
        message = f"There is no datasheet {name!r}. Known: {', '.join(sorted(DATASHEETS))}."
        raise InvalidInputError(message)
    return DATASHEETS[name]


#: A kernel is assumed to reach at least this share of the roof; sets the upper end of the interval.
REACHED_SHARE = 0.1


class Roofline:
    """Milliseconds as ``max(flops / peak, bytes / bandwidth) + overhead`` for each Op.

    A bound from below rather than a prediction: real kernels reach a part of either rate. The
    interval goes up to ``REACHED_SHARE`` of the roof, which is an assumption and fails for
    kernels so small that a fixed cost rules, unless the datasheet's overhead states it.
    ``session`` costs the overhead alone; without one it has no price.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=256, out_channels=256, size=(56, 56), kernel=(3, 3))
    >>> round(float(Roofline(DATASHEETS["p100"]).price([op]).values[0]), 3)
    0.349
    """

    def __init__(self, datasheet: Datasheet, dtype: str = "float32") -> None:
        """Choose a device and the element type it calculates in.

        Args:
            datasheet: the device's numbers.
            dtype: which of its peaks to use; memory traffic follows the Ops' own element types.

        Raises:
            InvalidInputError: if the datasheet states no peak for ``dtype``.
        """
        if dtype not in datasheet.peak_flops:
            message = (
                f"The datasheet of {datasheet.name!r} states no peak for {dtype!r}, "
                f"only for: {', '.join(sorted(datasheet.peak_flops))}."
            )
            raise InvalidInputError(message)
        self.datasheet = datasheet
        self.dtype = dtype
        self._flops = Flops()
        self._bytes = Bytes()

    @property
    def unit(self) -> Unit:
        """Milliseconds."""
        return "ms"

    @property
    def name(self) -> str:
        """``roofline of DEVICE, DTYPE (estimated)``."""
        return f"roofline of {self.datasheet.name}, {self.dtype} ({self.device.provenance})"

    @property
    def device(self) -> Device:
        """The device of the estimates; its provenance is ``estimated``."""
        sheet = self.datasheet
        return Device(
            name=sheet.name,
            runtime=DATASHEET,
            dtype=self.dtype,
            options=(
                ("bandwidth_bytes_per_s", str(sheet.bandwidth_bytes_per_s)),
                ("overhead_ms", str(sheet.overhead_ms)),
                ("peak_flops", str(sheet.peak_flops[self.dtype])),
            ),
            provenance="estimated",
            state={"source": sheet.source},
        )

    def price(self, ops: Sequence[Op]) -> Prices:
        """Bound each Op from below; NaN with a reason where its work cannot be counted."""
        flops, moved = self._flops.price(ops), self._bytes.price(ops)
        arithmetic_ms = flops.values / self.datasheet.peak_flops[self.dtype] * 1e3
        memory_ms = moved.values / self.datasheet.bandwidth_bytes_per_s * 1e3
        roof_ms = np.maximum(arithmetic_ms, memory_ms)
        values = roof_ms + self.datasheet.overhead_ms
        reasons = {**moved.reasons, **flops.reasons}
        for position, op in enumerate(ops):
            if op.kind == SESSION and not self.datasheet.overhead_ms:
                values[position] = np.nan
                reasons[position] = "a datasheet does not state what one run of a model costs"
        high = values + roof_ms * (1 / REACHED_SHARE - 1)
        return Prices(values=values, low=values.copy(), high=high, reasons=reasons)
