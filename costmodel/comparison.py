"""Comparison: predicted latency held against the clock, both meaning the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

from costmodel._moved import moved_names
from costmodel.baseline import MAX_REGRESSION, Change, Hour, Level, changes
from costmodel.clocking import (
    DEFAULT_PLAN,
    network_jobs,
    rows_of,
    time_apart,
    with_anchor,
    witness_jobs,
)
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.figures import ms, percent, signed_percent
from costmodel.html import html_table
from costmodel.measurement import Measurement
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.pace import Pace
from costmodel.percentiles import SHARES, Percentiles
from costmodel.prediction import Prediction, finite, price_network
from costmodel.profiler import Plan, Progress
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.registry import Option, load_runner
from costmodel.sizes import Sizes

if TYPE_CHECKING:
    from costmodel.table import LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One network, predicted and measured.

    Attributes:
        prediction: what the cost model says.
        measurement: what the clock says, by the profiler's protocol and estimator.
        device: what it was measured on.
        pace: how fast that device is now beside when the table was made; None where no table of
            that device was given.
        percentiles: of its single times; None where whoever timed it does not tell them.
        witnesses: by their digests, what rows of the table took that were timed again beside it.
        change: since a baseline; None without one, and for a network that it has not.
    """

    prediction: Prediction
    measurement: Measurement
    device: Device
    pace: Pace | None = None
    percentiles: Percentiles | None = None
    witnesses: Mapping[str, Level] = field(default_factory=dict)
    change: Change | None = None

    def __str__(self) -> str:
        """One line: both times, and how far they are apart."""
        if self.measured_ms is None:
            return f"{self.model}: not timed ({self.measurement.reason})"
        measured = f"measured {ms(self.measured_ms, self.repeatability)} ms"
        if self.predicted_ms is None or self.error is None:
            return f"{self.model}: {measured}, nothing in it has a price"
        predicted = f"predicted {ms(self.predicted_ms)} ms"
        return f"{self.model}: {predicted}, {measured} ({signed_percent(self.error)})"

    def _repr_html_(self) -> str:
        """The comparison in a notebook."""
        low, high = self.prediction.interval_ms or (None, None)
        told = self.percentiles.to_json() if self.percentiles else {}
        rows = [
            ("predicted", f"{ms(self.predicted_ms)} ms ({ms(low)} to {ms(high)})"),
            ("measured", f"{ms(self.measured_ms, self.repeatability)} ms"),
            ("error", signed_percent(self.error)),
            ("repeats within", percent(self.repeatability)),
            *((f"{name}", f"{ms(told[name])} ms") for name in SHARES if told.get(name)),
            ("measured on", self.device.label),
        ]
        if self.change is not None:
            slower = " (slower)" if self.change.slower else ""
            rows.append(("since the baseline", signed_percent(self.change.slowdown) + slower))
        notes = [self.measurement.reason] if self.measurement.reason else []
        return html_table(self.model, rows, notes=notes)

    @property
    def model(self) -> str:
        """The network's name."""
        return self.prediction.model

    @property
    def predicted_ms(self) -> float | None:
        """The prediction; None when nothing in the network has a price in milliseconds."""
        return self.prediction.predicted_ms

    @property
    def measured_ms(self) -> float | None:
        """The quiet estimate over all rounds; None when the network could not be timed."""
        return finite(self.measurement.latency_ms)

    @property
    def median_ms(self) -> float | None:
        """What a user of the busy machine saw."""
        return finite(self.measurement.median_ms)

    @property
    def repeatability(self) -> float | None:
        """Relative disagreement of the two halves of the rounds: no error below it means much."""
        return finite(self.measurement.spread)

    @property
    def rounds_ms(self) -> tuple[float, ...]:
        """The quiet time of every round; empty where it was not timed here."""
        return tuple(item.quiet_ms for item in self.measurement.rounds)

    @property
    def error(self) -> float | None:
        """``predicted / measured - 1``; None when either is missing."""
        if self.predicted_ms is None or self.measured_ms is None:
            return None
        return self.predicted_ms / self.measured_ms - 1.0

    @property
    def error_at_pace(self) -> float | None:
        """The error once the prediction is slowed or sped up by the device's pace."""
        if self.error is None or self.pace is None:
            return None
        return (1.0 + self.error) * self.pace.ratio - 1.0

    @property
    def parts_ms(self) -> dict[str, float] | None:
        """What adds up to the measured time: the prediction's parts, and what they leave open."""
        parts = self.prediction.parts_ms
        if parts is None or self.measured_ms is None:
            return parts
        return parts | {"unexplained": self.measured_ms - self.prediction.total}

    @property
    def in_interval(self) -> bool | None:
        """Whether the measured time lies in the prediction's interval; None when one is missing."""
        interval = self.prediction.interval_ms
        if interval is None or self.measured_ms is None:
            return None
        return interval[0] <= self.measured_ms <= interval[1]

    def to_json(self) -> dict[str, object]:
        """The comparison as plain values."""
        interval = self.prediction.interval_ms
        return {
            "model": self.model,
            "predicted_ms": self.predicted_ms,
            "interval_ms": list(interval) if interval else None,
            "measured_ms": self.measured_ms,
            "error": self.error,
            "pace": self.pace.to_json() if self.pace else None,
            "error_at_pace": self.error_at_pace,
            "priced_share": self.prediction.priced_share,
            "uncalibrated_ms": self.prediction.uncalibrated_ms,
            "parts_ms": self.parts_ms,
            "median_ms": self.median_ms,
            "repeatability": self.repeatability,
            "in_interval": self.in_interval,
            "status": self.measurement.status,
            "reason": self.measurement.reason,
            "rounds": len(self.measurement.rounds),
            "rounds_ms": list(self.rounds_ms),
            "percentiles_ms": self.percentiles.to_json() if self.percentiles else None,
            "witnesses": {digest: asdict(level) for digest, level in self.witnesses.items()},
            "change": self.change.to_json() if self.change else None,
            "unpriced": [item.name for item in self.prediction.unpriced],
            "predicted_for": self.prediction.device.label if self.prediction.device else None,
            "measured_on": self.device.label,
            "cost": self.prediction.cost,
            "source": self.prediction.source,
        }


