"""Learning: how well a table's rows predict networks that it never saw, and ever more rows do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.calibration import TRAFFIC_NETWORKS, fit_calibration
from costmodel.costs.regression import Fitted, Regression
from costmodel.measurement import UNMEASURED, Measurement
from costmodel.op import SESSION
from costmodel.scoring import Accuracy
from costmodel.table import LatencyTable

#: Networks are left out by turns; the profiler's own families (twelve) fall into one turn each.
_FOLDS = 4
#: Parts of a table's rows that a curve shows.
SHARES = (0.125, 0.25, 0.5, 1.0)
#: Fewest rows that a part may have.
_LEAST_ROWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPoint:
    """What some of a table's rows are worth.

    Attributes:
        rows: kernels learned from, those of the networks themselves left out.
        networks: accuracy on the timed networks, each predicted without any kernel of its own.
    """

    rows: int
    networks: Accuracy


def learning_curve(table: LatencyTable) -> tuple[LearningPoint, ...]:
    """Accuracy on left-out networks, from an eighth of a table's rows to all of them.

    Args:
        table: with networks timed whole, as every profile of 480 and more samples has them. The
            first part of its rows is what a shorter profile would have measured.

    Returns:
        No point where fewer than ``TRAFFIC_NETWORKS`` networks are known by their kernels.
    """
    rows = table.kernels()
    points = []
    for share in SHARES:
        part = rows[: round(share * len(rows))]
        if len(part) >= min(_LEAST_ROWS, len(rows)):
            point = left_out_networks(table, part)
            points += [point] if point is not None else []
    return tuple(points)


def left_out_networks(
    table: LatencyTable, kernels: Sequence[Measurement] | None = None
) -> LearningPoint | None:
    """Predict every timed network of a table as if neither it nor its kernels were there.

    Args:
        table: with networks timed whole.
        kernels: rows to learn from; by default all of the table.

    Returns:
        None where fewer than ``TRAFFIC_NETWORKS`` networks are known by their kernels.
    """
    known = table.known_networks()
    rows = table.kernels() if kernels is None else kernels
    if len(known) < TRAFFIC_NETWORKS or not rows:
        return None
    # What decides how smooth a law is changes little with a tenth of the rows, and is dear to find.
    hypers = Regression(rows, device=table.device).fitted.hypers
    predicted, measured, used = [], [], []
    for fold in range(_FOLDS):
        held = known[fold::_FOLDS]
        asked = {op for _, ops in held for op in ops if op.kind != SESSION}
        train = [row for row in rows if row.op not in asked]
        used.append(len(train))
        cost = Regression(train, device=table.device, fitted=Fitted(rows="", hypers=hypers))
        rest = [row for number, (row, _) in enumerate(known) if number % _FOLDS != fold]
        gone = (Measurement.from_rounds(op, (), status=UNMEASURED) for op in asked)
        others = LatencyTable(table.device, [*train, *gone, *rest])
        calibration = fit_calibration(others, cost)
        for row, ops in held:
            prices = cost.price(ops)
            total = float(np.nansum(prices.values))
            exact = prices.exact if prices.exact is not None else np.zeros(len(ops), dtype=np.bool_)
            if calibration is not None and total > 0:
                unseen = 1.0 - float(prices.values[exact].sum()) / total
                total = calibration.apply(np.nan_to_num(prices.values).tolist(), ops, unseen=unseen)
            predicted.append(total)
            measured.append(row.latency_ms)
    accuracy = Accuracy.of(np.array(predicted), np.array(measured))
    return LearningPoint(rows=round(float(np.mean(used))), networks=accuracy)
