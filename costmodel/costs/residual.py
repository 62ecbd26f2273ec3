"""Residual: what physics leaves, learned on the logarithm of measured over base latency.

Two Gaussian processes (Rasmussen and Williams 2006) see each kernel and are averaged: one of its
execution path, which knows the path's quirks, and one of its family, which has more rows. Far from
the data both return to 0, that is to physics. A forest instead of, or beside, them was worse on
held-out rows (``docs/decisions/regression.md``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.blas import dgemm, strmm
from threadpoolctl import threadpool_limits

from costmodel.costs.likeness import class_of

Floats = NDArray[np.float64]

#: Variance of the log residual of Ops that only a law prices.
LAW_VARIANCE = 0.04
#: Fewest rows of a path or family for a process of its own.
MIN_ROWS = 10
#: Most rows of a path that hyper-parameters are searched on; the process itself uses all rows.
_SEARCH_ROWS = 250
_ROOT3 = 3.0**0.5
#: Rows that a process is conditioned on exactly; of more, so many stand for all of them.
EXACT_ROWS, POINTS = 800, 384
#: Added to the diagonal of the inducing points' matrix, as a share of the amplitude.
_JITTER = 1e-6
#: What rounding may take of a share of variance.
_ROUNDING = 1e-8
#: Rows predicted at once, so that their kernel matrix stays in the caches.
_CHUNK = 256
#: Of these, rows whose elements are worked on at once: all passes over them find them in the near
#: cache.
_BLOCK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Hyper-parameters of one path's process; all a refit needs.

    Attributes:
        amplitude: prior variance of the log residual.
        noise: variance of a row's measuring error.
        relevances: inverse length scale per standardised feature; 0 for those that do not vary.
    """

    amplitude: float
    noise: float
    relevances: tuple[float, ...]


