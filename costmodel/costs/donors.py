"""A device of few rows that starts from what other devices' tables say.

Each donor's prices become this device's by a correction learned from the rows (``correction``), and
so does the device's own law (``regression``). What each is worth is seen on rows left out: prices
are mixed, on their logarithm, with the weights that would have done best (stacking, Wolpert 1992;
non-negative, Breiman 1996). A donor that says nothing about the device gets no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.costs.correction import Correction, Donation, clipped, most_telling
from costmodel.costs.features import Table, is_learnable
from costmodel.costs.likeness import class_of
from costmodel.costs.regression import COVERAGE, UNKNOWN_SPREAD, Regression, fit_regression
from costmodel.costs.residual import standardisation
from costmodel.costs.translation import Translation, translated
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.op import Op
from costmodel.protocols import Prices, Unit
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]

#: Fewest rows by which weights and interval are chosen; below, donors count alike.
_FEWEST_ROWS = 10
#: Half width of the interval as a factor where nothing of the device was measured.
_UNMEASURED = 10.0
#: Errors below this share are as good as none when weights are chosen.
_SMALL_ERROR = 0.03
#: Weights lean on equal ones as if by this many rows of small errors.
_PRIOR_ROWS = 3.0
_REWEIGHTINGS = 20
#: Logarithms of errors beyond this are all as bad when gains are judged.
_FAR_OFF = 1.0
#: A smaller weight cannot be told from none, and of a donor of noise it would still do harm.
_LEAST_WEIGHT = 0.1
#: Deviations that cover ``COVERAGE`` of a normal error; bounds of what rows say about it.
_NORMAL, _LEAST, _MOST = 1.645, 0.5, 10.0
#: A median absolute error in standard deviations of a normal one.
_TO_DEVIATION = 1.4826
#: Weight of the condition that weights sum to 1.
_STRICT = 1e3
#: Most of a choice that goes to kernels no donor can price.
_UNKNOWN_SHARE = 0.5
#: Half of an interval's logarithm at most: a factor of twenty.
_WIDEST = 3.0


class Donor:
    """Another device's regression, asked about this device's Ops.

    Args:
        regression: fitted to the donor's table.
        device: the one that is helped.
    """

    def __init__(self, regression: Regression, device: Device | None) -> None:
        self.regression = regression
        self._device = device
        self._translation = Translation(regression.ops)
        features = regression.view(regression.ops)[-1]
        self._mean, self._scale = standardisation(np.nan_to_num(features))

    def donation(self, ops: Sequence[Op]) -> tuple[NDArray[np.int_], Donation]:
        """Places of the Ops that the donor can price, and what it says about them."""
        places, theirs = translated(self._translation, ops)
        prices = self.regression.price(theirs)
        known = np.flatnonzero(np.isfinite(prices.values))
        asked = [theirs[place] for place in known]
        base, shares, features = self.regression.view(asked)
        features = np.nan_to_num(features)
        values, high = prices.values[known], prices.high[known]
        mine = [ops[places[place]] for place in known]
        kept = np.array(places, dtype=np.intp)[known]
        return kept, Donation(
            log_ms=np.log(values),
            quirk=np.clip(np.nan_to_num(np.log(values / base)), -1.0, 1.0),
            doubt=(np.log(np.maximum(high / values, 1.0)) / _NORMAL) ** 2,
            shares=shares,
            features=clipped(features, self._mean, self._scale),
            paths=np.array(Table(mine, self._device).paths, dtype=np.str_),
            classes=np.array([class_of(op.kind) for op in mine], dtype=np.str_),
        )


class DonatedRegression:
    """Prices Ops of a device of few rows by its rows and by other devices; a ``CostModel``.

    Rows of the table are answered exactly, as by ``Regression``. Anything else is a mixture of what
    the device's own law and each donor's corrected prices say, weighted by how well they do on
    rows left out. Below ten rows the donors count alike and the own law is for kinds that they
    lack; without any row prices are the donors' times as they are, give or take a factor of ten,
    and all are called extrapolated.

    Args:
        rows: measured rows of the device.
        donors: regressions of other devices, at least one.
        device: whose numbers these are.

    Attributes:
        weights: share of each donor, in order, then of the own law; they sum to 1.
        factor: half width of the interval in standard deviations.
    """

    unit: Unit = "ms"
    name = "regression"

    def __init__(
        self,
        rows: Sequence[Measurement],
        donors: Sequence[Regression],
        *,
        device: Device | None = None,
        own: Regression | None = None,
    ) -> None:
        self.device = device
        learn = [row for row in rows if row.has_number and is_learnable(row.op)]
        self._own = own or (Regression(rows, device=device) if learn else None)
        self._kinds = {row.op.kind for row in learn}
        self._donors = [Donor(regression, device) for regression in donors]
        log_ms = np.log([row.latency_ms for row in learn])
        spread = np.array([row.spread for row in learn])
        spread = np.where(np.isfinite(spread), spread, UNKNOWN_SPREAD)
        noise = (np.minimum(spread, 1.0) / 2) ** 2
        left_out, deviation = (np.full((len(learn), len(donors) + 1), np.nan) for _ in range(2))
        self._corrections: list[Correction] = []
        for column, donor in enumerate(self._donors):
            places, donation = donor.donation([row.op for row in learn])
            found = Correction(donation, log_ms[places], noise[places])
            used = places[found.rows]
            left_out[used, column], deviation[used, column] = found.held_out, found.deviation
            self._corrections.append(found)
        held_out = self._own.held_out() if self._own is not None else {}
        if held_out:
            left_out[:, -1] = np.log([held_out[row.op] for row in learn])
            error = np.abs(left_out[:, -1] - log_ms)
            deviation[:, -1] = max(float(np.median(error)) * _TO_DEVIATION, _SMALL_ERROR)
        self.weights, self.factor = np.append(np.full(len(donors), 1.0 / len(donors)), 0.0), 2.0
        if len(learn) >= _FEWEST_ROWS:
            self.weights = _stacked(left_out, log_ms)
            self.factor = self._width(left_out, deviation, log_ms)
        mixed = _mixed(left_out, self.weights)
        self._held_out = {
            row.op: float(np.exp(value))
            for row, value in zip(learn, mixed, strict=True)
            if np.isfinite(value) and held_out
        }

    def held_out(self) -> Mapping[Op, float]:
        """What each row would be priced at, in ms, if it were not in the table."""
        return self._held_out

    def price(self, ops: Sequence[Op]) -> Prices:
        """Latency in ms per Op; see ``Prices``."""
        prices = self._own.price(ops) if self._own is not None else _no_prices(ops)
        exact = prices.exact if prices.exact is not None else np.zeros(len(ops), dtype=np.bool_)
        asked = [i for i, op in enumerate(ops) if not exact[i] and is_learnable(op)]
        if not asked:
            return prices
        means, deviations = self._ask([ops[i] for i in asked], prices, np.array(asked))
        mean, deviation = _mixed(means, self.weights), _mixed(deviations, self.weights)
        by_donor = set(np.flatnonzero(np.isfinite(means[:, :-1]).any(axis=1)).tolist())
        values, low, high = prices.values.copy(), prices.low.copy(), prices.high.copy()
        reasons, doubts = dict(prices.reasons), dict(prices.extrapolated)
        for place, index in enumerate(asked):
            if place not in by_donor:
                continue
            half = np.exp(min(self.factor * deviation[place], _WIDEST))
            if self._own is None:
                half = _UNMEASURED
            values[index] = np.exp(mean[place])
            low[index], high[index] = values[index] / half, values[index] * half
            reasons.pop(index, None)
            doubts.pop(index, None)
            if ops[index].kind not in self._kinds:
                doubts[index] = f"no row of kind {ops[index].kind!r}: priced by donors"
        return Prices(
            values=values, low=low, high=high, reasons=reasons, extrapolated=doubts, exact=exact
        )

    def _ask(
        self, ops: Sequence[Op], prices: Prices, asked: NDArray[np.int_]
    ) -> tuple[Floats, Floats]:
        """Logarithms of what everybody says of some Ops, and deviations; NaN where nothing."""
        means, deviations = (np.full((len(ops), len(self._donors) + 1), np.nan) for _ in range(2))
        for column, (donor, correction) in enumerate(
            zip(self._donors, self._corrections, strict=True)
        ):
            if self.weights[column] == 0.0:
                continue  # what it says of kinds without rows is worth as little
            places, donation = donor.donation(ops)
            found = correction.predict(donation)
            means[places, column], deviations[places, column] = found
        value, high = prices.values[asked], prices.high[asked]
        means[:, -1] = np.log(value)
        deviations[:, -1] = np.log(high / value) / _NORMAL
        return means, deviations

    def _width(self, left_out: Floats, deviation: Floats, log_ms: Floats) -> float:
        """Deviations that cover ``COVERAGE`` of rows left out (conformal, Lei et al. 2018)."""
        error = np.abs(_mixed(left_out, self.weights) - log_ms)
        scores = error / _mixed(deviation, self.weights)
        scores = scores[np.isfinite(scores)]
        share = min(1.0, COVERAGE * (1.0 + 1.0 / len(scores)))
        found = np.quantile(scores, share, method="higher")
        return float(np.clip(found, _LEAST, _MOST))


def fit_donated(table: LatencyTable, donors: Sequence[LatencyTable]) -> DonatedRegression:
    """Fit a table of few rows, or none, with the help of other devices' tables.

    Args:
        table: measured rows.
        donors: tables of other devices, at least one; measured, imported or estimated.

    Raises:
        InvalidInputError: if a donor has no rows to learn from.
    """
    rows = list(table.rows.values())
    has_rows = any(row.has_number and is_learnable(row.op) for row in rows)
    return DonatedRegression(
        rows,
        [fit_regression(donor) for donor in donors],
        device=table.device,
        own=fit_regression(table) if has_rows else None,
    )


def choose_telling(
    donors: Sequence[Regression],
    ops: Sequence[Op],
    count: int,
    *,
    device: Device | None = None,
) -> list[Op]:
    """The Ops whose times tell most about how a device differs from its donors.

    Ops that no donor can price come first: nothing but measuring them tells anything.

    Args:
        donors: regressions of other devices.
        ops: distinct candidates.
        count: wished Ops.
        device: whose they are.
    """
    told = [Donor(regression, device).donation(ops) for regression in donors]
    known = sorted(set.intersection(*(set(places.tolist()) for places, _ in told)))
    unknown = [op for place, op in enumerate(ops) if place not in set(known)]
    chosen = unknown[: max(1, round(_UNKNOWN_SHARE * count))] if unknown else []
    donations = [donation.of(np.searchsorted(places, known)) for places, donation in told]
    places = most_telling(donations, count - len(chosen))
    chosen += [ops[known[place]] for place in places]
    return (chosen + unknown[len(chosen) :])[:count]


def _stacked(left_out: Floats, log_ms: Floats) -> Floats:
    """Non-negative weights that sum to 1 and leave the least absolute error on rows left out.

    Least absolute values by reweighting (Lawson 1961), so that a kernel which one of them gets
    wrong a hundredfold does not decide.
    """
    present = np.flatnonzero(np.isfinite(left_out).any(axis=0))
    rows = np.flatnonzero(np.isfinite(left_out).any(axis=1))
    # Who says nothing about a row is taken to say what the others do, as in a price.
    mean = np.nanmean(left_out[rows], axis=1)
    filled = np.where(np.isfinite(left_out[rows]), left_out[rows], mean[:, None])
    errors = (filled - log_ms[rows, None])[:, present]
    count = len(present)
    equal = np.full(count, 1.0 / count)
    pull = np.sqrt(_PRIOR_ROWS * _SMALL_ERROR) * np.eye(count)
    weights = equal
    for _ in range(_REWEIGHTINGS):
        root = 1.0 / np.sqrt(np.maximum(np.abs(errors @ weights), _SMALL_ERROR))
        sums_to_1 = np.full((1, count), _STRICT)
        left = np.vstack([errors * root[:, None], sums_to_1, pull])
        right = np.concatenate([np.zeros(len(errors)), [_STRICT], pull @ equal])
        weights = nnls(left, right)[0]
    weights[weights < min(_LEAST_WEIGHT, weights.max())] = 0.0
    found = np.zeros(left_out.shape[1])
    found[present] = weights / weights.sum()
    own = left_out.shape[1] - 1
    if own in present:
        # Weights were chosen to do best here: less than a standard error of gain may be luck.
        mixed = np.abs(errors @ found[present])
        gain = np.minimum(np.abs(errors[:, -1]), _FAR_OFF) - np.minimum(mixed, _FAR_OFF)
        if gain.mean() < gain.std() / np.sqrt(len(gain)):
            return np.where(np.arange(own + 1) == own, 1.0, 0.0)
    return found


def _mixed(columns: Floats, weights: Floats) -> Floats:
    """Weighted mean of each row's numbers; who says nothing leaves its weight to the others.

    Where only those without weight say something, they count alike.
    """
    known = np.isfinite(columns)
    shares = np.where(known, weights, 0.0)
    alone = shares.sum(axis=1) <= 0.0
    shares[alone] = known[alone]
    total = shares.sum(axis=1)
    mixed = np.where(known, columns, 0.0) * shares
    return np.where(total > 0, mixed.sum(axis=1) / np.maximum(total, 1e-12), np.nan)


def _no_prices(ops: Sequence[Op]) -> Prices:
    """Where the device has no row at all."""
    nothing = np.full(len(ops), np.nan)
    return Prices(
        values=nothing,
        low=nothing.copy(),
        high=nothing.copy(),
        reasons={
            place: f"the table has no row, and no donor a price of a {op.kind!r}"
            for place, op in enumerate(ops)
        },
        exact=np.zeros(len(ops), dtype=np.bool_),
    )
