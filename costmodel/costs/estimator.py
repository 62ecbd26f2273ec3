"""The regression as scikit-learn has estimators, for its pipelines, splits and scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement, Round
from costmodel.op import Op


class LatencyRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Learns milliseconds of kernels from those of others; a sample is an ``Op``.

    Args:
        device: whose numbers these are: what a kernel's features mean depends on it.

    Attributes:
        regression_: the cost model that was fitted; it also knows intervals.

    >>> LatencyRegressor().get_params()
    {'device': None}
    """

    def __init__(self, device: Device | None = None) -> None:
        self.device = device

    def fit(self, ops: Sequence[Op], latency_ms: ArrayLike) -> LatencyRegressor:
        """Learn from measured kernels.

        Args:
            ops: what was executed.
            latency_ms: ``(ops,)`` milliseconds of each, above 0.

        Raises:
            InvalidInputError: if there is not one such number for each kernel.
        """
        times = np.asarray(latency_ms, dtype=float)
        if times.shape != (len(ops),) or not (np.isfinite(times) & (times > 0)).all():
            message = (
                f"Give a time above 0 for each of the {len(ops)} kernels. Received numbers of "
                f"shape {times.shape}: leave kernels without a number out."
            )
            raise InvalidInputError(message)
        rows = [
            Measurement.from_rounds(op, [Round(number=0, quiet_ms=value, median_ms=value)])
            for op, value in zip(ops, times.tolist(), strict=True)
        ]
        self.regression_ = Regression(rows, device=self.device)
        return self

    def predict(self, ops: Sequence[Op]) -> NDArray[np.float64]:
        """Milliseconds of other kernels.

        Args:
            ops: to price.

        Raises:
            InvalidInputError: for a kernel that what was learned says nothing of; says why.
        """
        check_is_fitted(self)
        prices = self.regression_.price(list(ops))
        for place, reason in prices.reasons.items():
            message = f"The kernel {ops[place].label} has no price: {reason}."
            raise InvalidInputError(message)
        return prices.values
