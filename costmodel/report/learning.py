"""Reports how the error on networks falls with the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.learning import LearningPoint
from costmodel.report.sheet import Sheet, percent


def learning_json(points: Sequence[LearningPoint]) -> list[dict[str, object]]:
    """A learning curve as plain values; shares of 1."""
    return [
        {
            "rows": point.rows,
            "networks": point.networks.rows,
            "median": point.networks.median,
            "within_5": point.networks.within_5,
            "within_10": point.networks.within_10,
            "bias": point.networks.bias,
        }
        for point in points
    ]


def learning_sheet(points: Sequence[LearningPoint]) -> Sheet:
    """A learning curve as a table."""
    return Sheet(
        title="Learning curve: networks predicted without any kernel of their own",
        columns=("rows", "networks", "median error", "within 5 %", "within 10 %", "bias"),
        rows=tuple(
            (
                str(point.rows),
                str(point.networks.rows),
                percent(point.networks.median),
                percent(point.networks.within_5, 0),
                percent(point.networks.within_10, 0),
                f"{point.networks.bias:+.1%}",
            )
            for point in points
        ),
        align="rrrrrr",
        notes=()
        if points
        else ("Too few networks were timed whole: profile with 480 or more samples.",),
    )
