"""``align``: channels padded to widths that a device runs faster, and what the clock says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from costmodel.clocking import DEFAULT_PLAN
from costmodel.costs.beliefs import HELPED_BY, NOBODY
from costmodel.errors import InvalidInputError
from costmodel.profiler import Progress
from costmodel.table import LatencyTable
from costmodel.uses.matching import clock_of
from costmodel.uses.models import Model, require_onnx
from costmodel.uses.pricing import Pricing, Terms, spelled_out
from costmodel.uses.tables import Table
from morphnet_core.alignment import Alignment, Limits, measured, pad_to_fast_widths


@spelled_out
def align(
    model: Model,
    table: Table | None = None,
    *,
    max_growth: float = 2.0,
    fix_weights: bool = False,
    predict_only: bool = False,
    rounds: int | None = None,
    progress: Progress | None = None,
    **terms: Unpack[Terms],
) -> Alignment:
    """Pad groups of channels with zeros to the widths that a table prices lowest.

    The function stays the same: both networks are run and compared, and timed in turns where the
    table's device is at hand.

    Args:
        model: as for ``costmodel.predict``, TensorFlow Lite files excepted.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        max_growth: widest that a group may become, times its width.
        fix_weights: take weights off the list of inputs first, where old exporters put them.
        predict_only: time nothing, even with the device at hand.
        rounds: most visits to a network; 12 by default.
        progress: who is told how far the timing is.
        **terms: as for ``costmodel.predict``: ``cost`` in milliseconds, ``runner`` to time with;
            the padded file keeps the dimensions open that ``sizes`` gives values to.

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
    pricing = Pricing.of(table, terms)
    cost, rows = pricing.cost_model(), pricing.table
    if rows is not None and cost.device == rows.device:
        require_widths(rows, pricing.donors)
    device = pricing.device
    clock, reason = (None, "")
    if not predict_only:
        clock, reason = clock_of(pricing.choice, device)
    with pricing.files([model]) as ((path,), bound):
        require_onnx(path, "aligning")
        found = pad_to_fast_widths(
            path,
            cost,
            device,
            calibration=pricing.law(cost),
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
        cost=cost,
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
