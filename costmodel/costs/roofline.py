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


def _sheet(name: str, source: str, gigabytes: float, **teraflops: float) -> Datasheet:
    """A datasheet by GB per second and by TFLOP per second of each element type."""
    return Datasheet(
        name=name,
        peak_flops={dtype: round(peak * 1e12, -3) for dtype, peak in teraflops.items()},
        bandwidth_bytes_per_s=round(gigabytes * 1e9, -3),
        source=source,
    )


_GPU = "NVIDIA datasheet"
_DENSE = f"{_GPU}, its figures with sparsity halved"
_CLOUD = "Google Cloud TPU documentation, system architecture of"
_CALCULATED = "and one channel of DDR4-3200; no particular product"

#: Devices whose numbers their makers print; dense rates, one chip, boost clock.
DATASHEETS: Mapping[str, Datasheet] = {
    "k80": _sheet(
        "NVIDIA K80, one of its two GPUs",
        f"{_GPU} of the board with GPU boost (8.74 and 2.91 TFLOPS, 480 GB/s), halved",
        240, float32=4.37, float64=1.455),
    "p4": _sheet("NVIDIA P4", _GPU, 192, float32=5.5, int8=22),
    "t4": _sheet(
        "NVIDIA T4", f"{_GPU}; float16 and int8 on tensor cores",
        320, float32=8.1, float16=65, int8=130),
    "p100": _sheet("NVIDIA P100 SXM2 16 GB", _GPU, 732, float64=5.3, float32=10.6, float16=21.2),
    "v100": _sheet(
        "NVIDIA V100 SXM2", f"{_GPU}; float16 on tensor cores",
        900, float64=7.8, float32=15.7, float16=125),
    "a100": _sheet(
        "NVIDIA A100 SXM 40 GB", f"{_GPU}; tfloat32 and narrower on tensor cores, float64 without",
        1555, float64=9.7, float32=19.5, tfloat32=156, float16=312, bfloat16=312, int8=624),
    "h100": _sheet(
        "NVIDIA H100 SXM5", f"{_DENSE}; float64 without tensor cores",
        3350, float64=34, float32=67, tfloat32=494.5, float16=989.5, bfloat16=989.5, int8=1979),
    "h200": _sheet(
        "NVIDIA H200 SXM", f"{_DENSE}; float64 without tensor cores",
        4800, float64=34, float32=67, tfloat32=494.5, float16=989.5, bfloat16=989.5, int8=1979),
    "l4": _sheet(
        "NVIDIA L4", f"{_DENSE}; tfloat32 and narrower on tensor cores",
        300, float32=30.3, tfloat32=60, float16=121, bfloat16=121, int8=242.5),
    "tpuv2": _sheet(
        "Google TPUv2, one chip",
        "Jouppi et al., A Domain-Specific Supercomputer for Training DNNs, 2020",
        700, bfloat16=46),
    "tpuv3": _sheet("Google TPUv3, one chip", f"{_CLOUD} v3", 900, bfloat16=123),
    "tpuv4": _sheet("Google TPU v4, one chip", f"{_CLOUD} v4", 1228, bfloat16=275, int8=275),
    "tpuv5e": _sheet("Google TPU v5e, one chip", f"{_CLOUD} v5e", 819, bfloat16=197, int8=393),
    "jetson-agx-orin": _sheet(
        "NVIDIA Jetson AGX Orin 64 GB, GPU",
        "NVIDIA Jetson AGX Orin technical brief; int8 is half of its sparse 170 TOPS",
        204.8, float32=5.3, int8=85),
    "jetson-nano": _sheet(
        "NVIDIA Jetson Nano, GPU",
        "NVIDIA Jetson Nano datasheet (472 GFLOPS float16, halved for float32)",
        25.6, float32=0.236, float16=0.472),
    "raspberry-pi-5": _sheet(
        "Raspberry Pi 5, four Cortex-A76 at 2.4 GHz",
        "calculated: 4 cores x 2.4 GHz x 2 NEON pipes x 4 (8) lanes x 2, and 32 bit of "
        "LPDDR4X-4267, from the Raspberry Pi 5 product brief and the Cortex-A76 guide",
        17.07, float32=0.1536, float16=0.3072,
    ),
    "cortex-a76-core": _sheet(
        "one Cortex-A76 at 2.4 GHz",
        "calculated: one of the cores of raspberry-pi-5 with all of its memory",
        17.07, float32=0.0384, float16=0.0768),
    "avx2-core": _sheet(
        "one x86 core with AVX2 at 3 GHz",
        f"calculated: 3 GHz x 2 FMA units x 8 (4) lanes x 2, {_CALCULATED}",
        25.6, float64=0.048, float32=0.096),
    "avx512-core": _sheet(
        "one x86 core with AVX-512 at 3 GHz",
        f"calculated: 3 GHz x 2 FMA units x 16 (8) lanes x 2, {_CALCULATED}",
        25.6, float64=0.096, float32=0.192),
}  # fmt: skip

_ORIGINAL = "morph-net, resource_function.py"


def _original(name: str, gflops: float, gigabytes: float, note: str = "") -> Datasheet:
    name, source = f"{name} of the original MorphNet", f"{_ORIGINAL}{note}"
    return _sheet(name, source, gigabytes, float32=gflops / 1e3)


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
