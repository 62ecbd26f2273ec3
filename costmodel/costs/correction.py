"""Correction: what a new device's kernels take over what a donor's take, from few rows.

``log(new) = log(donor) + correction``. The correction is a Gaussian process (Rasmussen and Williams
2006): a factor for everything, one per class of kinds, one per execution path, one per term of the
donor's law (a device with half the bandwidth takes twice as long where bytes dominate), a share of
the donor's quirks, which is how far its kernels are off its own law, and a smooth function of the
shape. How far each may go has a prior, so that ten rows move little but the
common factor, and is otherwise the most probable given the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]

#: Variance of the common factor's logarithm: devices differ by any factor.
_ANY = 4.0
#: Prior medians, in this order, of the variances of a class's, a path's and a term's factor, of how
#: much of its quirks the donor keeps to itself, and of the smooth part, of its length scale in
#: standard deviations, of the rows' noise, and of how much of the donor's own doubt is noise; and
#: the deviations of their logarithms.
_PRIOR = np.log([0.05, 0.03, 0.05, 0.3, 0.03, 6.0, 0.003, 0.5])
_PRIOR_DEVIATION = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0])
_CLASS, _PATH, _TERM, _QUIRK, _SMOOTH, _LENGTH, _NOISE, _DOUBT = range(8)
#: Rows that the process is conditioned on, and that its hyper-parameters are searched on; of more,
#: every n-th. A device with more rows of its own needs no donor.
_MOST_ROWS, _SEARCH_ROWS = 600, 250
_SEARCH_STEPS = 25
#: Beyond so many deviations a row counts less (Huber 1964): it is a kernel that one of the devices
#: runs by another algorithm.
_HUBER = 2.5
#: Features further out than this many deviations count as if they were there.
_FARTHEST = 4.0
_JITTER = 1e-6
_ROOT3 = 3.0**0.5
#: Ops predicted at once, so that their kernel matrix stays in the caches.
_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Donation:
    """What a donor says about some Ops.

    Attributes:
        log_ms: ``(ops,)`` logarithm of its price.
        doubt: ``(ops,)`` variance of that logarithm.
        quirk: ``(ops,)`` logarithm of its price over its law's.
        shares: ``(ops, terms)`` share of each term of its law in the price.
        features: ``(ops, features)`` of the shape, standardised by the donor's rows.
        paths: execution path of each Op on the new device.
        classes: class of each Op's kind.
    """

    log_ms: Floats
    doubt: Floats
    quirk: Floats
    shares: Floats
    features: Floats
    paths: NDArray[np.str_]
    classes: NDArray[np.str_]

    def __len__(self) -> int:
        """How many Ops."""
        return len(self.log_ms)

    def of(self, rows: NDArray[np.int_] | slice) -> Donation:
        """Of some of the Ops."""
        names = ("log_ms", "doubt", "quirk", "shares", "features", "paths", "classes")
        return Donation(**{name: getattr(self, name)[rows] for name in names})


class Correction:
    """The process of one donor, fitted.

    Args:
        donation: what the donor says about the rows' Ops.
        log_ms: ``(rows,)`` logarithm of what they take here.
        noise: ``(rows,)`` known variance of it.

    Attributes:
        rows: numbers of the rows that were used.
        held_out: ``(len(rows),)`` logarithm of the price each would have without itself.
        deviation: ``(len(rows),)`` standard deviation of it.
    """

    def __init__(self, donation: Donation, log_ms: Floats, noise: Floats) -> None:
        self.rows = np.arange(0, len(donation), max(1, -(-len(donation) // _MOST_ROWS)))
        self._seen = donation.of(self.rows)
        ratio = log_ms[self.rows] - self._seen.log_ms
        self._middle = float(np.median(ratio)) if len(ratio) else 0.0
        self._ratio = ratio - self._middle
        noise = noise[self.rows]
        self._hyper = _PRIOR
        # A few hundred rows: a second thread saves nothing, and sums would depend on their number.
        with threadpool_limits(limits=1, user_api="blas"):
            for is_last in (False, True):
                self._hyper = self._search(noise)
                error, variance = self._condition(noise)
                if not is_last:
                    far = np.abs(error) / np.sqrt(variance) / _HUBER
                    noise = noise + np.maximum(far**2 - 1.0, 0.0) * variance
        self.held_out = log_ms[self.rows] - error
        self.deviation = np.sqrt(variance)

    def predict(self, donation: Donation) -> tuple[Floats, Floats]:
        """Logarithm of the price in ms, and its standard deviation, per Op."""
        mean, variance = np.empty(len(donation)), np.empty(len(donation))
        hyper = np.exp(self._hyper)
        for start in range(0, len(donation), _CHUNK):
            rows = slice(start, start + _CHUNK)
            part = donation.of(rows)
            cross = covariance(part, self._seen, self._hyper)
            prior = _ANY + hyper[[_CLASS, _PATH, _SMOOTH]].sum()
            prior = prior + hyper[_TERM] * (part.shares**2).sum(axis=1)
            prior += hyper[_QUIRK] * part.quirk**2
            explained = np.einsum("ij,ij->i", cross @ self._inverse, cross)
            mean[rows] = part.log_ms + self._middle + cross @ self._alpha
            variance[rows] = np.maximum(prior - explained, 0.0) + hyper[_NOISE]
            variance[rows] += hyper[_DOUBT] * part.doubt
        return mean, np.sqrt(variance)

    def _condition(self, noise: Floats) -> tuple[Floats, Floats]:
        """Condition on the rows; error and variance of each without itself."""
        if not len(noise):
            self._inverse, self._alpha = np.empty((0, 0)), np.empty(0)
            return np.empty(0), np.empty(0)
        hyper = np.exp(self._hyper)
        gram = covariance(self._seen, self._seen, self._hyper)
        own = hyper[_NOISE] + noise + hyper[_DOUBT] * self._seen.doubt + _JITTER
        gram[np.diag_indices_from(gram)] += own
        self._inverse = cho_solve(cho_factor(gram, lower=True), np.eye(len(gram)))
        self._alpha = self._inverse @ self._ratio
        variance = 1.0 / np.diag(self._inverse)
        return self._alpha * variance, variance

    def _search(self, noise: Floats) -> Floats:
        """Logarithms of the most probable hyper-parameters."""
        rows = np.arange(0, len(noise), max(1, -(-len(noise) // _SEARCH_ROWS)))
        if not len(rows):
            return _PRIOR
        seen, ratio, noise = self._seen.of(rows), self._ratio[rows], noise[rows]
        fixed = _alike(seen, seen)
        distance = _distance(seen, seen)
        place = np.diag_indices(len(rows))

        def loss(hyper: Floats) -> tuple[float, Floats]:
            scale = np.exp(hyper)
            away = distance / scale[_LENGTH]
            decay = scale[_SMOOTH] * np.exp(-away)
            smooth = decay * (1.0 + away)
            gram = _ANY + smooth
            for weight, part in zip(scale, fixed, strict=False):
                gram += weight * part
            gram[place] += scale[_NOISE] + noise + scale[_DOUBT] * seen.doubt + _JITTER
            factor = cho_factor(gram, lower=True)
            alpha = cho_solve(factor, ratio)
            slope = 0.5 * (cho_solve(factor, np.eye(len(ratio))) - np.outer(alpha, alpha))
            own = np.diag(slope)
            change = [
                *(float((slope * part).sum()) for part in fixed),
                float((slope * smooth).sum()) / scale[_SMOOTH],
                float((slope * decay * away**2).sum()) / scale[_LENGTH],
                float(own.sum()),
                float((own * seen.doubt).sum()),
            ]
            pull = (hyper - _PRIOR) / _PRIOR_DEVIATION
            value = 0.5 * ratio @ alpha + np.log(np.diag(factor[0])).sum() + 0.5 * pull @ pull
            return float(value), np.asarray(change) * scale + pull / _PRIOR_DEVIATION

        found = minimize(
            loss, self._hyper, jac=True, method="L-BFGS-B", options={"maxiter": _SEARCH_STEPS}
        )
        return np.asarray(found.x)


def covariance(left: Donation, right: Donation, hyper: Floats = _PRIOR) -> Floats:
    """Prior covariance of the corrections of Ops, ``(len(left), len(right))``.

    Args:
        left: some Ops.
        right: others, or the same.
        hyper: logarithms of the hyper-parameters; by default those expected of any two devices.
    """
    scale = np.exp(hyper)
    away = _distance(left, right) / scale[_LENGTH]
    found = _ANY + scale[_SMOOTH] * (1.0 + away) * np.exp(-away)
    for weight, part in zip(scale, _alike(left, right), strict=False):
        found += weight * part
    return np.asarray(found)


def _alike(left: Donation, right: Donation) -> tuple[Floats, Floats, Floats, Floats]:
    """Whether Ops are of one class and of one path, how their shares of terms agree, and quirks."""
    return (
        (left.classes[:, None] == right.classes).astype(np.float64),
        (left.paths[:, None] == right.paths).astype(np.float64),
        left.shares @ right.shares.T,
        np.outer(left.quirk, right.quirk),
    )


def _distance(left: Donation, right: Donation) -> Floats:
    squares = left.features @ (-2.0 * right.features.T)
    squares += (left.features**2).sum(axis=1)[:, None]
    squares += (right.features**2).sum(axis=1)
    return np.asarray(_ROOT3 * np.sqrt(np.maximum(squares, 0.0)))


def clipped(features: Floats, mean: Floats, scale: Floats) -> Floats:
    """Features in deviations from the mean, none of them far out."""
    return np.asarray(np.clip((features - mean) / scale, -_FARTHEST, _FARTHEST))


def most_telling(donations: Sequence[Donation], count: int) -> list[int]:
    """Which Ops to measure so that the corrections of all of them are known best.

    Each next one leaves the least mean variance over all Ops, whatever their times turn out to be
    (Cohn, Ghahramani and Jordan 1996, "Active learning with statistical models").

    Args:
        donations: what each donor says about the same Ops.
        count: wished Ops.
    """
    total = np.mean([covariance(item, item) for item in donations], axis=0)
    noise = np.mean([np.exp(_PRIOR[_DOUBT]) * item.doubt for item in donations], axis=0)
    noise = noise + np.exp(_PRIOR[_NOISE])
    chosen: list[int] = []
    for _ in range(min(count, len(total))):
        gain = (total**2).sum(axis=0) / (np.diag(total) + noise)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        total -= np.outer(total[:, best], total[best]) / (total[best, best] + noise[best])
    return chosen
