"""Calibration: from the sum of kernels timed alone to the time of the network they make up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.measurement import Measurement
from costmodel.op import Op, model_op_counts
from costmodel.protocols import CostModel, HoldsOut
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]

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
#: MiB of weights from which on a network finds none of them in a cache, to choose from: what of
#: the last cache a process gets is not what the system says, on shared machines least of all.
_FAR_MIB = (16.0, 32.0, 64.0, 96.0, 128.0, 192.0)
#: Below this share of that amount all weights are still found there.
_FAR_BEGINS = 0.25
#: What is timed at once: a block of ``Plan.block_ms``.
_AT_ONCE_MS = 1.0
#: Coverage of intervals.
_COVERAGE = 0.9
#: Least and largest factor on the regression's prices.
_BIAS_RANGE = (0.85, 1.18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A ``NetworkLaw`` learned from networks and kernels timed on the same device.

    ``network = (slope + longer * ln(sum / 1 ms)) * sum + activation * MiB read and written + weight
    * MiB of far weights - near * MiB of near weights``, no coefficient negative, and the logarithm
    0 below 1 ms. A kernel timed alone finds its data where it left it: in the caches, which its
    weights and activations take turns in. In a network they come from wherever the other kernels
    have pushed them. The weights of a network that are more than the last cache holds come from
    memory every time (33 us per MiB where this was found, a quarter of a small image's ResNet50);
    those that all fit into the near cache stay there. And what is timed for a millisecond at once
    finds a moment that neighbours leave alone, which a longer run cannot: the quiet time of a
    network grows faster than its sum.

    Attributes:
        slope: factor on the sum.
        longer: added to the slope each time the sum is longer by a factor of e, from 1 ms on.
        networks: measured over summed latency of each network behind the fit.
        interval_share: relative half width that covers nine of ten networks whose kernels are all
            rows, each left out in turn.
        activation_ms_per_mib: for activations that kernels read and write.
        weight_ms_per_mib: for weights that come from memory.
        near_ms_per_mib: credit for the weights of networks no larger than ``near_mib``.
        near_mib: size of the near cache; 0 where it is not known.
        far_mib: weights from which on none of them stays in a cache; 0 where that was not found.
        unseen_factor: on the prices of kernels that are no rows: what the regression gets wrong in
            the same direction, network after network.
        unseen_share: like ``interval_share``, of networks none of whose kernels is a row; the same
            where that is not known.

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
    far_mib: float = 0.0
    longer: float = 0.0
    unseen_factor: float = 1.0
    unseen_share: float | None = None

    def apply(self, total_ms: float, ops: Sequence[Op] = (), *, unseen: float = 0.0) -> float:
        """Calibrated latency in ms of a network.

        Args:
            total_ms: sum of its kernels.
            ops: its kernels, for the data they move.
            unseen: part of the sum that is of kernels that are no rows, 0 to 1.
        """
        total_ms *= 1.0 + unseen * (self.unseen_factor - 1.0)
        activations, weights, near = _traffic([(op, 1) for op in ops], self.near_mib, self.far_mib)
        moved = self.activation_ms_per_mib * activations + self.weight_ms_per_mib * weights
        found = total_ms * self.factor(total_ms) + moved + self.near_ms_per_mib * near
        return max(found, _LEAST_SHARE * total_ms)

    def factor(self, total_ms: float) -> float:
        """Factor on a sum of so many ms."""
        return self.slope + self.longer * _log_length(total_ms)

    def away(self, ops: Sequence[Op]) -> float:
        """Share of a network's weights that come from memory, 0 to 1."""
        return _away(sum(4.0 * op.num_weights for op in ops) / _MIB, self.far_mib)

    def of_kernel(self, op: Op, price_ms: float, factor: float, away: float) -> float:
        """What one kernel adds to a network, in ms, the credit for near weights left out.

        Args:
            op: the kernel.
            price_ms: its own price.
            factor: on the sum of its network, as ``factor`` tells.
            away: of its network, as ``away`` tells.
        """
        moved = 4.0 * (op.num_input_elements + op.num_output_elements) / _MIB
        weights = _farther(4.0 * op.num_weights / _MIB, away, self.far_mib)
        charges = self.activation_ms_per_mib * moved + self.weight_ms_per_mib * weights
        return factor * price_ms + charges

    @property
    def covers_unseen(self) -> bool:
        """Whether its widths hold for kernels that are no rows as well."""
        return self.unseen_share is not None

    def half_width(self, unseen: float, ops: Sequence[Op] = ()) -> float:
        """Relative half width that covers nine of ten networks.

        Args:
            unseen: part of the sum that is of kernels that are no rows, 0 to 1.
            ops: its kernels, which decide nothing here.
        """
        del ops
        if self.unseen_share is None:
            return self.interval_share
        return self.interval_share + unseen * (self.unseen_share - self.interval_share)

    def describe(self) -> str:
        """One line for reports."""
        parts = [f"sum of kernels x {self.slope:.3f}"]
        if self.longer > 0:
            parts = [f"sum of kernels x ({self.slope:.3f} + {self.longer:.3f} ln ms)"]
        if self.activation_ms_per_mib > 0:
            parts.append(f"{self.activation_ms_per_mib * 1e3:.2f} us per MiB of activations")
        if self.weight_ms_per_mib > 0:
            far = f" beyond {self.far_mib:.0f} MiB" if self.far_mib else ""
            parts.append(f"{self.weight_ms_per_mib * 1e3:.2f} us per MiB of weights{far}")
        if self.near_ms_per_mib > 0:
            parts.append(f"-{self.near_ms_per_mib * 1e3:.0f} us per MiB of near weights")
        doubt = f"nine of ten within {self.interval_share:.1%}"
        if self.unseen_share is not None:
            doubt += f", unseen ones within {self.unseen_share:.1%}"
        return (
            f"{' + '.join(parts)}, from {len(self.networks)} networks timed on this device "
            f"({doubt})"
        )


