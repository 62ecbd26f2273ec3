"""Tables and cost models by the names that people have for them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.calibration import Calibration, fit_calibration
from costmodel.costs import counts
from costmodel.errors import InvalidInputError
from costmodel.protocols import CostModel, require_cost_model
from costmodel.table import LatencyTable

if TYPE_CHECKING:
    from costmodel.learning import LearningPoint
    from costmodel.scoring import Score

_LOG = logging.getLogger("costmodel")
_COUNTS = {
    "flops": counts.Flops,
    "params": counts.Params,
    "activations": counts.Activations,
    "bytes": counts.Bytes,
}
_COSTS = "regression, lookup, flops, params, activations, bytes, roofline:DATASHEET"

#: A table, its file, or the name of a shipped profile.
Table = LatencyTable | Path | str


def open_table(table: Table) -> LatencyTable:
    """A table, read if it is not yet.

    Args:
        table: the table itself, its file, or the name of a shipped profile (``devices`` lists
            them).

    Raises:
        TableFormatError: if the file is not a table; names file, line and field.
        InvalidInputError: if there is neither a file nor a shipped profile of this name.
    """
    if isinstance(table, LatencyTable):
        return table
    found = LatencyTable.load(table)
    for warning in found.warnings:
        _LOG.warning("%s", warning)
    return found


def fit(table: Table, cost: str = "regression") -> CostModel:
    """Learn from a table what kernels take that are not in it.

    Args:
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        cost: ``regression``, or ``lookup`` for the stored rows alone.

    Returns:
        A cost model in milliseconds: ``price(ops)`` gives values with intervals, and says what it
        cannot price; ``device`` is the table's.

    Raises:
        InvalidInputError: for another ``cost``, or a table without measured kernels.
        TableFormatError: if the file is not a table.

    >>> cost = fit("amd-epyc-family-25-model-17/openvino-int8")
    >>> cost.unit, cost.device.runtime
    ('ms', 'openvino')
    """
    if cost not in {"regression", "lookup"}:
        message = f"A table becomes a 'regression' or a 'lookup'. Received: {cost!r}."
        raise InvalidInputError(message)
    rows = open_table(table)
    if not rows.kernels():
        where = rows.path or rows.device.label
        message = (
            f"The table {where} holds no measured kernel ({len(rows)} rows), so nothing has a "
            "price. Run 'costmodel profile' into it first."
        )
        raise InvalidInputError(message)
    if cost == "lookup":
        from costmodel.costs.lookup import Lookup

        return Lookup(rows)
    from costmodel.costs.regression import fit_regression

    return fit_regression(rows)


def cost_of(cost: str | CostModel, table: LatencyTable | None) -> CostModel:
    """The cost model that a name means.

    Args:
        cost: ``regression`` or ``lookup`` of the table; ``flops``, ``params``, ``activations`` or
            ``bytes``; ``roofline:DATASHEET``; or a cost model, which is returned as it is.
        table: for the first two.

    Raises:
        InvalidInputError: for an unknown name, or a table that is missing or holds too little.
    """
    if not isinstance(cost, str):
        return require_cost_model(cost)
    if cost in _COUNTS:
        return _COUNTS[cost]()
    kind, _, sheet = cost.partition(":")
    if kind == "roofline":
        from costmodel.costs.roofline import Roofline, datasheet

        return Roofline(datasheet(sheet))
    if cost not in {"regression", "lookup"}:
        message = f"There is no cost model {cost!r}. Known: {_COSTS}."
        raise InvalidInputError(message)
    if table is None:
        message = f"The cost model {cost!r} needs a table. Give one: table=..., or --table."
        raise InvalidInputError(message)
    return fit(table, cost)


def calibration_of(table: LatencyTable | None, cost: CostModel) -> Calibration | None:
    """What the table's whole networks say about sums of its own kernels; None without any."""
    if table is None or not table.models() or cost.unit != "ms" or cost.device is None:
        return None
    if cost.device.identity != table.device.identity:
        return None
    return fit_calibration(table, cost)


def score(table: Table, *, held_out: int | None = None, seed: int = 0) -> Score:
    """Error of the regression on convolutions it has not seen, beside what measuring repeats to.

    Args:
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        held_out: convolutions to hold out; by default a quarter.
        seed: of their choice.

    Raises:
        InvalidInputError: if the table has too few convolutions.
        TableFormatError: if the file is not a table.

    >>> found = score("amd-epyc-family-25-model-17/onnxruntime-float16", held_out=20)
    >>> found.held_out, 0.0 < found.accuracy.mape < 1.0
    (20, True)
    """
    from costmodel.scoring import score_table

    return score_table(open_table(table), held_out=held_out, seed=seed)


def learning_curve(table: Table) -> tuple[LearningPoint, ...]:
    """How the error on networks falls with a table's rows; see ``costmodel.learning``.

    Args:
        table: a ``LatencyTable``, its file, or the name of a shipped profile; with networks timed
            whole, as a profile of 480 and more samples has them.

    Raises:
        TableFormatError: if the file is not a table.
    """
    from costmodel import learning

    return learning.learning_curve(open_table(table))