@dataclass(slots=True)
class Process:
    """A Gaussian process with fixed hyper-parameters: Matern 3/2 over standardised features.

    Up to ``EXACT_ROWS`` rows it is exact. Beyond, ``POINTS`` of the rows stand for all of them, by
    the fully independent training conditional (Snelson and Ghahramani 2006): cost grows with the
    rows and no longer with their cube, and a price costs the same however many there are.

    Attributes:
        hyper: its hyper-parameters.
        mean: per feature, subtracted.
        scale: per feature, divided by.
        inputs: ``(points, features)`` what it is conditioned on, scaled.
        alpha: ``(points,)`` weights of the mean.
        whitening: ``(points, points)`` lower triangle ``W``: what these points tell of one that has
            covariances ``k`` with them lowers its variance by ``|W k|^2``.
    """

    hyper: Hyper
    mean: Floats
    scale: Floats
    inputs: Floats = field(default_factory=lambda: np.empty((0, 0)))
    alpha: Floats = field(default_factory=lambda: np.empty(0))
    whitening: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def fit(self, features: Floats, residual: Floats, noise: Floats) -> None:
        """Condition on rows.

        Args:
            features: ``(rows, features)``.
            residual: ``(rows,)`` log residuals.
            noise: ``(rows,)`` extra variance of each row.
        """
        scaled = self._scaled(features)
        if len(scaled) > EXACT_ROWS:
            self._condense(scaled, residual, noise)
            return
        self.inputs = scaled
        gram = self._kernel(_these(scaled), _those(scaled))
        gram[np.diag_indices_from(gram)] += self.hyper.noise + noise
        factor = cholesky(gram, lower=True)
        self.alpha = cho_solve((factor, True), residual)
        self.whitening = _inverse(factor)

    def _condense(self, scaled: Floats, residual: Floats, noise: Floats) -> None:
        """Condition inducing points on all rows, a chunk of rows at a time."""
        self.inputs = scaled[_spread_out(scaled, min(POINTS, len(scaled)))]
        these, those = _these(scaled), _those(self.inputs)
        gram = self._kernel(_these(self.inputs), those)
        gram[np.diag_indices_from(gram)] += _JITTER * self.hyper.amplitude
        prior = cholesky(gram, lower=True)
        whitening = _inverse(prior)
        total, weighted = gram, np.zeros(len(gram))
        for start in range(0, len(scaled), _CHUNK):
            rows = slice(start, start + _CHUNK)
            cross = self._kernel(these[rows], those)
            explained = np.square(_times(cross, whitening)).sum(axis=1)
            left = np.maximum(self.hyper.amplitude - explained, 0.0)
            precision = 1.0 / (left + self.hyper.noise + noise[rows])
            total = total + dgemm(1.0, (cross * precision[:, None]).T, cross.T, trans_b=True)
            weighted += cross.T @ (precision * residual[rows])
        factor = cholesky(total, lower=True)
        self.alpha = cho_solve((factor, True), weighted)
        # The share of the points' own variance that rows leave open, and with it what they tell.
        open_ = solve_triangular(factor, prior, lower=True)
        told = (1.0 + _ROUNDING) * np.eye(len(prior)) - open_.T @ open_
        self.whitening = _lower_root(told) @ whitening

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the log residual, measuring error included."""
        these, those = _these(self._scaled(features)), _those(self.inputs)
        # In 32 bits, at half the cost: a sum of squares loses nothing by it.
        whitening = np.asfortranarray(self.whitening, dtype=np.float32)
        mean, variance = np.empty(len(these)), np.empty(len(these))
        # Memory that is asked for anew each time costs as much as what is done in it.
        memory = np.empty((min(_CHUNK, len(these)), len(those)))
        single_memory = np.empty(memory.shape, dtype=np.float32)
        for start in range(0, len(these), _CHUNK):
            rows = slice(start, start + _CHUNK)
            count = len(these[rows])
            cross = self._kernel(these[rows], those, memory[:count], single_memory[:count])
            memory[:count] = cross  # weights of either sign nearly cancel out: not in 32 bits
            mean[rows] = memory[:count] @ self.alpha
            white = strmm(1.0, whitening, cross.T, lower=1, overwrite_b=1)
            explained = np.einsum("ij,ij->j", white, white)
            variance[rows] = np.maximum(self.hyper.amplitude - explained, 0.0) + self.hyper.noise
        return mean, variance

    def _scaled(self, features: Floats) -> Floats:
        return np.asarray((features - self.mean) / self.scale * self.hyper.relevances)

    def _kernel(
        self, these: Floats, those: Floats, memory: Floats | None = None, out: Any = None
    ) -> Any:
        """Matern 3/2.

        Args:
            these: rows, from ``_these``.
            those: points, from ``_those``.
            memory: ``(rows, points)`` that may be written over.
            out: the same size; of 32 bits, all but the distances is done in these.

        Returns:
            ``(rows, points)`` covariances, in ``out`` or else in ``memory``.
        """
        squares = _times(these, those, memory)
        out = squares if out is None else out
        decays = np.empty((_BLOCK, len(those)), dtype=out.dtype)
        for start in range(0, len(these), _BLOCK):
            distance = out[start : start + _BLOCK]
            np.maximum(squares[start : start + _BLOCK], 0.0, out=distance, casting="same_kind")
            np.sqrt(distance, out=distance)
            distance *= -_ROOT3
            decay = np.exp(distance, out=decays[: len(distance)])
            distance -= 1.0
            distance *= decay
            distance *= -self.hyper.amplitude
        return out


def _these(scaled: Floats) -> Floats:
    """Rows such that their products with ``_those`` of others are squares of distances."""
    squares = np.square(scaled).sum(axis=1, keepdims=True)
    return np.hstack([scaled, squares, np.ones_like(squares)])


def _those(scaled: Floats) -> Floats:
    """The other side of ``_these``."""
    squares = np.square(scaled).sum(axis=1, keepdims=True)
    return np.hstack([-2.0 * scaled, np.ones_like(squares), squares])


def _times(left: Floats, right: Floats, out: Floats | None = None) -> Floats:
    """``left @ right.T`` by SciPy's matrix library, as what stands beside it in a loop is.

    NumPy's is another one, whose threads wait for more work when those of SciPy's have some: on two
    processors that took three times as long as all of the work.
    """
    into = None if out is None else out.T
    found = dgemm(1.0, right.T, left.T, trans_a=True, c=into, overwrite_c=out is not None)
    return np.asarray(found.T)


def _inverse(lower: Floats) -> Floats:
    """Of a lower triangle."""
    return np.asarray(solve_triangular(lower, np.eye(len(lower)), lower=True))


def _lower_root(symmetric: Floats) -> Floats:
    """The lower triangle ``S`` with ``S.T @ S == symmetric``: Cholesky's from the last row on."""
    turned = cholesky(symmetric[::-1, ::-1], lower=True)
    return np.asarray(turned[::-1, ::-1].T)


