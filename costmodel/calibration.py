"""Calibration: from the sum of kernels timed alone to the time of the network they make up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from costmodel.figures import percent
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op_counts
from costmodel.op import DTYPE_BYTES, SESSION, Op
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
_MIB = float(1 << 20)
#: To choose from: MiB of weights that a cache holds for a process (what of the last cache it gets
#: is not what the system says, on shared machines least of all); what reading one of them from
#: memory takes, in ms; and MiB that rows were timed with, where one kernel alone has fewer.
_CACHE_MIB = (4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_READ_MS = (0.02, 0.04, 0.06, 0.08, 0.11)
_ROWS_MIB = (0.0, 32.0, math.inf)
#: How reading weights and computing overlap: times add up like the sides of a box of this norm.
_OVERLAP = 3.0
#: Reading a weight from a cache over reading it from memory.
_NEAR_SHARE = 0.2
#: What an activation counts for beside a weight: most are still in the near cache as it is.
_ACTIVATIONS = 0.1
#: Most of a kernel's time that can be reading weights from memory. A dense layer of one row does
#: next to nothing else, and takes a third of it where a cache holds them: with 0.9 its norm would
#: leave two thirds to computing.
_MOST_READING = 0.98
#: What is read by a kernel of which only the price is known; as ``_read_mib`` has it.
_NOTHING = (0.0, 0.0, 1.0)
#: So much better networks left out must be predicted before where weights lie is believed.
_LEAST_GAIN = 0.02
#: What is timed at once: a block of ``Plan.block_ms``.
_AT_ONCE_MS = 1.0
#: What is chosen of a place.
_PLACE_CHOICES = 3
#: Coverage of intervals.
_COVERAGE = 0.9
#: Least error that covers nine of ten networks none of whose kernels is a row, whatever own
#: networks say: in the best of tables those of others needed 5.6 to 7.1 %
#: (docs/decisions/any-network.md).
_LEAST_UNSEEN = 0.06
#: Least and largest factor on the regression's prices.
_BIAS_RANGE = (0.85, 1.18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A ``NetworkLaw`` learned from networks and kernels timed on the same device.

    ``network = (slope + longer * ln(sum / 1 ms)) * sum``, the logarithm between 0 and that of
    ``longest_ms``, where every kernel counts with the time that it takes where its weights lie. Of
    weights that are read in turns, a cache holds as much as it is large, and the rest comes from
    memory: of a network's all together, of a kernel's that is timed alone those of the copies that
    it was timed with. Reading overlaps with computing, so that it costs a convolution of a large
    map nothing and doubles the time of a dense layer. And what is timed for
    a millisecond at once finds a moment that neighbours leave alone, which a longer run cannot: the
    quiet time of a network grows faster than its sum. Other people's tables hold kernels alone, and
    no row for what a run costs beside them: so many ms a run and a kernel are then learned, too.

    Attributes:
        slope: factor on the sum.
        longer: added to the slope each time the sum is longer by a factor of e, from 1 ms on.
        longest_ms: of the sums behind the fit; what is longer counts as long as that.
        networks: measured over summed latency of each network behind the fit.
        interval_share: relative half width that covers nine of ten networks whose kernels are all
            rows, each left out in turn.
        read_ms_per_mib: what reading weights from memory takes; 0 where it makes no difference.
        cache_mib: weights that a cache holds.
        rows_mib: weights that the copies of a row read in turns, where its own are fewer; of a
            narrower type than float32 as much less.
        unseen_factor: on the prices of kernels that are no rows: what the regression gets wrong in
            the same direction, network after network.
        unseen_share: like ``interval_share``, of networks none of whose kernels is a row; the same
            where that is not known.
        fixed_ms: of every run; 0 where the table has a row for it.
        kernel_ms: of starting a kernel; 0 where the table has a row for what a run costs.

    >>> Calibration(slope=1.02, networks={"a": 1.02}, interval_share=0.03).apply([10.0])
    10.2
    """

    slope: float
    networks: Mapping[str, float]
    interval_share: float
    longer: float = 0.0
    longest_ms: float = math.inf
    read_ms_per_mib: float = 0.0
    cache_mib: float = 0.0
    rows_mib: float = 0.0
    unseen_factor: float = 1.0
    unseen_share: float | None = None
    fixed_ms: float = 0.0
    kernel_ms: float = 0.0

    def apply(
        self, prices_ms: Sequence[float], ops: Sequence[Op] = (), *, unseen: float = 0.0
    ) -> float:
        """Calibrated latency in ms of a network.

        Args:
            prices_ms: of its kernels.
            ops: its kernels in the same order, for their weights; without them these are left
                where the rows found them.
            unseen: part of the sum that is of kernels that are no rows, 0 to 1.
        """
        prices = np.asarray(prices_ms, dtype=np.float64)
        read = (
            np.array([_read_mib(op) for op in ops]) if ops else np.tile(_NOTHING, (len(prices), 1))
        )
        total_ms = float(self._place.moved(prices, read, weight_mib(ops)).sum())
        total_ms *= 1.0 + unseen * (self.unseen_factor - 1.0)
        return total_ms * self.factor(total_ms) + self.fixed_ms + self.kernel_ms * len(prices)

    def factor(self, total_ms: float) -> float:
        """Factor on a sum of so many ms."""
        return self.slope + self.longer * _log_length(min(total_ms, self.longest_ms))

    def of_kernel(self, op: Op, price_ms: float, factor: float, weight_mib: float) -> float:
        """What one kernel adds to a network, in ms; what every run costs is no kernel's.

        Args:
            op: the kernel.
            price_ms: its own price.
            factor: on the sum of its network, as ``factor`` tells.
            weight_mib: of all kernels of its network.
        """
        moved = self._place.moved(np.array([price_ms]), np.array([_read_mib(op)]), weight_mib)
        return factor * float(moved[0]) + self.kernel_ms

    @property
    def _place(self) -> _Place:
        return _Place(self.read_ms_per_mib, self.cache_mib, self.rows_mib)

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
        if self.read_ms_per_mib > 0:
            cost = f"{self.read_ms_per_mib * 1e3:.0f} us per MiB"
            parts.append(f"weights from memory beyond {self.cache_mib:.0f} MiB ({cost})")
        for amount_ms, each in ((self.kernel_ms, "kernel"), (self.fixed_ms, "run")):
            if amount_ms > 0:
                parts.append(f"{amount_ms * 1e3:.3g} us per {each}")
        doubt = f"nine of ten within {percent(self.interval_share)}"
        if self.unseen_share is not None:
            doubt += f", unseen ones within {percent(self.unseen_share)}"
        return (
            f"{', '.join(parts)}, from {len(self.networks)} networks timed on this device ({doubt})"
        )


