"""``compare``: predictions held against the clock, by the protocol that made the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from costmodel.baseline import MAX_REGRESSION, Hour, read_baseline, require_device
from costmodel.clocking import DEFAULT_PLAN
from costmodel.comparison import Comparison, compare_files, since
from costmodel.errors import InvalidInputError
from costmodel.profiler import Progress
from costmodel.readers.written import require_runtime
from costmodel.registry import load_runner
from costmodel.uses.against import compare_with_list
from costmodel.uses.matching import timing_runner
from costmodel.uses.models import Model, as_list
from costmodel.uses.pricing import Pricing, Terms, spelled_out
from costmodel.uses.tables import Table


@spelled_out
def compare(  # noqa: PLR0913 - each has a sensible default
    models: Model | Sequence[Model] = (),
    table: Table | None = None,
    *,
    rounds: int | None = None,
    seed: int = 0,
    other_device: bool = False,
    against: Path | str | None = None,
    baseline: Path | str | None = None,
    max_regression: float = MAX_REGRESSION,
    progress: Progress | None = None,
    **terms: Unpack[Terms],
) -> tuple[Comparison, ...]:
    """Predict networks and time them here.

    Args:
        models: one or several, each as for ``predict``; with ``against``, by default those that
            its list names.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        rounds: most visits to a network; 12 by default.
        seed: of the order of visits.
        other_device: whether this machine may be another than the table's.
        against: a list of networks and their times, such as ``timings.csv`` with the columns
            ``model`` and ``latency_ms``: predictions are held against it, and nothing is timed.
        baseline: an earlier output of ``compare --json`` on this device: each network that it has
            gets a ``change``, which says whether it has become slower, beyond the noise and apart
            from the pace of the machine.
        max_regression: how much slower a network may become, as a share.
        progress: who is told how far it is.
        **terms: as for ``predict``: ``cost`` in milliseconds; ``runner`` to time with, of whose
            ``options`` the table's threads, element type and back end are the defaults; ``sizes``
            for all models, each of use for one of them.

    Returns:
        One per model, in order: ``predicted_ms``, ``measured_ms``, ``error``, ``repeatability``;
        and ``pace``, how fast this machine is beside when it made the table.
        A network that could not be timed has no ``measured_ms``, and its measurement says why.

    Raises:
        DeviceMismatchError: if the table is of another device; names the field that differs.
        InvalidInputError: for files, tables or options that cannot be used, or a baseline of
            another device.
        ModelFormatError: if a model cannot be read; nothing has been measured then.
        LockedError: if a profiler holds the device.
        KeyboardInterrupt: when interrupted.

    >>> import onnx
    >>> net = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> from costmodel.runners.ort.runner import OrtRunner
    >>> from costmodel.costs.roofline import Roofline, datasheet
    >>> (found,) = compare(net, cost=Roofline(datasheet("t4")), runner=OrtRunner(), rounds=2)
    >>> found.model, found.measured_ms > 0, found.prediction.device.name
    ('tiny', True, 'NVIDIA T4')
    """
    pricing = Pricing.of(table, terms)
    earlier = _baseline(baseline, against)
    if against is not None:
        return compare_with_list(as_list(models), pricing, Path(against))
    rows = pricing.table
    name, settings = timing_runner(
        pricing.choice, rows.device if rows is not None else None, other_device=other_device
    )
    with pricing.files(as_list(models)) as (files, bound):
        here = load_runner(name, settings).device
        for path in files:
            require_runtime(path, here.runtime)
        if earlier is not None:
            require_device(earlier, here.label)
        cost = pricing.cost_model()
        found = compare_files(
            files,
            runner=name,
            cost=cost,
            options=settings,
            calibration=pricing.law(cost),
            table=rows,
            sizes=bound,
            plan=replace(DEFAULT_PLAN, seed=seed).with_rounds(rounds),
            progress=progress,
        )
    if earlier is not None:
        found = since(earlier, found, max_regression)
    device = rows.device if rows is not None else cost.device
    # A baseline is nobody's numbers by itself; the rows it was fitted on are the table's.
    return tuple(
        replace(item, prediction=replace(item.prediction, device=item.prediction.device or device))
        for item in found
    )


def _baseline(path: Path | str | None, against: Path | str | None) -> Hour | None:
    """The baseline, read before anything is timed."""
    if path is None:
        return None
    if against is not None:
        message = (
            "With --against nothing is timed, so there is nothing to hold against a baseline. "
            "Leave one of the two out."
        )
        raise InvalidInputError(message)
    return read_baseline(Path(path))
