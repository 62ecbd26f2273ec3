"""Checks proposals: writes the changed network, prices its kernels anew, and times it if asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, isnan, sqrt
from pathlib import Path

from costmodel.clocking import DEFAULT_PLAN, measure
from costmodel.editing import Editable
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.explanation.advice import Advice
from costmodel.explanation.proposals import Proposal
from costmodel.measurement import Measurement
from costmodel.onnx_model.bypass import bypass
from costmodel.onnx_model.file import open_model, save_model
from costmodel.op import Op
from costmodel.prediction import (
    SUMMATION_SHARE,
    Prediction,
    PricedLayer,
    finite,
    interval_of_sum,
)
from costmodel.profiler import Plan, Progress
from costmodel.registry import Option
from costmodel.sizes import Sizes

#: Assumed correlation of the errors of a kernel and of the one that takes its place.
_ALIKE = 0.95
#: Prices the executed kernels of a file.
Predict = Callable[[Path], Prediction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An advice, and the file that it was checked on."""

    advice: Advice
    file: Path


def ranked(checked: Sequence[Checked]) -> list[Checked]:
    """Most milliseconds first, by the clock where it was asked."""
    return sorted(checked, key=lambda item: -item.advice.best_known_ms)


def check(
    path: Path,
    proposals: Sequence[Proposal],
    *,
    shown_ms: float,
    before: Prediction,
    predict: Predict,
    editable: Editable | None,
    folder: Path,
) -> tuple[list[Checked], list[str]]:
    """Write and price every changed network.

    Args:
        path: the network as it is.
        proposals: to check.
        shown_ms: what people are told that the network takes as it is.
        before: its kernels, priced as those of a changed network are.
        predict: prices the kernels of a changed file.
        editable: changes its channels; None where no proposal does.
        folder: for the files.

    Returns:
        Those that are predicted to save something; and why others are not there.

    Raises:
        InvalidInputError: if the folder takes no file.
    """
    found: list[Checked] = []
    notes: list[str] = []
    for number, proposal in enumerate(proposals, 1):
        file = folder / f"{path.stem}-{number}.onnx"
        where = proposal.layers[0] if proposal.layers else next(iter(proposal.widths), "")
        try:
            if not _write(path, proposal, editable, file):
                continue
            after = predict(file)
        except (ModelFormatError, InvalidInputError) as error:
            if isinstance(error.__cause__, OSError):  # a full disk or a quota: no fault of this one
                raise
            notes.append(f"Not checked, so not listed: {where}, {proposal.todo}: {error}")
            continue
        gain = before.total - after.total
        if isnan(gain) or gain <= 0 or len(after.unpriced) > len(before.unpriced):
            continue
        half = gain_half_width(before, after)
        advice = Advice(
            proposal=proposal,
            before_ms=shown_ms,
            after_ms=shown_ms - gain,
            gain_ms=gain,
            low_ms=gain - half,
            high_ms=gain + half,
            checked=after.source,
        )
        found.append(Checked(advice=advice, file=file))
    return found, notes


def _write(path: Path, proposal: Proposal, editable: Editable | None, file: Path) -> bool:
    """Whether there is a changed network; it is then in ``file``."""
    if proposal.skip is not None:
        model = bypass(open_model(path), *proposal.skip)
        if model is None:
            return False
        save_model(model, file)
        return True
    assert editable is not None
    editable.save({name: after for name, (_, after) in proposal.widths.items()}, file)
    return True


def gain_half_width(before: Prediction, after: Prediction) -> float:
    """Half width of the interval of what a change saves.

    Kernels that both networks execute are wrong in both alike. Of the others, those of a kind that
    went and those that came in their place are neighbours, priced by one law: most of their errors
    is the same, too.
    """
    counts = [Counter(layer.op for layer in item.layers) for item in (before, after)]
    gone = _halves(before.layers, counts[0] - counts[1])
    come = _halves(after.layers, counts[1] - counts[0])
    halves = []
    for kind in gone.keys() | come.keys():
        one, other = (interval_of_sum(item.get(kind, [])) for item in (gone, come))
        halves.append(sqrt(max(0.0, one * one + other * other - 2.0 * _ALIKE * one * other)))
    scale = before.total / before.uncalibrated if before.uncalibrated > 0 else 1.0
    share = SUMMATION_SHARE * (before.total - after.total)
    return hypot(scale * interval_of_sum(halves), share)


def _halves(layers: Sequence[PricedLayer], counts: Mapping[Op, int]) -> dict[str, list[float]]:
    """Half widths by kind of some kernels, each as often as it is executed."""
    once = {layer.op: layer for layer in layers if layer.op in counts}
    found: dict[str, list[float]] = {}
    for op, layer in once.items():
        half = counts[op] * max(0.0, layer.high - layer.low) / 2.0
        found.setdefault(op.kind, []).append(half)
    return found


def time_checked(
    path: Path,
    checked: Sequence[Checked],
    *,
    runner: str,
    options: Mapping[str, Option],
    sizes: Sizes,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress | None = None,
) -> list[Checked]:
    """The same with the times of all their networks, taken in interleaved rounds.

    Args:
        path: the network as it is.
        checked: from ``check``.
        runner: entry-point name of the runner.
        options: of the runner.
        sizes: of open dimensions.
        plan: how much care to take.
        progress: who is told how far it is.

    Raises:
        InvalidInputError: if the network as it is could not be timed; says why.
        LockedError: if a profiler holds the device.
    """
    if not checked:
        return []
    files = [path, *(item.file for item in checked)]
    before, *rows = measure(
        files, runner=runner, options=options, sizes=sizes, plan=plan, progress=progress
    )
    if finite(before.latency_ms) is None:
        message = f"{path.stem} could not be timed: {before.status}, {before.reason}."
        raise InvalidInputError(message)
    pairs = zip(checked, rows, strict=True)
    return ranked([replace(item, advice=_timed(item.advice, before, row)) for item, row in pairs])


def _timed(advice: Advice, before: Measurement, after: Measurement) -> Advice:
    spreads = [spread for row in (before, after) if (spread := finite(row.spread)) is not None]
    return replace(
        advice,
        measured_before_ms=finite(before.latency_ms),
        measured_after_ms=finite(after.latency_ms),
        repeatability=max(spreads, default=None),
    )
