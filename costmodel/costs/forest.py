"""Forest: what physics leaves of a GPU's kernels, learned by randomised trees.

A GPU's time is a staircase in several sizes at once, and its library changes algorithms by shape:
steps, which trees hold and a smooth process does not (``docs/decisions/other-devices.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.residual import LAW_VARIANCE, MIN_ROWS, family_of

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

Floats = NDArray[np.float64]

#: Trees of a family, and rows that each of them sees at most.
_TREES, _ROWS_PER_TREE = 100, 4000
#: Residuals further from the median than so many robust deviations count as if they were there: a
#: row that was measured while the device was busy says nothing about its neighbours.
_CLIP = 4.0
#: A robust deviation is this many median distances, as for a normal distribution.
_NORMAL = 1.4826
#: Share of the votes that is left out at either end.
_QUARTER = 0.25
#: Least variance of the log residual that trees may promise.
_LEAST_VARIANCE = 1e-4
#: Ops priced at once.
_CHUNK = 8192


class Forest:
    """One forest of extremely randomised trees (Geurts et al. 2006) for each family of paths.

    Args:
        seed: of the trees.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._trees: dict[str, ExtraTreesRegressor] = {}

    def fit(
        self, features: Floats, residual: Floats, noise: Floats, paths: Sequence[str]
    ) -> Forest:
        """Condition on rows; ``noise`` is the known variance of each row's log latency."""
        # Imported here because scikit-learn takes half a second, and only GPUs have forests.
        from sklearn.ensemble import ExtraTreesRegressor

        for name, rows in _families(paths).items():
            if len(rows) < MIN_ROWS:
                continue
            many = len(rows) > _ROWS_PER_TREE
            forest = ExtraTreesRegressor(
                _TREES,
                max_features=0.5,
                bootstrap=many,
                max_samples=_ROWS_PER_TREE if many else None,
                random_state=self._seed,
                n_jobs=1,
            )
            wanted = _clipped(residual[rows])
            spread = float(np.var(wanted)) + _LEAST_VARIANCE
            forest.fit(features[rows], wanted, sample_weight=1.0 / (1.0 + noise[rows] / spread))
            self._trees[name] = forest
        return self

    def predict(self, features: Floats, paths: Sequence[str]) -> tuple[Floats, Floats]:
        """Mean log residual and its standard deviation before calibration, per row."""
        mean = np.zeros(len(paths))
        variance = np.full(len(paths), LAW_VARIANCE)
        for name, rows in _families(paths).items():
            forest = self._trees.get(name)
            if forest is None:
                continue
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                votes = _votes(forest, features[part])
                mean[part] = _middle(votes)
                variance[part] = votes.var(axis=0) + _LEAST_VARIANCE
        return mean, np.sqrt(variance)


def _votes(forest: ExtraTreesRegressor, features: Floats) -> Floats:
    """What each tree says, ``(trees, rows)``."""
    narrow = np.ascontiguousarray(features, dtype=np.float32)
    return np.stack([tree.predict(narrow, check_input=False) for tree in forest.estimators_])


def _middle(votes: Floats) -> Floats:
    """Mean of the middle half of the votes for each row, quick ones counting more.

    A leaf is a single row, and some rows are wrong. The middle by weights of one over the latency
    has the least relative error, where the plain middle has the least error of the logarithm.
    """
    ordered = np.sort(votes, axis=0)
    weights = np.exp(ordered[0] - ordered)
    before = np.cumsum(weights, axis=0) - weights / 2
    share = before / weights.sum(axis=0)
    kept = (share >= _QUARTER) & (share <= 1.0 - _QUARTER)
    # Where one vote outweighs the others it is the middle.
    kept[:, ~kept.any(axis=0)] = share[:, ~kept.any(axis=0)] <= 1.0 - _QUARTER
    return np.asarray((ordered * kept).sum(axis=0) / kept.sum(axis=0))


def _clipped(residual: Floats) -> Floats:
    middle = np.median(residual)
    reach = _CLIP * _NORMAL * np.median(np.abs(residual - middle)) + _LEAST_VARIANCE**0.5
    return np.clip(residual, middle - reach, middle + reach)


def _families(paths: Sequence[str]) -> dict[str, NDArray[np.int_]]:
    families: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        families.setdefault(family_of(path), []).append(index)
    return {name: np.array(rows) for name, rows in families.items()}
