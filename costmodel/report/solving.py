"""Reports which networks to time on a device."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.report.sheet import Sheet


def suggestion_sheet(models: Sequence[str]) -> Sheet:
    """Networks in the order in which they tell most."""
    return Sheet(
        title="Networks to time next, the most telling first",
        columns=("", "network"),
        rows=tuple((str(number), model) for number, model in enumerate(models, start=1)),
        align="rl",
    )
