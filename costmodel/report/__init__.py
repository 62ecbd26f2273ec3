"""Reports: tables for people, as plain text or markdown; one file per thing reported."""

from __future__ import annotations

from costmodel.report.comparison import comparison_sheets
from costmodel.report.importing import import_sheets
from costmodel.report.learning import learning_json, learning_sheet
from costmodel.report.prediction import prediction_sheets
from costmodel.report.quality import audit_sheets, score_sheets
from costmodel.report.sheet import Sheet, to_markdown, to_text
from costmodel.report.table import table_sheets, table_summary

__all__ = [
    "Sheet",
    "audit_sheets",
    "comparison_sheets",
    "import_sheets",
    "learning_json",
    "learning_sheet",
    "prediction_sheets",
    "score_sheets",
    "table_sheets",
    "table_summary",
    "to_markdown",
    "to_text",
]
