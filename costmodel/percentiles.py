"""Percentiles of the times that one network took, as far as so many times tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, quantiles, stdev

#: The shares of the times that are told, by name.
SHARES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """How the times of one network are spread, in ms.

    Each time is that of one stretch of runs: of a single run where that takes a millisecond or
    more, else the mean over the runs of that millisecond. Stretches that the machine disturbed are
    among them, warm-up is not. A percentile that fewer than one time would lie beyond is None: the
    99th takes a hundred times.

    Attributes:
        samples: times there are.
        mean: of all.
        std: their standard deviation.
        min: the least.
        p50: half of the times are at most this.
        p90: nine in ten are.
        p95: 19 in 20 are.
        p99: 99 in 100 are.
        max: the greatest.
    """

    samples: int
    mean: float
    std: float
    min: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Percentiles | None:
        """From times in any order; None from fewer than two.

        >>> found = Percentiles.of([float(ms) for ms in range(1, 22)])
        >>> found.p50, found.p95, found.p99, round(found.std, 2)
        (11.0, 20.0, None, 6.2)
        """
        if len(times_ms) < 2:
            return None
        cuts = quantiles(times_ms, n=100, method="inclusive")
        told = {
            name: cuts[share - 1] if len(times_ms) * (100 - share) >= 100 else None
            for name, share in SHARES.items()
        }
        return cls(
            samples=len(times_ms),
            mean=fmean(times_ms),
            std=stdev(times_ms),
            min=min(times_ms),
            max=max(times_ms),
            **told,
        )

    def to_json(self) -> dict[str, float | int | None]:
        """The figures by name, in ms."""
        return asdict(self)
