"""Reports an Explanation: what would bring milliseconds back, and where they go now."""

from __future__ import annotations

from math import isfinite

from costmodel.explanation.advice import Advice, Explanation
from costmodel.explanation.losses import MEANINGS, Loss
from costmodel.explanation.steps import Step
from costmodel.report.sheet import Sheet, facts, ms, percent

#: Kernels of each loss, and steps, that are shown.
TOP = 5

_CHECKS = {
    "lowered": "changed networks were written and the installed runtime asked what it executes",
    "anticipated": "changed networks were written, and rules say what would be executed",
    "written": "changed networks were written and priced as their files have them",
}


def explanation_sheets(found: Explanation, top: int = TOP) -> tuple[Sheet, ...]:
    """What there is to say about a network.

    Args:
        found: to report.
        top: kernels of each loss, and groups of channels, to list; 0 lists none.
    """
    sheets = [_total(found), _advices(found)]
    sheets += [_loss(item, found, top) for item in found.losses if top]
    if top and found.steps:
        sheets.append(_steps(found, top))
    return tuple(sheets)


def _total(found: Explanation) -> Sheet:
    prediction = found.prediction
    device = prediction.device
    pairs = {
        "predicted": f"{ms(prediction.total)} ms",
        "interval": f"{ms(prediction.low)} to {ms(prediction.high)} ms",
        "device": f"{device.label} ({device.provenance})" if device else "",
        "measured on": found.measured_on,
    }
    pairs |= {
        MEANINGS[item.matter]: f"{ms(item.ms)} ms, {percent(item.ms / prediction.total)}"
        for item in found.losses
    }
    return facts(found.model, pairs, found.notes)


def _advices(found: Explanation) -> Sheet:
    if not found.advices:
        return Sheet(title="Advice", notes=("Nothing is predicted to be worth changing.",))
    timed = any(item.measured_gain_ms is not None for item in found.advices)
    columns = ["gain in ms", "share", "interval", *(["measured"] if timed else [])]
    notes = [
        f"Checked: {_CHECKS.get(found.advices[0].checked, found.advices[0].checked)}.",
        "Each is a change of the network as it is: gains do not add up.",
    ]
    if any(not item.proposal.keeps_function for item in found.advices):
        notes.append("Only padding keeps the function; train the network again after the others.")
    if timed:
        spreads = [item.repeatability for item in found.advices if item.repeatability is not None]
        notes.append(f"Timed networks repeat within {percent(max(spreads, default=None))}.")
    return Sheet(
        title="Advice, most milliseconds first",
        columns=(*columns, "matter", "layers", "what is the matter", "what to do"),
        rows=tuple(_advice(item, timed=timed) for item in found.advices),
        align="r" * len(columns) + "llll",
        notes=tuple(notes),
    )


def _advice(item: Advice, *, timed: bool) -> tuple[str, ...]:
    cells = [ms(item.gain_ms), percent(item.gain_ms / item.before_ms)]
    cells.append(f"{ms(item.low_ms)} to {ms(item.high_ms)}")
    if timed:
        cells.append(ms(item.measured_gain_ms))
    return (*cells, item.kind, item.where, item.proposal.why, item.proposal.todo)


def _loss(loss: Loss, found: Explanation, top: int) -> Sheet:
    left = len(loss.suspects) - top
    return Sheet(
        title=f"{MEANINGS[loss.matter].capitalize()}: {ms(loss.ms)} ms",
        columns=("layer", "work", "ms", "share", "why"),
        rows=tuple(
            (
                item.layers[0] if item.layers else item.name,
                item.op.label,
                ms(item.ms),
                percent(item.ms / found.prediction.total),
                item.why,
            )
            for item in loss.suspects[:top]
        ),
        align="llrrl",
        notes=(f"{left} more are not shown (--top).",) if left > 0 else (),
    )


def _steps(found: Explanation, top: int) -> Sheet:
    known = [step for step in found.steps if isfinite(step.gain_ms)]
    known.sort(key=lambda step: -step.gain_ms)
    left = len(found.steps) - len(known[:top])
    return Sheet(
        title=f"One block of {found.block} channels less or more, in ms",
        columns=("group", "channels", "past a step", "less", "brings", "more", "costs"),
        rows=tuple(_step(step) for step in known[:top]),
        align="lrrrrrr",
        notes=(f"{left} more groups are not shown (--top).",) if left > 0 else (),
    )


def _step(step: Step) -> tuple[str, ...]:
    return (
        step.group,
        str(step.channels),
        str(step.past),
        str(step.fewer),
        ms(step.gain_ms),
        str(step.more),
        ms(step.cost_ms),
    )
