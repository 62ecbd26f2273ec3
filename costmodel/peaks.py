"""How fast a device can possibly be, by its name: what no true row of its table exceeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from costmodel.device import Device
from costmodel.op import Op

#: Cards run above the clock that makers print, by up to a fifth.
_BOOST = 1.2
#: Multiplications that Winograd's F(4x4, 3x3) saves (Lavin and Gray, Fast Algorithms for
#: Convolutional Neural Networks, 2016); Fourier transforms save as the window's area.
WINOGRAD = 4.0
_TAPS_PER_PRODUCT = 9 / WINOGRAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The bounds of a sort of device.

    Attributes:
        what: the device or sort.
        flops: most operations a second by element type, two for a multiply-add; ``""`` for others.
        best: operations a second that its fastest kernels exceed by far; slower ones mean that
            times are in another unit.
    """

    what: str
    flops: Mapping[str, float] = field(hash=False)
    best: float

    def of(self, dtype: str) -> float:
        """Most operations a second with an element type."""
        return self.flops.get(dtype, self.flops[""])


def _peak(what: str, best_gigaflops: float, **teraflops: float) -> Peak:
    flops = {dtype.replace("other", ""): rate * 1e12 for dtype, rate in teraflops.items()}
    return Peak(what=what, flops=flops, best=best_gigaflops * 1e9)


def _card(what: str, float32: float, **others: float) -> Peak:
    """A card by what its maker prints; the fastest kernels reach a hundredth of it by far."""
    rates = {"other": float32 * 4} | {"float32": float32} | others
    return _peak(what, float32 * 10, **{name: rate * _BOOST for name, rate in rates.items()})


#: By what a device's name says, the most particular first. Cards: their makers' data sheets.
_PEAKS: tuple[tuple[re.Pattern[str], Peak], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), peak)
    for pattern, peak in (
        (r"1080 ?ti", _card("GTX 1080 Ti", 11.34, int8=45.4)),
        (r"2080 ?ti", _card("RTX 2080 Ti", 13.45, float16=107.6, int8=215.2)),
        (r"\bk80\b", _card("one GPU of a K80", 4.37)),
        (r"\bm60\b", _card("one GPU of an M60", 4.82)),
        (r"\bm40\b", _card("M40", 6.84)),
        (r"\bp100\b", _card("P100", 10.6, float16=21.2)),
        (r"\bv100\b", _card("V100", 15.7, float16=125, int8=62.8)),
        (r"\bt4\b", _card("T4", 8.1, float16=65, int8=130)),
        (r"titan ?xp|titan ?x ?\(?pascal", _card("Titan X of Pascal", 12.15, int8=48.6)),
        (r"titan ?x", _card("Titan X of Maxwell", 6.69)),
        (r"\bmi25\b|vega ?64|vega ?fe|gfx900", _card("MI25", 12.7, float16=25.4)),
        (r"\bmi50\b|radeon vii|gfx906", _card("MI50", 13.8, float16=27.7)),
        (r"\bmi100\b|gfx908", _card("MI100", 46.1, float16=184.6, bfloat16=92.3)),
        (
            r"adreno|mali|powervr|xclipse|immortalis|apple a\d+ gpu|(pixel|galaxy|iphone).*\bgpu\b",
            _peak("a phone's GPU", 1, float32=6, other=12),
        ),
        (
            r"\b(gpu|gtx|rtx|geforce|quadro|tesla|nvidia|radeon|instinct)\b",
            _peak("a GPU", 20, float32=120, float64=120, other=3000),
        ),
        (r"raspberry", _peak("a Raspberry Pi", 0.02, float32=0.3, other=1.2)),
        (
            r"cortex|snapdragon|helio|kirin|exynos|dimensity|pixel|galaxy|iphone",
            _peak("a phone's or board's processor", 0.05, float32=1, other=8),
        ),
        (r"xeon phi", _card("Xeon Phi 7250", 6.1)),
        (
            r"\b(xeon|epyc|ryzen|threadripper|core.i\d|i[3579]-\d|cpu)\b",
            _peak("a processor", 0.5, float32=25, other=400),
        ),
    )
)
#: Where a name tells nothing.
ANY = _peak("any one device", 0.001, float32=500, float64=500, other=4000)


def peak_of(device: Device) -> Peak:
    """The bounds that a device's name tells.

    >>> peak_of(Device(name="NVIDIA GTX 1080 Ti", runtime="cudnn")).what
    'GTX 1080 Ti'
    >>> peak_of(Device(name="board", runtime="fake")).what
    'any one device'
    """
    return next((peak for pattern, peak in _PEAKS if pattern.search(device.name)), ANY)


def savings(op: Op) -> float:
    """How many times fewer multiplications a fast algorithm needs for a convolution.

    >>> from costmodel.op import conv_op
    >>> savings(conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(3, 3)))
    4.0
    >>> savings(conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1)))
    1.0
    """
    if op.kind != "conv" or set(op.stride) - {1} or op.groups > 1:
        return 1.0
    taps = 1
    for size in op.kernel:
        taps *= size
    return max(1.0, taps / _TAPS_PER_PRODUCT)


def most_macs_per_ms(op: Op, device: Device) -> float:
    """Most multiply-adds a millisecond that a device can seem to do for an Op."""
    return peak_of(device).of(op.dtype) / 2 / 1e3 * savings(op)