def weight_mib(ops: Sequence[Op]) -> float:
    """Weights of all kernels of a network together, in MiB of their own types."""
    return sum(_read_mib(op)[0] for op in ops)


def _read_mib(op: Op) -> tuple[float, float, float]:
    """What a kernel reads: MiB of weights, MiB of all that counts like them, and its type's width.

    The width is in those of float32: copies of narrower weights are no more, and take less.
    """
    width = DTYPE_BYTES.get(op.dtype, 4) / 4.0
    weights = 4.0 * width * op.num_weights / _MIB
    activations = 4.0 * width * (op.num_input_elements + op.num_output_elements) / _MIB
    return weights, weights + _ACTIVATIONS * activations, width


@dataclass(frozen=True, slots=True)
class _Place:
    """Where weights come from, alone and in a network.

    Attributes:
        read_ms: reading a MiB from memory; 0 where it makes no difference.
        cache_mib: weights that a cache holds.
        rows_mib: weights that a kernel alone is timed with, where its own are fewer.
    """

    read_ms: float = 0.0
    cache_mib: float = 0.0
    rows_mib: float = 0.0

    def moved(self, prices: Floats, read: Floats, total_mib: float) -> Floats:
        """Times of kernels in a network of ``total_mib`` of weights.

        Args:
            prices: ``(kernels,)`` alone, in ms.
            read: ``(kernels, 3)``, as ``_read_mib`` has it.
            total_mib: of the network.
        """
        if self.read_ms <= 0:
            return prices
        alone = self._slowness(np.maximum(read[:, 0], self.rows_mib * read[:, 2]))
        together = self._slowness(np.asarray(total_mib))
        reading = np.minimum(self.read_ms * read[:, 1] * alone, _MOST_READING * prices)
        rest = prices**_OVERLAP - reading**_OVERLAP
        there = rest + (reading * together / alone) ** _OVERLAP
        return np.asarray(there ** (1.0 / _OVERLAP))

    def _slowness(self, mib: Floats) -> Floats:
        """Reading weights when so many MiB are read in turns, over reading them from memory."""
        missed = np.maximum(0.0, 1.0 - self.cache_mib / np.maximum(mib, 1e-9))
        return np.asarray(_NEAR_SHARE + (1.0 - _NEAR_SHARE) * missed)


