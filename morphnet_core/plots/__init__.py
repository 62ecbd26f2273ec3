"""Pictures of a morphed network: its widths, where its milliseconds go, and what it is worth."""

from __future__ import annotations

from morphnet_core.plots.breakdown import breakdown, plot_breakdown
from morphnet_core.plots.sweep import plot_sweep
from morphnet_core.plots.tradeoff import Trained, plot_tradeoff
from morphnet_core.plots.widths import plot_widths

__all__ = ["Trained", "breakdown", "plot_breakdown", "plot_sweep", "plot_tradeoff", "plot_widths"]
