"""Reports the staircase of latency over channels in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.figures import sparkline
from costmodel.report.sheet import Sheet, ms

#: Most columns of a line.
COLUMNS = 64


def staircase_sheet(title: str, axis: str, measured: Sequence[tuple[int, float]]) -> Sheet:
    """Measured latency over channels as a line of columns.

    Args:
        title: of the convolution.
        axis: which channels vary.
        measured: channels and ms, channels ascending; at least one.
    """
    count = min(len(measured), COLUMNS)
    shown = [measured[place * len(measured) // count] for place in range(count)]
    times = [time for _, time in measured]
    return Sheet(
        title=f"Staircase of {title}",
        columns=(axis, "latency, a column a row", "ms"),
        rows=(
            (
                f"{measured[0][0]} to {measured[-1][0]}",
                sparkline([time for _, time in shown]),
                f"{ms(min(times))} to {ms(max(times))}",
            ),
        ),
        align="rlr",
        notes=("--plot F.png draws it over channels, beside what the regression predicts.",),
    )