@dataclass(frozen=True, slots=True)
class _Timed:
    """One timed network.

    Attributes:
        name: its name.
        measured_ms: its own time.
        counts: how often each of its kernels runs.
        read: ``(kernels, 3)`` of each, as ``_read_mib`` has it.
        prices: of each in ms, as the table has it, or the regression where it has not.
        held_out: the same as if none were in the table; None where nobody can say.
        started: whether what a run and its kernels cost beside their work is to be learned.
    """

    name: str
    measured_ms: float
    counts: Floats
    read: Floats
    prices: Floats
    held_out: Floats | None
    started: bool

    @property
    def sum_ms(self) -> float:
        """Of its kernels alone."""
        return float(np.dot(self.counts, self.prices))

    def moved_ms(self, prices: Floats, place: _Place) -> float:
        """Sum of its kernels where their weights lie."""
        whole = float(np.dot(self.counts, self.read[:, 0]))
        return float(np.dot(self.counts, place.moved(prices, self.read, whole)))

    def shares(self, total_ms: float, longest_ms: float) -> tuple[float, ...]:
        """What its time is made of, over its time: errors count relative to it."""
        longer = total_ms * _log_length(min(total_ms, longest_ms))
        starts = (1.0, float(self.counts.sum())) if self.started else ()
        return tuple(amount / self.measured_ms for amount in (total_ms, longer, *starts))


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
    longest_ms = max(item.sum_ms for item in timed)
    place, shares, errors = _best_place(timed, longest_ms)
    law = _law(shares)
    if not _SLOPE_RANGE[0] <= law[0] <= _SLOPE_RANGE[1]:
        return None
    chosen = _PLACE_CHOICES if place.read_ms > 0 else 0
    factor, unseen_share = _unseen(timed, place, longest_ms, chosen)
    fixed_ms, kernel_ms = law[2:] if len(law) > 2 else (0.0, 0.0)
    return Calibration(
        slope=float(law[0]),
        networks={item.name: item.measured_ms / item.sum_ms for item in timed},
        interval_share=_covering(errors, chosen),
        longer=float(law[1]),
        longest_ms=longest_ms if law[1] > 0 else math.inf,
        read_ms_per_mib=place.read_ms,
        cache_mib=place.cache_mib,
        rows_mib=place.rows_mib,
        unseen_factor=factor,
        unseen_share=unseen_share,
        fixed_ms=float(fixed_ms),
        kernel_ms=float(kernel_ms),
    )


def _best_place(timed: Sequence[_Timed], longest_ms: float) -> tuple[_Place, Floats, Floats]:
    """Where weights lie, what networks are then made of, and their errors if left out.

    A dozen networks leave open which of some places they tell of. Each counts by the likelihood of
    the errors of networks left out, taken for Laplace's with a scale that is not known.
    """

    def tried(place: _Place) -> tuple[_Place, Floats, Floats]:
        shares = _shares(timed, [item.prices for item in timed], place, longest_ms)
        return place, shares, _left_out(shares)

    plain = tried(_Place())
    if len(timed) < TRAFFIC_NETWORKS:
        return plain
    grid = np.array(list(itertools.product(_ROWS_MIB, _CACHE_MIB, _READ_MS)))
    losses = np.array([_loss(tried(_placed(*point))[2]) for point in grid])
    if losses.min() >= (1.0 - _LEAST_GAIN) * _loss(plain[2]):
        return plain
    weights = (losses / losses.min()) ** -len(timed)
    rows_mib = max(_ROWS_MIB, key=lambda mib: float(weights[grid[:, 0] == mib].sum()))
    mine = grid[:, 0] == rows_mib
    middle = np.exp(np.average(np.log(grid[mine, 1:]), axis=0, weights=weights[mine]))
    return tried(_placed(rows_mib, *middle))


def _placed(rows_mib: float, cache_mib: float, read_ms: float) -> _Place:
    return _Place(float(read_ms), float(cache_mib), float(rows_mib))


def _loss(errors: Floats) -> float:
    return float(np.mean(np.minimum(errors, 0.5)))


def _shares(
    timed: Sequence[_Timed], prices: Sequence[Floats], place: _Place, longest_ms: float
) -> Floats:
    """What networks are made of at some prices of their kernels."""
    return np.array(
        [
            item.shares(item.moved_ms(each, place), longest_ms)
            for item, each in zip(timed, prices, strict=True)
        ]
    )


