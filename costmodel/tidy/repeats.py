"""Repeats of one kernel in somebody's list: their middle, and how far they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from costmodel.measurement import Measurement
from costmodel.op import Op

#: Repeats whose halves differ by more than this share are two things under one name.
REPEATS_AGREE = 0.25
#: The same of a source's own standard deviation over its runs, which are single ones.
DEVIATION_AGREES = 0.5
#: Values from which on a list is long: numpy is slower than Python on fewer.
_LONG = 200


def merged(op: Op, times_ms: Sequence[float], deviation: float = math.nan) -> Measurement:
    """One row from the repeats of an Op.

    Args:
        op: what was executed.
        times_ms: of each repeat, in the order of the file.
        deviation: the source's own standard deviation as a share of the time, where it gives one;
            it stands for the spread of a single repeat.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    >>> row = merged(op, [1.0, 1.1, 1.0])
    >>> row.latency_ms, round(row.spread, 3)
    (1.0, 0.1)
    """
    middle = _middle(times_ms)
    spread = disagreement(times_ms)
    return Measurement(
        op=op,
        latency_ms=middle,
        median_ms=middle,
        spread=deviation if math.isnan(spread) else spread,
    )


def disagreement(times_ms: Sequence[float]) -> float:
    """Relative difference of the medians of the even and of the odd repeats; NaN for one.

    >>> round(disagreement([1.0, 1.1]), 3), disagreement([1.0])
    (0.1, nan)
    """
    if len(times_ms) < 2:
        return math.nan
    even, odd = _middle(times_ms[0::2]), _middle(times_ms[1::2])
    return abs(even - odd) / min(even, odd)


def _middle(times_ms: Sequence[float]) -> float:
    """The median; of a long list without sorting it."""
    return median(times_ms) if len(times_ms) < _LONG else float(np.median(times_ms))
