"""Pictures: predicted against measured, and the staircase of latency over channels."""

from __future__ import annotations

from costmodel.plots.canvas import check_picture
from costmodel.plots.comparison import plot_comparison
from costmodel.plots.staircase import (
    Staircase,
    plot_staircase,
    staircase_of_cost,
    staircase_of_table,
)

__all__ = [
    "Staircase",
    "check_picture",
    "plot_comparison",
    "plot_staircase",
    "staircase_of_cost",
    "staircase_of_table",
]