def _unseen(
    timed: Sequence[_Timed], place: _Place, longest_ms: float, chosen: int
) -> tuple[float, float | None]:
    """Factor that takes the regression's bias out of unseen kernels' prices, and what is left.

    ``chosen`` is as in ``_covering``.
    """
    known = [item for item in timed if item.held_out is not None]
    if len(known) < TRAFFIC_NETWORKS:
        return 1.0, None
    held_out = [item.held_out if item.held_out is not None else item.prices for item in known]
    sums = zip(known, held_out, strict=True)
    logs = np.log([item.sum_ms / float(np.dot(item.counts, prices)) for item, prices in sums])
    middle = float(np.median(logs))
    # Standard error of a median, with the spread of the middle half for the deviation. The nearer
    # the bias is to it, the less of it is believed (James and Stein 1961).
    spread = float(np.subtract(*np.quantile(logs, [0.75, 0.25]))) / 1.349
    error = 1.2533 * spread / np.sqrt(len(logs))
    kept = middle * max(0.0, 1.0 - (error / max(abs(middle), 1e-9)) ** 2)
    factor = float(np.clip(np.exp(kept), *_BIAS_RANGE))
    as_rows = _shares(known, [item.prices for item in known], place, longest_ms)
    asked = _shares(known, [prices * factor for prices in held_out], place, longest_ms)
    return factor, max(_LEAST_UNSEEN, _covering(_left_out(as_rows, asked), chosen))


def _covering(errors: Floats, chosen: int) -> float:
    """The error that covers nine of ten further networks.

    Of many errors the one that has its place among them (split conformal, Lei et al. 2018). Fewer
    than nineteen have only their largest there, which one odd network decides: they are taken for
    normally distributed ones around zero (Student 1908).

    Args:
        errors: of networks left out.
        chosen: numbers that were chosen on all of them before: so many errors say nothing.
    """
    place = int(np.ceil(_COVERAGE * (len(errors) + 1))) - 1
    if place < len(errors) - 1:
        return float(np.sort(errors)[place])
    # Imported here because SciPy takes a while to import, and most commands fit nothing.
    from scipy.special import stdtrit

    freedom = max(1, len(errors) - chosen)
    deviations = float(stdtrit(freedom, (1.0 + _COVERAGE) / 2.0))
    return deviations * float(np.sqrt(np.sum(np.square(errors)) / freedom))


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
    """Coefficients of what networks are made of that bring ``shares @ law`` near 1."""
    if len(shares) < TRAFFIC_NETWORKS - 1:
        return np.array([median(1.0 / shares[:, 0]), *[0.0] * (shares.shape[1] - 1)])
    # Imported here because SciPy takes a while to import, and most commands fit nothing.
    from scipy.optimize import nnls

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


def _timed(table: LatencyTable, cost: CostModel) -> list[_Timed]:
    """The networks of a table whose sums can be said; all their kernels are priced at once."""
    of_digest = {op.digest: op for op in table.rows}
    found: list[tuple[Measurement, tuple[tuple[Op, int], ...]]] = []
    for row in table.models():
        counts = model_op_counts(row.op)
        found.append((row, tuple((of_digest[d], n) for d, n in counts.items() if d in of_digest)))
    kernels = list({op: None for _, known in found for op, _ in known})
    if not kernels:
        return []
    prices = dict(zip(kernels, map(float, cost.price(kernels).values), strict=True))
    held_out = cost.held_out() if isinstance(cost, HoldsOut) else {}
    sessions = any(op.kind == SESSION and row.has_number for op, row in table.rows.items())
    started = table.device.provenance == "imported" and not sessions
    timed = []
    for row, known in found:
        priced = tuple((op, count) for op, count in known if math.isfinite(prices[op]))
        covered = sum(count for _, count in priced)
        if not covered or covered < (1.0 - _MISSING) * sum(model_op_counts(row.op).values()):
            continue
        ops = [op for op, _ in priced]
        found_ms = np.array([prices[op] for op in ops])
        item = _Timed(
            name=row.op.attribute("name", row.op.digest),
            measured_ms=row.latency_ms,
            counts=np.array([float(count) for _, count in priced]),
            read=np.array([_read_mib(op) for op in ops]),
            prices=found_ms,
            held_out=np.array([held_out.get(op, prices[op]) for op in ops]) if held_out else None,
            started=started,
        )
        if item.sum_ms > 0:
            timed.append(item)
    return timed