@dataclass(frozen=True, slots=True)
class _Timed:
    """One timed network.

    Attributes:
        name: its name.
        measured_ms: its own time.
        counted: its kernels and how often each runs.
        sum_ms: of its kernels as the table has them.
        unseen_ms: the same as if they were not in it; None where nobody can say.
    """

    name: str
    measured_ms: float
    counted: tuple[tuple[Op, int], ...]
    sum_ms: float
    unseen_ms: float | None

    def shares(self, sum_ms: float, near_mib: float, far_mib: float) -> tuple[float, ...]:
        """What its time is made of, over its time: errors count relative to it."""
        longer = sum_ms * _log_length(sum_ms)
        amounts = (sum_ms, longer, *_traffic(self.counted, near_mib, far_mib))
        return tuple(amount / self.measured_ms for amount in amounts)


def fit_calibration(table: LatencyTable, cost: CostModel) -> Calibration | None:
    """Learn from the networks that a table holds; None where they are too few.

    With fewer than ``TRAFFIC_NETWORKS`` only a factor is learned, the median ratio, because one
    network out of line must not bend the others.

    Args:
        table: with ``model`` rows and the rows of their kernels.
        cost: prices the kernels, in ms; one that has ``held_out`` tells what they would be priced
            at if they were not rows, which is what other networks' kernels are.
    """
    timed = _timed(table, cost)
    if len(timed) < MIN_NETWORKS:
        return None
    near_mib = table.device.caches[1] / _MIB if len(table.device.caches) > 1 else 0.0
    far_mib, errors = _best_far(timed, near_mib)
    law = _law(_shares(timed, near_mib, far_mib))
    if not _SLOPE_RANGE[0] <= law[0] <= _SLOPE_RANGE[1]:
        return None
    factor, unseen_share = _unseen(timed, near_mib, far_mib)
    return Calibration(
        slope=float(law[0]),
        networks={item.name: item.measured_ms / item.sum_ms for item in timed},
        interval_share=_covering(errors),
        longer=float(law[1]),
        activation_ms_per_mib=float(law[2]),
        weight_ms_per_mib=float(law[3]),
        near_ms_per_mib=float(law[4]),
        near_mib=near_mib,
        far_mib=far_mib,
        unseen_factor=factor,
        unseen_share=unseen_share,
    )


def _best_far(timed: Sequence[_Timed], near_mib: float) -> tuple[float, Floats]:
    """How many MiB of weights no cache holds, and the errors of networks left out with it."""
    found = [(0.0, _left_out(_shares(timed, near_mib, 0.0)))]
    if len(timed) >= TRAFFIC_NETWORKS:
        found += [(mib, _left_out(_shares(timed, near_mib, mib))) for mib in _FAR_MIB]
    return min(found, key=lambda item: float(np.mean(np.minimum(item[1], 0.5))))


def _unseen(timed: Sequence[_Timed], near_mib: float, far_mib: float) -> tuple[float, float | None]:
    """Factor that takes the regression's bias out of unseen kernels' prices, and what is left."""
    known = [item for item in timed if item.unseen_ms is not None and item.unseen_ms > 0]
    if len(known) < TRAFFIC_NETWORKS:
        return 1.0, None
    ratios = np.array([item.sum_ms / (item.unseen_ms or 1.0) for item in known])
    logs = np.log(ratios)
    middle = float(np.median(logs))
    # Standard error of a median, with the spread of the middle half for the deviation. The nearer
    # the bias is to it, the less of it is believed (James and Stein 1961).
    spread = float(np.subtract(*np.quantile(logs, [0.75, 0.25]))) / 1.349
    error = 1.2533 * spread / np.sqrt(len(logs))
    kept = middle * max(0.0, 1.0 - (error / max(abs(middle), 1e-9)) ** 2)
    factor = float(np.clip(np.exp(kept), *_BIAS_RANGE))
    shares = np.array(
        [item.shares((item.unseen_ms or 0.0) * factor, near_mib, far_mib) for item in known]
    )
    return factor, _covering(_left_out(_shares(known, near_mib, far_mib), shares))


