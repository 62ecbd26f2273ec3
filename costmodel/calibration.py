"""Calibration: from the sum of kernels timed alone to the time of the network they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from costmodel.measurement import Measurement
from costmodel.op import Op, model_op_counts
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable

#: Fewest timed networks that tell anything about the next one.
MIN_NETWORKS = 3
#: Slopes beyond these mean that something else is wrong; the sum is then left as it is.
_SLOPE_RANGE = (0.7, 1.4)
#: Kernels missing from the table beyond this share of a network's make it useless here.
_MISSING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A factor on the sum of kernels, from networks timed on the same device.

    A single factor, because each further one would need many more networks than a profile times;
    the median ratio, because one network out of line must not bend the others (Theil 1950).

    Attributes:
        slope: measured over summed latency.
        networks: ratio of each network behind the slope.
        interval_share: relative half width that covers nine of ten of those networks.

    >>> Calibration(slope=1.02, networks={"a": 1.02}, interval_share=0.03).apply(10.0)
    10.2
    """

    slope: float
    networks: Mapping[str, float]
    interval_share: float

    def apply(self, total_ms: float) -> float:
        """Calibrated latency of a network from its summed latency, both in ms."""
        return total_ms * self.slope

    def describe(self) -> str:
        """One line for reports."""
        return (
            f"sum of kernels x {self.slope:.3f}, from {len(self.networks)} networks timed on this "
            f"device (nine of ten within {self.interval_share:.1%})"
        )


def fit_calibration(table: LatencyTable, cost: CostModel) -> Calibration | None:
    """The factor from the networks that a table holds; None where they are too few.

    Args:
        table: with ``model`` rows and the rows of their kernels.
        cost: prices the kernels, in ms.
    """
    ops = {op.digest: op for op in table.rows}
    ratios: dict[str, float] = {}
    for row in table.models():
        ratio = _ratio(row, ops, cost)
        if ratio is not None:
            ratios[str(dict(row.op.attributes).get("name", row.op.digest))] = ratio
    if len(ratios) < MIN_NETWORKS:
        return None
    slope = median(ratios.values())
    if not _SLOPE_RANGE[0] <= slope <= _SLOPE_RANGE[1]:
        return None
    errors = sorted(abs(slope / ratio - 1.0) for ratio in ratios.values())
    share = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    return Calibration(slope=slope, networks=ratios, interval_share=share)


def _ratio(row: Measurement, ops: Mapping[str, Op], cost: CostModel) -> float | None:
    """Measured over summed latency of one network; None where it cannot be said."""
    counts = model_op_counts(row.op)
    known = [(ops[digest], count) for digest, count in counts.items() if digest in ops]
    total = sum(counts.values())
    found = sum(count for _, count in known)
    if not row.has_number or not known or found < (1.0 - _MISSING) * total:
        return None
    values = cost.price([op for op, _ in known]).values
    summed = sum(float(v) * count for v, (_, count) in zip(values, known, strict=True))
    return row.latency_ms / summed if summed > 0 else None