def _spread_out(points: Floats, count: int) -> NDArray[np.int_]:
    """Rows far from each other: each next one is farthest from those before (Gonzalez 1985)."""
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = 0
    squares = (points**2).sum(axis=1)
    nearest = np.full(len(points), np.inf)
    for place in range(1, count):
        last = chosen[place - 1]
        away = squares + squares[last] - 2.0 * (points @ points[last])
        np.minimum(nearest, away, out=nearest)
        chosen[place] = int(nearest.argmax())
    return np.sort(chosen)


def standardisation(features: Floats) -> tuple[Floats, Floats]:
    """Mean and spread per feature; spread 1 where a feature does not vary."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.where(spread > 1e-6, spread, 1.0)


def search_hyper(features: Floats, residual: Floats, noise: Floats) -> Hyper:
    """Hyper-parameters of most marginal likelihood.

    One length scale per feature where rows allow, else one for all.

    Args:
        features: ``(rows, features)``.
        residual: ``(rows,)`` log residuals.
        noise: ``(rows,)`` known variance of each row.
    """
    # Imported here because scikit-learn takes half a second, and what was found is kept in a file.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    rows = slice(None, None, max(1, -(-len(residual) // _SEARCH_ROWS)))
    mean, scale = standardisation(features)
    scaled = ((features - mean) / scale)[rows]
    varies = scaled.std(axis=0) > 1e-6
    count = int(varies.sum())
    single = count == 0 or len(scaled) < 2 * count
    start = 4.0 if single else np.full(count, 4.0)
    kernel = ConstantKernel(0.02, (1e-4, 4.0)) * Matern(start, (0.3, 100.0), nu=1.5)
    kernel += WhiteKernel(1e-3, (1e-5, 0.05))
    search = GaussianProcessRegressor(kernel, alpha=noise[rows] + 1e-8)
    # For a hundred rows a second thread saves nothing, and threads that spin for a busy processor
    # cost all: three fits at once took 44 s each on two processors, 5 s with one thread each.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        # A bound that is reached is an answer too: the feature does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(scaled[:, varies] if count else np.zeros((len(scaled), 1)), residual[rows])
    found = search.kernel_
    relevances = np.zeros(features.shape[1])
    relevances[varies] = 1.0 / found.k1.k2.length_scale
    return Hyper(
        amplitude=float(found.k1.k1.constant_value),
        noise=float(found.k2.noise_level),
        relevances=tuple(float(value) for value in relevances),
    )


def family_of(path: str) -> str:
    """Paths that run loops alike: those of one head, and kinds without a form by their class.

    >>> family_of("conv@nchw16c/stem"), family_of("relu")
    ('family conv@nchw16c', 'family elementwise')
    """
    head, _, tail = path.partition("/")
    return f"family {head}" if tail else f"family {class_of(head.partition('@')[0])}"


class Residual:
    """The processes of all paths and families, fitted.

    Args:
        hypers: hyper-parameters per path and family; those without have no process.
    """

    def __init__(self, hypers: Mapping[str, Hyper]) -> None:
        self._hypers = dict(hypers)
        self._processes: dict[str, Process] = {}

    def fit(
        self, features: Floats, residual: Floats, noise: Floats, paths: Sequence[str]
    ) -> Residual:
        """Condition on rows; ``noise`` is the known variance of each row's log latency."""
        for name, rows in groups_of(paths).items():
            hyper = self._hypers.get(name)
            if hyper is not None and len(rows) >= MIN_ROWS:
                mean, scale = standardisation(features[rows])
                process = Process(hyper=hyper, mean=mean, scale=scale)
                process.fit(features[rows], residual[rows], noise[rows])
                self._processes[name] = process
        return self

    def predict(self, features: Floats, paths: Sequence[str]) -> tuple[Floats, Floats]:
        """Mean log residual and its standard deviation before calibration, per row."""
        total, variance, votes = (np.zeros(len(paths)) for _ in range(3))
        for name, rows in groups_of(paths).items():
            process = self._processes.get(name)
            if process is None:
                continue
            mean, spread = process.predict(features[rows])
            total[rows] += mean
            variance[rows] += spread
            votes[rows] += 1.0
        known = np.maximum(votes, 1.0)
        # Where there is no process at all the law stands alone.
        return total / known, np.sqrt(np.where(votes > 0, variance / known, LAW_VARIANCE))


def groups_of(paths: Sequence[str]) -> dict[str, NDArray[np.int_]]:
    """Row numbers of each path and of each family."""
    groups: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        groups.setdefault(path, []).append(index)
    families: dict[str, list[int]] = {}
    for path, rows in groups.items():
        families.setdefault(family_of(path), []).extend(rows)
    return {name: np.array(rows) for name, rows in (groups | families).items()}
