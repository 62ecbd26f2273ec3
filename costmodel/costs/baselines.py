"""Baselines: what others do, fitted on the same rows, to show beside our error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.costs.counts import Flops
from costmodel.measurement import Measurement
from costmodel.op import Op
from costmodel.protocols import Prices, Unit

Floats = NDArray[np.float64]


class NnMeterForest:
    """The recipe of nn-Meter (Zhang et al., MobiSys 2021) for convolutions on CPUs.

    A random forest on raw milliseconds from height, channels, kernel, stride, FLOPs and parameters;
    settings of its ``predictor_lib.py``: 320 trees, depth 70, 6 features a split.

    Args:
        rows: rows to learn from.
        seed: of the forest.
    """

    unit: Unit = "ms"
    name = "nn-meter recipe"
    device = None

    def __init__(self, rows: Sequence[Measurement], *, seed: int = 0) -> None:
        # Imported here because scikit-learn takes half a second, and only scores have baselines.
        from sklearn.ensemble import RandomForestRegressor

        self._forest = RandomForestRegressor(
            n_estimators=320, max_depth=70, max_features=6, random_state=seed, n_jobs=1
        )
        self._forest.fit(
            _nn_meter_features([row.op for row in rows]), [row.latency_ms for row in rows]
        )

    def price(self, ops: Sequence[Op]) -> Prices:
        """Latency in ms per Op; the recipe has no interval."""
        return _plain(self._forest.predict(_nn_meter_features(ops)))


class FlopsLine:
    """``latency = a + b * FLOPs``, both at least 0, fitted on relative error.

    Args:
        rows: rows to learn from.
    """

    unit: Unit = "ms"
    name = "flops line"
    device = None

    def __init__(self, rows: Sequence[Measurement]) -> None:
        latency = np.array([row.latency_ms for row in rows])
        self._line = nnls(
            self._terms([row.op for row in rows]) / latency[:, None], np.ones(len(rows))
        )[0]

    def price(self, ops: Sequence[Op]) -> Prices:
        """Latency in ms per Op; a line has no interval."""
        return _plain(self._terms(ops) @ self._line)

    @staticmethod
    def _terms(ops: Sequence[Op]) -> Floats:
        flops = np.nan_to_num(Flops().price(ops).values)
        return np.stack([np.ones(len(ops)), flops / 1e6], axis=1)


def _nn_meter_features(ops: Sequence[Op]) -> Floats:
    return np.array(
        [
            (
                op.spatial_in[0] if op.spatial_in else 1,
                op.in_channels,
                op.out_channels,
                op.kernel[0] if op.kernel else 1,
                op.stride[0] if op.stride else 1,
                op.macs / 1e6,
                op.num_weights / 1e6,
            )
            for op in ops
        ],
        dtype=np.float64,
    ).reshape(len(ops), 7)


def _plain(values: Floats) -> Prices:
    return Prices(values=values, low=values.copy(), high=values.copy())
