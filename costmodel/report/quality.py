"""Reports how far to trust a table (audit) and a cost model (score)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from costmodel.audit import Finding
from costmodel.measurement import Repeatability
from costmodel.report.sheet import Sheet, facts, percent
from costmodel.report.table import repeatability_text

#: Findings of one problem that are listed one by one.
LISTED = 10

_TITLES = {
    "noisy": "Noisy rows: the halves of their rounds never agreed",
    "failed": "Rows without a number",
    "impossible": "Rows that no such device can reach",
    "too_few_rounds": "Rows with too few rounds to see noise",
    "inconsistent": "Rows whose summary is not that of their rounds",
    "dtype": "Rows of another element type",
    "file": "The file",
    "fewer_channels_slower": "For information: fewer channels take longer",
}


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as plain values."""
    return {
        "problem": finding.problem,
        "op": finding.op.label if finding.op else None,
        "digest": finding.op.digest if finding.op else None,
        "detail": finding.detail,
        "advice": finding.advice,
        "is_information": finding.is_information,
    }


def audit_sheets(
    findings: Sequence[Finding], repeats: Repeatability, rows: int
) -> tuple[Sheet, ...]:
    """What an audit found, by problem.

    Args:
        findings: of the audit.
        repeats: how well the table's numbers repeat.
        rows: rows looked at.
    """
    counts = Counter(finding.problem for finding in findings)
    faults = sum(not finding.is_information for finding in findings)
    pairs = {
        "rows": str(rows),
        "faults": str(faults),
        "for information": str(len(findings) - faults),
        "repeatability": repeatability_text(repeats),
    }
    verdict = "No row looks wrong." if not faults else ""
    sheets = [facts("Audit", pairs, [verdict] if verdict else [])]
    for problem, _ in counts.most_common():
        sheets.append(_problem([item for item in findings if item.problem == problem]))
    return tuple(sheets)


def _problem(findings: Sequence[Finding]) -> Sheet:
    problem = findings[0].problem
    left = len(findings) - LISTED
    notes = [f"and {left} more (--json lists all)."] if left > 0 else []
    notes += [f"To do: {advice}" for advice in dict.fromkeys(item.advice for item in findings)]
    return Sheet(
        title=f"{_TITLES.get(problem, problem)} ({len(findings)})",
        columns=("row", "seen"),
        rows=tuple((item.op.label if item.op else "", item.detail) for item in findings[:LISTED]),
        align="ll",
        notes=tuple(notes),
    )


def score_sheets(score: Mapping[str, object]) -> tuple[Sheet, ...]:
    """A cost model's error on rows it has not seen, beside baselines and the table's repeatability.

    Args:
        score: ``Score.to_json()``: ``rows``, ``held_out``, ``mape``, ``within_5``, ``within_10``
            (as shares), and ``repeatability`` and ``baselines``, which hold the same figures.
    """
    rows = [_figures("the table's regression", score)]
    baselines = score.get("baselines")
    if isinstance(baselines, Mapping):
        rows += [_figures(str(name), figures) for name, figures in baselines.items()]
    repeats = score.get("repeatability")
    if isinstance(repeats, Mapping):
        rows.append(_figures("the table's own repeatability", repeats))
    notes = ["No predictor can do better than the rows repeat."]
    coverage = score.get("coverage")
    if isinstance(coverage, float):
        notes.append(f"In the regression's interval: {percent(coverage)} of the rows held out.")
    return (
        Sheet(
            title=(
                f"{score.get('held_out')} convolutions held out, "
                f"{score.get('rows')} rows learned from"
            ),
            columns=("predicted by", "mean |error|", "within 5 %", "within 10 %"),
            rows=tuple(rows),
            align="lrrr",
            notes=tuple(notes),
        ),
    )


def _figures(name: str, figures: object) -> tuple[str, ...]:
    if not isinstance(figures, Mapping):
        return (name, percent(None), percent(None), percent(None))
    values = [figures.get(key) for key in ("mape", "within_5", "within_10")]
    shares = [float(value) if isinstance(value, int | float) else None for value in values]
    return (name, *(percent(share) for share in shares))
