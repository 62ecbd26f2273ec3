"""``align``: channels padded to widths that a device runs faster, and what the clock says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from costmodel.comparison import DEFAULT_PLAN
from costmodel.costs.beliefs import HELPED_BY, NOBODY
from costmodel.errors import InvalidInputError
from costmodel.profiler import Progress
from costmodel.protocols import CostModel, Runner
from costmodel.registry import Option
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.uses.matching import Choice, clock_of
from costmodel.uses.models import Model, model_files, require_onnx
from costmodel.uses.tables import Table, calibration_of, cost_of, open_table
from morphnet_core.alignment import Alignment, Limits, measured, pad_to_fast_widths


def align(  # noqa: PLR0913 - each has a sensible default
    model: Model,
    table: Table | None = None,
    *,
    cost: str | CostModel = "regression",
    donors: Table | Sequence[Table] = (),
    runner: str | Runner | None = None,
    options: Mapping[str, Option] | None = None,
    threads: int | None = None,
    sizes: Sizes | None = None,
    max_growth: float = 2.0,
    fix_weights: bool = False,
    predict_only: bool = False,
    rounds: int | None = None,
    calibrated: bool = True,
    progress: Progress | None = None,
) -> Alignment:
    """Pad groups of channels with zeros to the widths that a table prices lowest.

    The function stays the same: both networks are run and compared, and timed in turns where the
    table's device is at hand.

    Args:
        model: as for ``costmodel.predict``, TensorFlow Lite files excepted.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        cost: ``regression`` or ``lookup`` of the table, or a cost model in milliseconds.
        donors: tables of other devices that help a table of few rows; see ``costmodel.fit``.
        runner: to time with, instead of the one that made the table: its name, or a Runner.
        options: of ``runner``.
        threads: the same as ``options={"threads": ...}``.
        sizes: values of open dimensions, as for ``costmodel.predict``; the padded file keeps them
            open.
        max_growth: widest that a group may become, times its width.
        fix_weights: take weights off the list of inputs first, where old exporters put them.
        predict_only: time nothing, even with the device at hand.
        rounds: most visits to a network; 12 by default.
        calibrated: correct sums of kernels by networks timed in the table, where it has any.
        progress: who is told how far the timing is.

    Returns:
        Both networks, what changed, and predicted and measured times; ``save(path)`` writes the
        padded one, ``worthwhile`` says whether it is faster.

    Raises:
        ModelFormatError: if the model is damaged or quantised.
        InvalidInputError: if the cost does not count milliseconds, too little of the network's
            work has a price, or the table was solved from networks alone.
        DeviceMismatchError: if the runner that was asked for is another device than the table's.

    >>> import onnx
    >>> net = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> align(net, "amd-epyc-family-25-model-17/onnxruntime-float32-t2", predict_only=True).note
    'nothing is worth changing'
    """
    rows = open_table(table) if table is not None else None
    priced_by = cost_of(cost, rows, donors)
    if rows is not None and priced_by.device == rows.device:
        require_widths(rows, donors)
    device = rows.device if rows is not None else priced_by.device
    clock, reason = (None, "")
    if not predict_only:
        clock, reason = clock_of(Choice.of(runner, options, threads), device)
    with model_files([model], sizes or {}) as ((path,), bound):
        require_onnx(path, "aligning")
        found = pad_to_fast_widths(
            path,
            priced_by,
            device,
            calibration=calibration_of(rows, priced_by) if calibrated else None,
            sizes=bound,
            limits=Limits(factor=max_growth, extra=64 if max_growth > 1 else 0),
            fix_weights=fix_weights,
        )
    if not found.changed:
        return found
    if clock is None:
        return replace(found, note=f"predicted only: {reason}" if reason else found.note)
    return measured(
        found,
        runner=clock[0],
        cost=priced_by,
        options=clock[1],
        plan=DEFAULT_PLAN.with_rounds(rounds),
        progress=progress,
    )


def require_widths(table: LatencyTable, donors: Table | Sequence[Table]) -> None:
    """Refuse a table whose kernels somebody solved from nothing but networks.

    How fast a device is at each kind of work follows from networks, which of two widths is faster
    only from a donor's kernels.

    Args:
        table: that prices widths.
        donors: that help it.

    Raises:
        InvalidInputError: says what to do.
    """
    alone = isinstance(donors, list | tuple) and not donors
    if alone and table.device.state.get(HELPED_BY) == NOBODY:
        where = table.path or table.device.label
        message = (
            f"The table {where} was solved from whole networks without a donor, so it does not "
            "know which widths run faster. Give --donor, or solve it with one: a table of kernels "
            f"on {table.device.runtime}."
        )
        raise InvalidInputError(message)