class Compared(Protocol):
    """What a summary asks of a comparison, in memory or read back from its JSON."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def predicted_ms(self) -> float | None: ...  # noqa: D102
    @property
    def measured_ms(self) -> float | None: ...  # noqa: D102
    @property
    def repeatability(self) -> float | None: ...  # noqa: D102
    @property
    def error(self) -> float | None: ...  # noqa: D102
    @property
    def in_interval(self) -> bool | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Comparisons in a few numbers; shares are of those that have an error.

    Attributes:
        models: networks compared.
        compared: networks that have both a predicted and a measured time.
        median_error: median of the absolute errors; None without any.
        worst_error: the error that is furthest from 0, with its sign.
        worst_model: whose it is.
        within_5: share within 5 %.
        within_10: share within 10 %.
        within_15: share within 15 %.
        in_interval: share whose measured time lies in the prediction's interval.
        repeatability: median disagreement of the halves of the measuring rounds: the ceiling.
        spearman: rank correlation of predicted and measured times; None with fewer than three.
    """

    models: int
    compared: int
    median_error: float | None
    worst_error: float | None
    worst_model: str
    within_5: float | None
    within_10: float | None
    within_15: float | None
    in_interval: float | None
    repeatability: float | None
    spearman: float | None = None


def summarise(comparisons: Sequence[Compared]) -> Summary:
    """The errors of several networks in a few numbers."""
    errors = [(item.error, item.model) for item in comparisons if item.error is not None]
    sizes = [abs(error) for error, _ in errors]
    worst = max(errors, key=lambda pair: abs(pair[0]), default=(None, ""))
    spreads = [item.repeatability for item in comparisons if item.repeatability is not None]
    inside = [item.in_interval for item in comparisons if item.in_interval is not None]

    def share(limit: float) -> float | None:
        return sum(size <= limit for size in sizes) / len(sizes) if sizes else None

    return Summary(
        models=len(comparisons),
        compared=len(errors),
        median_error=median(sizes) if sizes else None,
        worst_error=worst[0],
        worst_model=worst[1],
        within_5=share(0.05),
        within_10=share(0.10),
        within_15=share(0.15),
        in_interval=sum(inside) / len(inside) if inside else None,
        repeatability=median(spreads) if spreads else None,
        spearman=_spearman(comparisons),
    )


