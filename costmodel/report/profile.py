"""Reports a ProfileComparison: the kernels where a runtime's own times and the predicted part."""

from __future__ import annotations

from costmodel.report.sheet import NOTHING, Sheet, facts, ms, percent
from costmodel.viewers.ort_profile import Parting, ProfileComparison

#: Kernels shown.
TOP = 15


def profile_sheets(found: ProfileComparison) -> tuple[Sheet, ...]:
    """How much of the time is spent elsewhere than predicted, and where.

    Args:
        found: to report.
    """
    left = len(found.kernels) - TOP
    whole = facts(
        found.prediction.model,
        {
            "spent elsewhere": f"{percent(found.moved)} of the time",
            "profile": f"{found.profile.runs} runs, {ms(found.profile.total_ms)} in kernels each",
            "predicted": ms(found.prediction.uncalibrated_ms),
            "matched": f"{percent(found.matched)} of the profile's time",
            "kernels": found.prediction.source,
        },
    )
    notes = ["Shares of the kernels' time: profiling itself slows a run, short kernels most."]
    if left > 0:
        notes.append(f"{left} more kernels part less (--json has all).")
    kernels = Sheet(
        title="Where the two part",
        columns=("kernel", "work", "profiled", "predicted", "difference"),
        rows=tuple(_row(item) for item in found.kernels[:TOP]),
        align="llrrr",
        notes=tuple(notes),
    )
    return whole, kernels


def _row(item: Parting) -> tuple[str, ...]:
    difference = item.difference
    points = NOTHING if difference != difference else f"{100 * difference:+.1f} points"
    return (item.name, item.work, percent(item.profiled), percent(item.predicted), points)
