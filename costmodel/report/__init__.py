"""Reports: tables for people, as plain text or markdown; one file per thing reported.

Each is imported when it is first asked for: what one verb reports, no other has to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel._lazy import lazy_names

if TYPE_CHECKING:
    from costmodel.report.comparison import comparison_sheets, summary_markdown
    from costmodel.report.explanation import explanation_sheets
    from costmodel.report.fleet import fleet_comparison_sheets, fleet_sheets
    from costmodel.report.frames import comparison_records, prediction_records
    from costmodel.report.importing import import_sheets
    from costmodel.report.learning import learning_json, learning_sheet
    from costmodel.report.prediction import prediction_sheets
    from costmodel.report.profile import profile_sheets
    from costmodel.report.quality import audit_sheets, score_sheets
    from costmodel.report.sheet import Sheet, to_markdown, to_text
    from costmodel.report.solving import suggestion_sheet
    from costmodel.report.staircase import staircase_sheet
    from costmodel.report.table import table_sheets, table_summary

__all__ = [
    "Sheet",
    "audit_sheets",
    "comparison_records",
    "comparison_sheets",
    "explanation_sheets",
    "fleet_comparison_sheets",
    "fleet_sheets",
    "import_sheets",
    "learning_json",
    "learning_sheet",
    "prediction_records",
    "prediction_sheets",
    "profile_sheets",
    "score_sheets",
    "staircase_sheet",
    "suggestion_sheet",
    "summary_markdown",
    "table_sheets",
    "table_summary",
    "to_markdown",
    "to_text",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Sheet": "sheet",
        "audit_sheets": "quality",
        "comparison_records": "frames",
        "comparison_sheets": "comparison",
        "explanation_sheets": "explanation",
        "fleet_comparison_sheets": "fleet",
        "fleet_sheets": "fleet",
        "import_sheets": "importing",
        "learning_json": "learning",
        "learning_sheet": "learning",
        "prediction_records": "frames",
        "prediction_sheets": "prediction",
        "profile_sheets": "profile",
        "score_sheets": "quality",
        "staircase_sheet": "staircase",
        "suggestion_sheet": "solving",
        "summary_markdown": "comparison",
        "table_sheets": "table",
        "table_summary": "table",
        "to_markdown": "sheet",
        "to_text": "sheet",
    },
)