def _spearman(comparisons: Sequence[Compared]) -> float | None:
    pairs = [
        (item.predicted_ms, item.measured_ms) for item in comparisons if item.error is not None
    ]
    if len(pairs) < 3:
        return None
    predicted, measured = zip(*pairs, strict=True)
    if min(len(set(predicted)), len(set(measured))) < 2:
        return None  # what is all the same has no order
    from scipy.stats import spearmanr

    return finite(float(spearmanr(list(predicted), list(measured)).statistic))


def compare_files(  # noqa: PLR0913 - each has a sensible default
    models: Sequence[Path],
    *,
    runner: str,
    cost: CostModel,
    options: Mapping[str, Option] | None = None,
    calibration: NetworkLaw | None = None,
    table: LatencyTable | None = None,
    sizes: Sizes | None = None,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Predict each network and measure it, with the protocol that made the table.

    The rounds are interleaved over the networks and a convolution that serves as drift probe, in
    a worker process; the estimate of a network is made like that of a row.

    Args:
        models: files that the runner reads.
        runner: entry-point name of the runner.
        cost: prices the Ops, in milliseconds.
        options: the runner's options, such as ``{"threads": 2}``.
        calibration: from the sum of Ops to whole networks.
        table: some of its rows are timed again in the same rounds, if it is of the device that
            times: an error of the prediction is told from a device that has changed its pace.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; each must be of
            use for one of the models.
        plan: how much care to take; a missing anchor is chosen here.
        progress: who is told how far it is.

    Returns:
        One per model, in order. A network that could not be timed has no ``measured_ms``, and its
        measurement says why.

    Raises:
        InvalidInputError: for no models, or a cost model that does not price in milliseconds.
        ModelFormatError: if a file cannot be read; nothing has been measured then.
        LockedError: if a profiler holds the device.
        KeyboardInterrupt: when interrupted; a partial comparison would be taken for a whole one.
    """
    if not models:
        message = "There is nothing to compare. Give at least one model."
        raise InvalidInputError(message)
    if cost.unit != "ms":
        message = (
            f"The cost model {cost.name!r} prices in {cost.unit}, and a clock measures ms. "
            "Use one that prices in milliseconds: a table (--table), or a datasheet's roofline."
        )
        raise InvalidInputError(message)
    chosen = load_runner(runner, options)
    bound = sizes_of_each(models, sizes or {})
    networks = [chosen.lower(path, own) for path, own in zip(models, bound, strict=True)]
    predictions = [
        price_network(network, cost, calibration, device=cost.device) for network in networks
    ]
    same = table is not None and table.device.identity == chosen.device.identity
    jobs = network_jobs(models, networks, bound)
    with witness_jobs(table if same else None) as again:
        plan = with_anchor(plan, networks)
        report = time_apart([*jobs, *again], runner, options or {}, plan, progress)
    rows = rows_of([*jobs, *again], report)
    now = {job.op: rows[job.op] for job in again}
    pace = Pace.of(table, now) if table is not None else None
    levels = {
        op.digest: Level.of([item.quiet_ms for item in row.rounds])
        for op, row in now.items()
        if row.has_number
    }
    return tuple(
        Comparison(
            prediction=prediction,
            measurement=rows[job.op],
            device=chosen.device,
            pace=pace,
            percentiles=Percentiles.of(report.times_ms.get(job.op, ())),
            witnesses=levels,
        )
        for prediction, job in zip(predictions, jobs, strict=True)
    )


def since(
    baseline: Hour, comparisons: Sequence[Comparison], limit: float = MAX_REGRESSION
) -> tuple[Comparison, ...]:
    """Comparisons, each with its network's change since a baseline.

    Args:
        baseline: an earlier hour of the same device.
        comparisons: of networks timed together.
        limit: how much slower a network may have become, as a share.

    Raises:
        InvalidInputError: for two networks of one name, and as ``costmodel.baseline.changes``.
    """
    timed = [item for item in comparisons if item.rounds_ms and item.measured_ms is not None]
    networks = {item.model: item.rounds_ms for item in timed}
    if len(networks) < len(timed):
        message = (
            "Two networks have the same name, and a baseline knows them by that: "
            f"{', '.join(item.model for item in timed)}. Rename one of the files."
        )
        raise InvalidInputError(message)
    first = comparisons[0]
    now = Hour(device=first.device.label, networks=networks, witnesses=first.witnesses)
    found = changes(baseline, now, limit)
    return tuple(replace(item, change=found.get(item.model)) for item in comparisons)


__getattr__ = moved_names(__name__, {"compare": ":compare_files"})
