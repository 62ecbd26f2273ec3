"""Networks predicted and timed, as rows of a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from costmodel.comparison import Comparison

COLUMNS = "network | predicted ms | measured ms | error | repeats within"


def rows(found: Iterable[Comparison]) -> Iterator[str]:
    """One row for each network that has both numbers."""
    for item in found:
        if item.error is not None:
            yield (
                f"{item.model} | {item.predicted_ms:.3f} | {item.measured_ms:.3f} | "
                f"{item.error:+.1%} | {item.repeatability:.1%}"
            )
