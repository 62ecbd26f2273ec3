"""``plan``: the channels that each layer of a network keeps within a budget, without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Unpack

from costmodel.clocking import DEFAULT_PLAN
from costmodel.errors import InvalidInputError
from costmodel.profiler import Progress
from costmodel.registry import load_runner
from costmodel.uses.matching import clock_of
from costmodel.uses.models import Model, require_onnx
from costmodel.uses.pricing import Pricing, Terms, spelled_out
from costmodel.uses.tables import Table
from morphnet_core.alignment import timed
from morphnet_core.planning import LEAST, WidthPlan, plan_widths
from morphnet_core.pricing import COUNTS
from morphnet_core.uses.aligning import require_widths


@spelled_out
def plan(  # noqa: PLR0913 - each has a sensible default
    model: Model,
    table: Table | None = None,
    *,
    target_ms: float | None = None,
    target: float | str | None = None,
    keep_least: float = LEAST,
    fix_weights: bool = False,
    predict_only: bool = False,
    rounds: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    **terms: Unpack[Terms],
) -> WidthPlan:
    """Choose how many and which channels each layer keeps, so that the network is fast enough.

    Nothing is trained, and no data is looked at: channels are rated by the norms of their weights.
    Where the table's device is at hand, the network is cut and timed, and prices are corrected
    until it is within 2 % of the target.

    Args:
        model: as for ``costmodel.predict``, TensorFlow Lite files excepted.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        target_ms: milliseconds that it may take: by the clock, or by the prices without one.
        target: instead, a share of the network's cost such as ``"60%"``, or in the cost's unit.
        keep_least: share of its channels that each group of layers keeps at least.
        fix_weights: take weights off the list of inputs first, where old exporters put them.
        predict_only: time nothing, even with the device at hand.
        rounds: most visits to a network; 12 by default.
        progress: who is told how far the timing is.
        tell: who is told of each network that was timed.
        **terms: as for ``costmodel.predict``: ``cost`` may be a count such as ``flops``, ``runner``
            is to time with, ``example`` is what a PyTorch module is called with.

    Returns:
        The structure, whose layers have the names of a PyTorch export's modules; the network cut to
        it, and what it is predicted to cost and was timed at. ``save(path)`` writes the structure.

    Raises:
        ModelFormatError: if the model is damaged or quantised, or cannot be cut.
        InvalidInputError: unless there is one target, in the cost's unit; if no widths are cheap
            enough, too little of the network's work has a price, or the table was solved from
            networks alone.
        DeviceMismatchError: if the runner that was asked for is another device than the table's.

    >>> import onnx
    >>> net = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> plan(net, target="60%", cost="flops")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    costmodel.errors.InvalidInputError: ... no layer of it can be cut, so no target can be met.
    """
    wanted = target if target is not None else target_ms
    if wanted is None or (target is not None and target_ms is not None):
        message = f"Give one target. Received: target_ms={target_ms}, target={target!r}."
        raise InvalidInputError(message)
    pricing = Pricing.of(table, terms)
    cost, rows = pricing.cost_model(), pricing.table
    if target_ms is not None and cost.unit != "ms":
        message = f"A target in ms needs prices in ms, and {cost.name} counts {cost.unit}."
        raise InvalidInputError(message)
    if rows is not None and cost.device == rows.device:
        require_widths(rows, pricing.donors)
    device = pricing.device
    clock, reason = None, ""
    if not predict_only and cost.unit == "ms":
        clock, reason = clock_of(pricing.choice, device)
    with pricing.files([model]) as ((path,), bound):
        require_onnx(path, "planning")
        found = plan_widths(
            path,
            COUNTS.get(cost.name, cost),
            wanted,
            device,
            calibration=pricing.law(cost),
            sizes=bound,
            fix_weights=fix_weights,
            least=keep_least,
            clock=None
            if clock is None
            else partial(
                timed,
                runner=clock[0],
                options=clock[1],
                sizes=bound,
                plan=DEFAULT_PLAN.with_rounds(rounds),
                progress=progress,
            ),
            tell=tell,
        )
    if clock is None:
        return replace(found, note=f"predicted only: {reason}" if reason else found.note)
    return replace(found, measured_on=load_runner(*clock).device.label, note="")