def _covering(errors: Floats) -> float:
    """The error that covers nine of ten further networks (split conformal, Lei et al. 2018)."""
    place = int(np.ceil(_COVERAGE * (len(errors) + 1))) - 1
    return float(np.sort(errors)[min(place, len(errors) - 1)])


def _shares(timed: Sequence[_Timed], near_mib: float, far_mib: float) -> Floats:
    return np.array([item.shares(item.sum_ms, near_mib, far_mib) for item in timed])


def _left_out(shares: Floats, asked: Floats | None = None) -> Floats:
    """Relative error of each network by the law of the others.

    Args:
        shares: what each is made of, which the laws are learned from.
        asked: the same as the laws are asked with, where that is another.
    """
    laws = (_law(np.delete(shares, i, axis=0)) for i in range(len(shares)))
    rows = shares if asked is None else asked
    return np.array([abs(float(row @ law) - 1.0) for row, law in zip(rows, laws, strict=True)])


def _law(shares: Floats) -> Floats:
    """Coefficients of the sum and the traffic that bring ``shares @ law`` near 1."""
    if len(shares) < TRAFFIC_NETWORKS - 1:
        return np.array([median(1.0 / shares[:, 0]), 0.0, 0.0, 0.0, 0.0])
    size = np.sqrt(_PRIOR_NETWORKS) * np.abs(shares.mean(axis=0))
    left = np.vstack([shares, np.diag(size)])
    right = np.concatenate([np.ones(len(shares)), size * np.eye(shares.shape[1])[0]])
    law = np.asarray(nnls(left, right)[0])
    error = np.abs(shares @ law - 1.0)
    limit = max(2.0 * float(np.median(error)), 0.02)
    root = np.sqrt(np.minimum(1.0, limit / np.maximum(error, 1e-9)))
    left[: len(shares)] *= root[:, None]
    right[: len(shares)] *= root
    return np.asarray(nnls(left, right)[0])


def _log_length(total_ms: float) -> float:
    """By how many factors of e a sum is longer than what is timed at once; 0 if it is not."""
    return max(math.log(max(total_ms, _AT_ONCE_MS) / _AT_ONCE_MS), 0.0)


def _traffic(
    counted: Sequence[tuple[Op, int]], near_mib: float, far_mib: float
) -> tuple[float, float, float]:
    """What kernels run so often move, in MiB of float32.

    Returns:
        Activations read and written; weights that come from memory, all of them where ``far_mib``
        is 0; the weights again, negative, if they all fit into ``near_mib`` together, else 0.
    """
    activations = sum(
        count * (op.num_input_elements + op.num_output_elements) for op, count in counted
    )
    weights = [(4.0 * op.num_weights / _MIB, count) for op, count in counted]
    weight_mib = sum(mib * count for mib, count in weights)
    near = -weight_mib if weight_mib <= _NEAR_SLACK * near_mib else 0.0
    away = _away(weight_mib, far_mib)
    far = sum(_farther(mib, away, far_mib) * count for mib, count in weights)
    return 4.0 * activations / _MIB, far, near


def _away(weight_mib: float, far_mib: float) -> float:
    """Share of so many MiB of weights that come from memory; all where no limit is known."""
    if far_mib <= 0:
        return 1.0
    begins = _FAR_BEGINS * far_mib
    return min(max((weight_mib - begins) / (far_mib - begins), 0.0), 1.0)


def _farther(mib: float, away: float, far_mib: float) -> float:
    """Of a kernel's weights, those that come from memory here and did not when it ran alone.

    Args:
        mib: its weights, which are all that there is when it is timed alone.
        away: share of its network's weights that come from memory.
        far_mib: as ``Calibration.far_mib``.
    """
    alone = _away(mib, far_mib) if far_mib > 0 else 0.0
    return max(away - alone, 0.0) * mib


def _timed(table: LatencyTable, cost: CostModel) -> list[_Timed]:
    """The networks of a table whose sums can be said; all their kernels are priced at once."""
    ops = {op.digest: op for op in table.rows}
    found: list[tuple[Measurement, tuple[tuple[Op, int], ...]]] = []
    for row in table.models():
        counts = model_op_counts(row.op)
        known = tuple((ops[digest], count) for digest, count in counts.items() if digest in ops)
        covered = sum(count for _, count in known)
        if row.has_number and known and covered >= (1.0 - _MISSING) * sum(counts.values()):
            found.append((row, known))
    kernels = list({op: None for _, known in found for op, _ in known})
    if not kernels:
        return []
    prices = dict(zip(kernels, map(float, cost.price(kernels).values), strict=True))
    held_out = cost.held_out() if isinstance(cost, HoldsOut) else {}
    timed = []
    for row, known in found:
        sum_ms = sum(prices[op] * count for op, count in known)
        unseen = sum(held_out.get(op, prices[op]) * count for op, count in known)
        if sum_ms > 0:
            name = row.op.attribute("name", row.op.digest)
            unseen_ms = unseen if held_out else None
            timed.append(_Timed(name, row.latency_ms, known, sum_ms, unseen_ms))
    return timed
