"""Draw: one point of a space-filling sequence, and how its coordinates become sizes of layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from costmodel.op import Shape

Item = TypeVar("Item")

#: Spatial sizes of the stages of common networks, for inputs of 28 to 640.
COMMON_SIZES = (
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 16, 17, 19, 20, 24, 26, 27, 28, 30, 32, 35, 38,
    40, 48, 52, 55, 56, 60, 64, 75, 80, 96, 104, 109, 112, 120, 128, 150, 160, 192, 208, 224,
    256, 320,
)  # fmt: skip
#: Channel counts of common networks.
COMMON_CHANNELS = (
    4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 112, 120, 128, 144, 160, 168, 184,
    192, 208, 224, 240, 256, 288, 320, 336, 352, 384, 416, 448, 480, 512, 528, 576, 640, 672,
    728, 768, 816, 832, 864, 896, 960, 1024, 1152, 1280, 1344, 1536, 1632, 1792, 1920, 2048,
)  # fmt: skip
#: Width over height of inputs that are not square: 240x320 and its turn, wide screens, strips.
_ASPECTS = (4 / 3, 3 / 4, 16 / 9, 2.0)
#: Shares of batch sizes; a latency question is mostly about one image.
_BATCHES = ((0.91, 1), (0.95, 2), (0.98, 4), (1.0, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Coordinates in [0, 1); each layer family reads those that it needs.

    Attributes:
        amount: multiply-adds, or elements of kinds that have none.
        place: spatial size.
        snap: whether the spatial size is a common one.
        ratio: output channels over input channels.
        mode: whether input channels are as pruning leaves them, or as people choose them.
        mode_out: the same for output channels; mostly as ``mode``.
        follow: what comes after: activation, residual sum.
        batch: images at once.
        aspect: square or not.
        padding: kind of padding.
        flags: rare forms: no bias, weights that are graph inputs.
        window: kernel size.
        stride: stride, or another choice with few values.
    """

    amount: float
    place: float
    snap: float
    ratio: float
    mode: float
    mode_out: float
    follow: float
    batch: float
    aspect: float
    padding: float
    flags: float
    window: float
    stride: float

    def images(self) -> int:
        """Batch size; 1 for nine in ten."""
        return next(n for limit, n in _BATCHES if self.batch < limit)

    def size(self, low: float, high: float) -> Shape:
        """Height and width between ``low`` and ``high``, common or odd, one in eight not square."""
        exact = log_uniform(self.place, low, high)
        height = nearest(exact, COMMON_SIZES) if self.snap < 0.6 else max(1, round(exact))
        if self.aspect < 0.88 or height < 4:
            return (height, height)
        aspect = pick((self.aspect - 0.88) / 0.12, _ASPECTS)
        return (height, max(1, round(height * aspect)))

    def channels(self, exact: float) -> int:
        """Input channels near ``exact``."""
        return channels(exact, self.mode)

    def channels_out(self, exact: float) -> int:
        """Output channels near ``exact``: in seven of ten layers as odd or even as the input's."""
        if self.mode_out < 0.7:
            return channels(exact, self.mode)
        return channels(exact, (self.mode_out - 0.7) / 0.3)

    def widening(self) -> float:
        """Output over input channels: 1/6 to 6, mostly near 1, one in four exactly 1."""
        t = 2.0 * self.ratio - 1.0
        return 1.0 if abs(t) < 0.25 else 6.0 ** (t * math.sqrt(abs(t)))


DIMENSIONS = len(fields(Draw))


def draws(seed: int, stream: int) -> Iterator[Draw]:
    """Endless scrambled Sobol sequence; another for each ``seed`` and ``stream``."""
    # Imported here because every command imports this module and few draw; it takes half a second.
    from scipy.stats import qmc

    state = np.random.default_rng((seed, stream))
    sequence = qmc.Sobol(
        DIMENSIONS, scramble=True, seed=state
    )  # named rng from scipy 1.15, which still takes this
    names = [item.name for item in fields(Draw)]
    while True:
        for row in sequence.random(256):
            yield Draw(**dict(zip(names, row.tolist(), strict=True)))


def log_uniform(u: float, low: float, high: float) -> float:
    """The value between ``low`` and ``high`` at share ``u`` of their logarithms.

    >>> round(log_uniform(0.5, 1.0, 100.0), 6)
    10.0
    """
    return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))


def log_piecewise(u: float, shares: Sequence[float], values: Sequence[float]) -> float:
    """Log-uniform between each two of ``values``, whose cumulative ``shares`` are given."""
    return float(math.exp(np.interp(u, shares, np.log(values))))


def pick(u: float, items: Sequence[Item]) -> Item:
    """One of ``items``, each as likely as the next.

    >>> pick(0.6, "ab")
    'b'
    """
    return items[min(len(items) - 1, int(u * len(items)))]


def weighted(u: float, items: Sequence[tuple[float, Item]]) -> Item:
    """One of ``(weight, item)`` pairs.

    >>> weighted(0.6, ((1, "a"), (3, "b")))
    'b'
    """
    left = u * sum(weight for weight, _ in items)
    for weight, item in items:
        left -= weight
        if left < 0:
            return item
    return items[-1][1]


def nearest(exact: float, common: Sequence[int]) -> int:
    """The common value whose ratio to ``exact`` is nearest to 1."""
    return min(common, key=lambda value: abs(math.log(value / exact)))


def channels(exact: float, mode: float) -> int:
    """A channel count near ``exact``: half of them no multiple of 4, as pruning leaves them.

    Args:
        exact: wished count.
        mode: below 0.5 no multiple of 4, below 0.65 any multiple of 4, else a common count.

    >>> channels(64.2, 0.1), channels(66.0, 0.6), channels(66.0, 0.9)
    (65, 68, 64)
    """
    if mode < 0.5:
        count = max(1, round(exact))
        return count if count % 4 else count + (1 if exact >= count else -1)
    if mode < 0.65:
        return max(4, 4 * math.floor(exact / 4 + 0.5))
    return nearest(exact, COMMON_CHANNELS)
