"""Reports Comparisons: predicted beside measured, and the ceiling that repeatability sets."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.comparison import Compared, Comparison, summarise
from costmodel.pace import Pace
from costmodel.report.sheet import (
    NOTHING,
    Sheet,
    facts,
    ms,
    percent,
    signed_percent,
    to_markdown,
)


def comparison_sheets(comparisons: Sequence[Comparison]) -> tuple[Sheet, ...]:
    """Predicted against measured, a row a network, and the errors summed up."""
    sheets = [_networks(comparisons)]
    if len(comparisons) > 1:
        sheets.append(summary_sheet(comparisons))
    if any(item.change for item in comparisons):
        sheets.insert(0, _changes(comparisons))
    return tuple(sheets)


def summary_markdown(comparisons: Sequence[Comparison]) -> str:
    """A page for a CI run: what is to be known in one line, then the tables, in markdown."""
    tables = to_markdown(comparison_sheets(comparisons))
    return f"## Latency\n\n**{_verdict(comparisons)}**\n\n{tables}"


def _verdict(comparisons: Sequence[Comparison]) -> str:
    judged = [item.change for item in comparisons if item.change is not None]
    slower = sum(change.slower for change in judged)
    if judged:
        count = f"{slower} of {len(judged)}" if slower else f"None of {len(judged)}"
        return f"{count} networks slower than the baseline by more than {percent(judged[0].limit)}."
    found = summarise(comparisons)
    error = f", median error {percent(found.median_error)}" if found.compared else ""
    return f"{found.compared} of {found.models} networks predicted and measured{error}."


def _networks(comparisons: Sequence[Comparison]) -> Sheet:
    first = comparisons[0]
    predicted_for = first.prediction.device
    told = f", {first.device.state['timed']}" if "timed" in first.device.state else ""
    notes = [f"Measured on {first.device.label} ({first.device.provenance}{told})."]
    if predicted_for is not None:
        source = f"{predicted_for.label} ({predicted_for.provenance})"
        same = predicted_for.identity == first.device.identity
        notes.append(
            f"Predicted from a table of {'the same device' if same else source}, "
            f"{first.prediction.cost}."
        )
    if first.prediction.calibration:
        notes.append(f"Predictions are calibrated: {first.prediction.calibration}.")
    if first.pace is not None:
        notes.append(_pace(first.pace))
    notes.append(
        "repeats: how well two halves of the measuring rounds agree; no smaller error means much."
    )
    notes += [
        f"{item.model} has no measured time: {item.measurement.status}, {item.measurement.reason}."
        for item in comparisons
        if item.measured_ms is None
    ]
    notes += [_left_out(item) for item in comparisons if item.prediction.unpriced]
    return Sheet(
        title="Predicted against measured, in ms",
        columns=(
            "network",
            "predicted",
            "interval",
            "measured",
            "median",
            "error",
            *(("at this pace",) if _has_pace(comparisons) else ()),
            "repeats",
            "plain sum",
            "priced",
        ),
        rows=tuple(_row(item, pace=_has_pace(comparisons)) for item in comparisons),
        align="l" + "r" * (9 if _has_pace(comparisons) else 8),
        notes=tuple(notes),
    )


def _changes(comparisons: Sequence[Comparison]) -> Sheet:
    judged = [(item.model, item.change) for item in comparisons if item.change is not None]
    new = [item.model for item in comparisons if item.change is None]
    first = judged[0][1]
    notes = [
        f"machine: what {first.witnesses} others took beside it, that nobody changed; slower by: "
        "the network alone; noise: one standard error of that.",
    ]
    notes += [f"Not in the baseline: {', '.join(new)}."] if new else []
    return Sheet(
        title=f"Against the baseline, in ms; allowed: {percent(first.limit)} slower",
        columns=("network", "before", "now", "machine", "slower by", "noise", ""),
        rows=tuple(
            (
                model,
                ms(change.before_ms),
                ms(change.now_ms),
                signed_percent(change.drift - 1.0),
                signed_percent(change.slowdown),
                percent(change.noise),
                "SLOWER" if change.slower else "",
            )
            for model, change in judged
        ),
        align="lrrrrrl",
        notes=tuple(notes),
    )


def _has_pace(comparisons: Sequence[Comparison]) -> bool:
    return any(item.pace is not None and not item.pace.steady for item in comparisons)


def _pace(pace: Pace) -> str:
    """What a change of pace means, if there is one."""
    if pace.steady:
        return f"This machine runs as when the table was made: {pace}"
    word = "slower" if pace.ratio > 1.0 else "faster"
    return (
        f"This machine is {word} than when the table was made: {pace} "
        "'at this pace' is the error without that."
    )


def _row(item: Comparison, *, pace: bool) -> tuple[str, ...]:
    interval = item.prediction.interval_ms
    return (
        item.model,
        ms(item.predicted_ms),
        f"{ms(interval[0])} to {ms(interval[1])}" if interval else NOTHING,
        ms(item.measured_ms, item.repeatability),
        ms(item.median_ms, item.repeatability),
        signed_percent(item.error),
        *((signed_percent(item.error_at_pace),) if pace else ()),
        percent(item.repeatability),
        ms(item.prediction.uncalibrated_ms),
        percent(item.prediction.priced_share),
    )


def _left_out(item: Comparison) -> str:
    unpriced = item.prediction.unpriced
    kinds = sorted({entry.op.kind if entry.op else entry.name for entry in unpriced})
    listed = ", ".join(kinds[:4]) + (" ..." if len(kinds) > 4 else "")
    then = "; the total is scaled for them" if item.prediction.scaled else " and are in no total"
    return f"{item.model}: {len(unpriced)} layers have no price{then} ({listed})."


def summary_sheet(comparisons: Sequence[Compared]) -> Sheet:
    """The errors of several networks summed up."""
    found = summarise(comparisons)
    worst = f"{signed_percent(found.worst_error)} ({found.worst_model})"
    return facts(
        "All networks",
        {
            "compared": f"{found.compared} of {found.models}",
            "median |error|": percent(found.median_error),
            "worst error": worst if found.worst_error is not None else NOTHING,
            "within 5 %": percent(found.within_5, 0),
            "within 10 %": percent(found.within_10, 0),
            "within 15 %": percent(found.within_15, 0),
            "in the interval": percent(found.in_interval, 0),
            "median repeatability": percent(found.repeatability),
            "Spearman": f"{found.spearman:.3f}" if found.spearman is not None else "",
        },
    )
