"""Names of columns with times in them: the unit that a name says, and which statistic it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: Milliseconds in one of a unit, by the words for it.
UNITS_MS = {
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds", "nanos"), 1e-6),
    **dict.fromkeys(
        ("us", "usec", "microsecond", "microseconds", "micros", "\N{MICRO SIGN}s"), 1e-3
    ),
    **dict.fromkeys(("\N{GREEK SMALL LETTER MU}s",), 1e-3),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds", "millis"), 1.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1e3),
}
_TIMES = frozenset(
    [
        "latency",
        "latencies",
        "time",
        "times",
        "timing",
        "timeused",
        "used",
        "duration",
        "elapsed",
        "dur",
        "cost",
        "runtime",
        "inference",
        "exec",
        "execution",
        "kernel",
        "wall",
        "gpu",
        "cpu",
        "measured",
        "benchmark",
        "op",
        "forward",
        "result",
        "results",
    ]
)
_MIDDLES = {"": 2, "median": 3, "p50": 3, "mean": 1, "avg": 1, "average": 1}
_DEVIATIONS = frozenset(["std", "stdev", "stddev", "sd", "sigma", "deviation"])
_EXTREMES = frozenset(
    [
        "min",
        "max",
        "p90",
        "p95",
        "p99",
        "best",
        "worst",
        "minimum",
        "maximum",
        "first",
        "total",
        "sum",
        "var",
    ]
)
#: Words that make a name one of a time; ``cost``, ``cpu`` or ``op`` alone do not.
_SURE = frozenset(
    ["latency", "latencies", "time", "times", "timing", "timeused", "duration", "elapsed", "dur"]
)

Statistic = Literal["middle", "deviation", "extreme"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeName:
    """What the name of a column of times says.

    Attributes:
        unit_ms: milliseconds in one; None where the name has no unit.
        statistic: a middle (median, mean, plain), a deviation, or an extreme.
        rank: among middles: medians before plain ones before means.
    """

    unit_ms: float | None
    statistic: Statistic
    rank: int = 0


def read_time_name(name: str) -> TimeName | None:
    """What a column's name says of the times in it; None if it is not one of times.

    >>> read_time_name("latency_us").unit_ms, read_time_name("Latency (ms)").unit_ms
    (0.001, 1.0)
    >>> read_time_name("avg_ms").rank, read_time_name("timeUsed_std").statistic
    (1, 'deviation')
    >>> read_time_name("in_channels") is None
    True
    """
    words = [word.lower() for word in _split(name)]
    units = [word for word in words if word in UNITS_MS]
    rest = [word for word in words if word not in UNITS_MS]
    statistics = [w for w in rest if w in _MIDDLES or w in _DEVIATIONS or w in _EXTREMES]
    others = [word for word in rest if word not in statistics]
    sure = bool(_SURE & set(others)) or (bool(units) and len(units) == 1 and words[-1] in units)
    if not sure or len(units) > 1 or not set(others) <= _TIMES:
        return None
    if not others and not statistics and words[-1] == "s":
        return None  # the letter alone is a stride as often
    unit = UNITS_MS[units[0]] if units else None
    if _DEVIATIONS & set(statistics):
        return TimeName(unit_ms=unit, statistic="deviation")
    if _EXTREMES & set(statistics):
        return TimeName(unit_ms=unit, statistic="extreme")
    rank = min((_MIDDLES[word] for word in statistics), default=_MIDDLES[""])
    return TimeName(unit_ms=unit, statistic="middle", rank=rank)


def _split(name: str) -> list[str]:
    """Words of a name, by separators and by capitals inside.

    >>> _split("inferenceTime [us]"), _split("time_ns")
    (['inference', 'Time', 'us'], ['time', 'ns'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^0-9A-Za-z\u00b5\u03bc]+", spaced) if word]
