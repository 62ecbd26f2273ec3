"""Networks predicted and timed, and as rows of a page; how a profile went, in a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from costmodel.calibration import Calibration, fit_calibration
from costmodel.comparison import Comparison, compare_files
from costmodel.costs.regression import Regression, fit_regression
from costmodel.profiler import Plan, ProfileReport
from costmodel.registry import Option
from costmodel.table import LatencyTable

COLUMNS = "network | predicted ms | measured ms | error | repeats within"


def timed(
    models: Sequence[Path],
    table: LatencyTable,
    plan: Plan,
    *,
    cost: Regression | None = None,
    runner: str = "ort",
    options: Mapping[str, Option] = MappingProxyType({"threads": 1}),
) -> tuple[tuple[Comparison, ...], Calibration | None]:
    """Networks held against the clock, and how the table's own networks correct their sums.

    Args:
        models: files of the networks.
        table: what is learned from.
        plan: how much care to take.
        cost: prices the kernels; learned from the whole table by default.
        runner: times the networks.
        options: of the runner.
    """
    whole = fit_regression(table)
    calibration = fit_calibration(table, whole)
    found = compare_files(
        models,
        runner=runner,
        cost=cost or whole,
        options=options,
        calibration=calibration,
        plan=plan,
    )
    return found, calibration


def rows(found: Iterable[Comparison]) -> Iterator[str]:
    """One row for each network that has both numbers."""
    for item in found:
        if item.error is not None:
            yield (
                f"{item.model} | {item.predicted_ms:.3f} | {item.measured_ms:.3f} | "
                f"{item.error:+.1%} | {item.repeatability:.1%}"
            )


def told(report: ProfileReport) -> str:
    """What a profile gave."""
    return (
        f"{report.rows} rows, {report.ok} ok, {report.noisy} noisy, {report.failed} failed, "
        f"{report.unmeasured} unmeasured, {report.seconds:.0f} s, repeats within 10 %: "
        f"{report.repeatability.within_10:.1%}"
    )
