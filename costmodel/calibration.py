"""Calibration: from the sum of kernels timed alone to the time of the network they make up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.measurement import Measurement
from costmodel.op import Op, model_op_counts
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable

#: Fewest timed networks that tell anything about the next one.
MIN_NETWORKS = 3
#: Fewest networks from which the cost of moving data between kernels is told apart.
TRAFFIC_NETWORKS = 8
#: Slopes beyond these mean that something else is wrong; the sum is then left as it is.
_SLOPE_RANGE = (0.7, 1.4)
#: Kernels missing from the table beyond this share of a network's make it useless here.
_MISSING = 0.02
#: Networks that the plain sum counts for in the fit: so much speaks for it beforehand.
_PRIOR_NETWORKS = 1.0
#: No calibration makes a network faster than this share of its kernels.
_LEAST_SHARE = 0.5
_MIB = float(1 << 20)
#: Weights a little beyond the near cache still mostly stay in it.
_NEAR_SLACK = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From a sum of kernels to a network, learned from networks timed on the same device.

    ``network = slope * sum + activation * MiB read and written + weight * MiB of weights - near *
    MiB of near weights``, no coefficient negative. A kernel timed alone finds its input where it
    left it; in a network its activations and weights come from wherever the other kernels have
    pushed them, which costs time in proportion to their size (about 4 us per MiB where this was
    found). Weights that all fit into the near cache together stay there, unlike those of a kernel
    timed alone, which are kept cold.

    Attributes:
        slope: factor on the sum.
        networks: measured over summed latency of each network behind the fit.
        interval_share: relative half width that covers nine of ten networks, each left out in turn.
        activation_ms_per_mib: for activations that kernels read and write.
        weight_ms_per_mib: for weights.
        near_ms_per_mib: credit for the weights of networks no larger than ``near_mib``.
        near_mib: size of the near cache; 0 where it is not known.

    >>> Calibration(slope=1.02, networks={"a": 1.02}, interval_share=0.03).apply(10.0)
    10.2
    """

    slope: float
    networks: Mapping[str, float]
    interval_share: float
    activation_ms_per_mib: float = 0.0
    weight_ms_per_mib: float = 0.0
    near_ms_per_mib: float = 0.0
    near_mib: float = 0.0

    def apply(self, total_ms: float, ops: Sequence[Op] = ()) -> float:
        """Calibrated latency in ms of a network.

        Args:
            total_ms: sum of its kernels.
            ops: its kernels, for the data they move.
        """
        activations, weights, near = _traffic([(op, 1) for op in ops], self.near_mib)
        moved = self.activation_ms_per_mib * activations + self.weight_ms_per_mib * weights
        found = total_ms * self.slope + moved + self.near_ms_per_mib * near
        return max(found, _LEAST_SHARE * total_ms)

    def describe(self) -> str:
        """One line for reports."""
        parts = [f"sum of kernels x {self.slope:.3f}"]
        if self.activation_ms_per_mib > 0:
            parts.append(f"{self.activation_ms_per_mib * 1e3:.2f} us per MiB of activations")
        if self.weight_ms_per_mib > 0:
            parts.append(f"{self.weight_ms_per_mib * 1e3:.2f} us per MiB of weights")
        if self.near_ms_per_mib > 0:
            parts.append(f"-{self.near_ms_per_mib * 1e3:.0f} us per MiB of near weights")
        return (
            f"{' + '.join(parts)}, from {len(self.networks)} networks timed on this device "
            f"(nine of ten within {self.interval_share:.1%})"
        )


def fit_calibration(table: LatencyTable, cost: CostModel) -> Calibration | None:
    """Learn from the networks that a table holds; None where they are too few.

    With fewer than ``TRAFFIC_NETWORKS`` only a factor is learned, the median ratio, because one
    network out of line must not bend the others.

    Args:
        table: with ``model`` rows and the rows of their kernels.
        cost: prices the kernels, in ms.
    """
    ops = {op.digest: op for op in table.rows}
    near_mib = table.device.caches[1] / _MIB if len(table.device.caches) > 1 else 0.0
    found: dict[str, tuple[float, ...]] = {}
    for row in table.models():
        sizes = _sizes(row, ops, cost, near_mib)
        if sizes is not None:
            found[row.op.attribute("name", row.op.digest)] = sizes
    if len(found) < MIN_NETWORKS:
        return None
    amounts = np.array(list(found.values()))
    # Errors count relative to the measured time, which is column 0.
    shares = amounts[:, 1:] / amounts[:, :1]
    law = _law(shares)
    if not _SLOPE_RANGE[0] <= law[0] <= _SLOPE_RANGE[1]:
        return None
    count = len(shares)
    errors = sorted(
        abs(float(shares[i] @ _law(np.delete(shares, i, axis=0))) - 1.0) for i in range(count)
    )
    return Calibration(
        slope=float(law[0]),
        networks={name: row[0] / row[1] for name, row in found.items()},
        interval_share=errors[min(count - 1, int(0.9 * count))],
        activation_ms_per_mib=float(law[1]),
        weight_ms_per_mib=float(law[2]),
        near_ms_per_mib=float(law[3]),
        near_mib=near_mib,
    )


def _law(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the sum and the traffic that bring ``shares @ law`` near 1."""
    if len(shares) < TRAFFIC_NETWORKS - 1:
        return np.array([median(1.0 / shares[:, 0]), 0.0, 0.0, 0.0])
    size = np.sqrt(_PRIOR_NETWORKS) * np.abs(shares.mean(axis=0))
    left = np.vstack([shares, np.diag(size)])
    right = np.concatenate([np.ones(len(shares)), size * np.array([1.0, 0.0, 0.0, 0.0])])
    law = np.asarray(nnls(left, right)[0])
    error = np.abs(shares @ law - 1.0)
    limit = max(2.0 * float(np.median(error)), 0.02)
    root = np.sqrt(np.minimum(1.0, limit / np.maximum(error, 1e-9)))
    left[: len(shares)] *= root[:, None]
    right[: len(shares)] *= root
    return np.asarray(nnls(left, right)[0])


def _traffic(counted: Sequence[tuple[Op, int]], near_mib: float) -> tuple[float, float, float]:
    """What kernels run so often move, in MiB of float32.

    Returns:
        Activations read and written; weights; the weights again, negative, if they all fit into
        ``near_mib`` together, else 0.
    """
    activations = sum(
        count * (op.num_input_elements + op.num_output_elements) for op, count in counted
    )
    weights = sum(count * op.num_weights for op, count in counted)
    weight_mib = 4.0 * weights / _MIB
    near = -weight_mib if weight_mib <= _NEAR_SLACK * near_mib else 0.0
    return 4.0 * activations / _MIB, weight_mib, near


def _sizes(
    row: Measurement, ops: Mapping[str, Op], cost: CostModel, near_mib: float
) -> tuple[float, ...] | None:
    """Measured and summed latency and traffic of one network; None where they cannot be said."""
    counts = model_op_counts(row.op)
    known = [(ops[digest], count) for digest, count in counts.items() if digest in ops]
    total = sum(counts.values())
    found = sum(count for _, count in known)
    if not row.has_number or not known or found < (1.0 - _MISSING) * total:
        return None
    values = cost.price([op for op, _ in known]).values
    summed = sum(float(v) * count for v, (_, count) in zip(values, known, strict=True))
    return (row.latency_ms, summed, *_traffic(known, near_mib)) if summed > 0 else None
