"""Residual: what physics leaves, learned on the logarithm of measured over base latency.

Two regressors that fail differently are averaged: a Gaussian process per execution path (Rasmussen
and Williams 2006; smooth, returns to the base far from the data) and one forest of extremely
randomised trees over all paths (Geurts et al. 2006; follows staircases).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

Floats = NDArray[np.float64]

#: Fewest rows of a path for a process of its own.
MIN_ROWS = 10
#: Most rows of a path that hyper-parameters are searched on; the process itself uses all rows.
_SEARCH_ROWS = 250
_TREES = 100
_ROOT3 = 3.0**0.5
#: Rows predicted at once, so that their kernel matrix stays in the caches.
_CHUNK = 1024


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
    """A Gaussian process with fixed hyper-parameters: Matern 3/2 over standardised features."""

    hyper: Hyper
    mean: Floats
    scale: Floats
    inputs: Floats = field(default_factory=lambda: np.empty((0, 0)))
    alpha: Floats = field(default_factory=lambda: np.empty(0))
    inverse: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def fit(self, features: Floats, residual: Floats, noise: Floats) -> None:
        """Condition on rows.

        Args:
            features: ``(rows, features)``.
            residual: ``(rows,)`` log residuals.
            noise: ``(rows,)`` extra variance of each row.
        """
        self.inputs = self._scaled(features)
        gram = self._kernel(self.inputs, self.inputs)
        gram[np.diag_indices_from(gram)] += self.hyper.noise + noise
        factor = cho_factor(gram, lower=True)
        self.alpha = cho_solve(factor, residual)
        self.inverse = cho_solve(factor, np.eye(len(gram)))

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the log residual, measuring error included."""
        scaled = self._scaled(features)
        mean, variance = np.empty(len(scaled)), np.empty(len(scaled))
        for start in range(0, len(scaled), _CHUNK):
            rows = slice(start, start + _CHUNK)
            cross = self._kernel(scaled[rows], self.inputs)
            explained = np.einsum("ij,ij->i", cross @ self.inverse, cross)
            mean[rows] = cross @ self.alpha
            variance[rows] = np.maximum(self.hyper.amplitude - explained, 0.0) + self.hyper.noise
        return mean, variance

    def _scaled(self, features: Floats) -> Floats:
        return np.asarray((features - self.mean) / self.scale * self.hyper.relevances)

    def _kernel(self, left: Floats, right: Floats) -> Floats:
        """Matern 3/2; distances by the product form, which runs in a matrix library."""
        distance = left @ (-2.0 * right.T)
        distance += (left**2).sum(1)[:, None]
        distance += (right**2).sum(1)[None, :]
        np.sqrt(np.maximum(distance, 0.0, out=distance), out=distance)
        distance *= -_ROOT3
        decay = np.exp(distance)
        distance -= 1.0
        decay *= distance
        decay *= -self.hyper.amplitude
        return np.asarray(decay)


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
    with warnings.catch_warnings():
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


class Residual:
    """Both regressors, fitted.

    Args:
        hypers: hyper-parameters per path; paths without have no process.
    """

    def __init__(self, hypers: Mapping[str, Hyper]) -> None:
        self._hypers = dict(hypers)
        self._processes: dict[str, Process] = {}
        self._forest: ExtraTreesRegressor | None = None
        self._codes: dict[str, int] = {}

    def fit(
        self, features: Floats, residual: Floats, noise: Floats, paths: Sequence[str]
    ) -> Residual:
        """Condition on rows; ``noise`` is the known variance of each row's log latency."""
        names = np.asarray(paths)
        for path, hyper in self._hypers.items():
            rows = np.flatnonzero(names == path)
            if len(rows) >= MIN_ROWS:
                mean, scale = standardisation(features[rows])
                process = Process(hyper=hyper, mean=mean, scale=scale)
                process.fit(features[rows], residual[rows], noise[rows])
                self._processes[path] = process
        self._codes = {path: code for code, path in enumerate(sorted(set(paths)))}
        self._forest = ExtraTreesRegressor(
            _TREES, max_features=0.5, min_samples_leaf=2, random_state=0, n_jobs=1
        )
        weight = 1.0 / (noise + 4e-4)
        self._forest.fit(self._with_path(features, paths), residual, sample_weight=weight)
        return self

    def predict(self, features: Floats, paths: Sequence[str]) -> tuple[Floats, Floats]:
        """Mean log residual and its standard deviation before calibration, per row."""
        assert self._forest is not None
        trees = self._forest.predict(self._with_path(features, paths))
        mean = trees.copy()
        # Without a process of its own a path is judged by the spread of all residuals.
        variance = np.full(len(trees), 0.04)
        groups: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            groups.setdefault(path, []).append(index)
        for path, rows in groups.items():
            process = self._processes.get(path)
            if process is None:
                mean[rows] *= 0.5
                continue
            smooth, spread = process.predict(features[rows])
            # Where the process no longer knows anything the forest is guessing too: follow physics.
            known = 1.0 - np.minimum(1.0, spread / (process.hyper.amplitude + process.hyper.noise))
            trust = 0.5 * np.sqrt(known)
            mean[rows] = (1.0 - trust) * smooth + trust * trees[rows]
            variance[rows] = spread
        return mean, np.sqrt(variance)

    def _with_path(self, features: Floats, paths: Sequence[str]) -> Floats:
        """Features with one column per path, so that the forest can keep paths apart."""
        codes = np.array([self._codes.get(path, -1) for path in paths])
        columns = codes[:, None] == np.arange(len(self._codes))[None, :]
        return np.hstack([features, columns])
