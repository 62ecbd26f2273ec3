"""Score: error of a cost model on unseen rows, beside the repeatability of measuring them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel._moved import moved_names
from costmodel.costs.baselines import FlopsLine, NnMeterForest
from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement, half_spread
from costmodel.op import CONV_KINDS
from costmodel.table import LatencyTable

#: Share of the convolutions held out unless a number is given.
HELD_OUT_SHARE = 0.25
#: Fewest convolutions on either side of the split.
_MIN_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Relative errors over a set of rows.

    Attributes:
        rows: how many.
        mape: mean absolute relative error.
        median: median absolute relative error.
        within_5: share of rows within 5 %.
        within_10: share of rows within 10 %.
        bias: median signed relative error; above 0 is predicted too slow.
    """

    rows: int
    mape: float
    median: float
    within_5: float
    within_10: float
    bias: float

    @classmethod
    def of(cls, predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> Accuracy:
        """Accuracy of predictions; one without a price counts as wholly wrong."""
        signed = np.where(np.isfinite(predicted), predicted / measured - 1.0, -1.0)
        error = np.abs(signed)
        return cls(
            rows=len(error),
            mape=float(error.mean()),
            median=float(np.median(error)),
            within_5=float((error <= 0.05).mean()),
            within_10=float((error <= 0.10).mean()),
            bias=float(np.median(signed)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Held-out accuracy of a table's regression.

    Attributes:
        rows: rows learned from.
        held_out: convolutions predicted.
        accuracy: the regression's.
        coverage: share of held-out rows inside their 90 % interval.
        repeatability: how well the held-out rows' own measurement repeats; nothing can beat it.
        baselines: accuracy of others on the same rows.
    """

    rows: int
    held_out: int
    accuracy: Accuracy
    coverage: float
    repeatability: Accuracy | None
    baselines: Mapping[str, Accuracy]

    def to_json(self) -> dict[str, object]:
        """JSON form; ``mape``, ``within_5`` and ``within_10`` of the regression on top."""
        return {
            "rows": self.rows,
            "held_out": self.held_out,
            **_json(self.accuracy),
            "coverage": self.coverage,
            "repeatability": _json(self.repeatability) if self.repeatability else {},
            "baselines": {name: _json(item) for name, item in self.baselines.items()},
        }


def _json(accuracy: Accuracy) -> dict[str, float]:
    names = ("mape", "median", "within_5", "within_10", "bias")
    return {name: getattr(accuracy, name) for name in names}


def score_table(table: LatencyTable, *, held_out: int | None = None, seed: int = 0) -> Score:
    """Hold convolutions of a table out, learn from the rest, and compare.

    Args:
        table: measured rows.
        held_out: convolutions to hold out; a quarter of them by default.
        seed: of the split.

    Raises:
        InvalidInputError: if the table has too few convolutions for the split.
    """
    rows = list(table.kernels())
    convs = [row for row in rows if _is_test_row(row)]
    count = held_out if held_out is not None else int(HELD_OUT_SHARE * len(convs))
    if count < _MIN_ROWS or len(convs) - count < _MIN_ROWS:
        message = (
            f"A score needs at least {_MIN_ROWS} convolutions to learn from and as many held out. "
            f"The table has {len(convs)} with a latency, and {count} were to be held out. "
            "Profile more: costmodel profile --samples 400"
        )
        raise InvalidInputError(message)
    order = np.random.default_rng(seed).permutation(len(convs))
    test = [convs[i] for i in order[:count]]
    held = {row.op for row in test}
    learn = [row for row in rows if row.op not in held]
    return score_rows(learn, test, device=table.device)


def score_rows(
    train: Sequence[Measurement], test: Sequence[Measurement], *, device: Device | None = None
) -> Score:
    """Learn from some rows and predict others.

    Args:
        train: rows to learn from; Ops that are also in ``test`` are left out.
        test: rows to predict, convolutions with a latency.
        device: whose rows.
    """
    held = {row.op for row in test}
    learn = [row for row in train if row.op not in held]
    ops = [row.op for row in test]
    measured = np.array([row.latency_ms for row in test])
    regression = Regression(learn, device=device)
    prices = regression.price(ops)
    inside = (measured >= prices.low) & (measured <= prices.high)
    convs = [row for row in learn if _is_test_row(row)]
    others = (NnMeterForest(convs), FlopsLine(convs))
    return Score(
        rows=len([row for row in learn if row.has_number]),
        held_out=len(test),
        accuracy=Accuracy.of(prices.values, measured),
        coverage=float(inside.mean()),
        repeatability=repeat_accuracy(test),
        baselines={m.name: Accuracy.of(m.price(ops).values, measured) for m in others},
    )


def repeat_accuracy(rows: Sequence[Measurement]) -> Accuracy | None:
    """Accuracy that one half of each row's rounds has for the other half; None without rounds."""
    pairs = [
        (min(q.quiet_ms for q in row.rounds[0::2]), min(q.quiet_ms for q in row.rounds[1::2]))
        for row in rows
        if len(row.rounds) > 1 and np.isfinite(half_spread([q.quiet_ms for q in row.rounds]))
    ]
    if not pairs:
        return None
    even, odd = np.array(pairs).T
    return Accuracy.of(even, odd)


def _is_test_row(row: Measurement) -> bool:
    return row.op.kind in CONV_KINDS and row.has_number and row.latency_ms > 0


__getattr__ = moved_names(__name__, {"score": ":score_table"})
