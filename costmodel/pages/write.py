"""From subjects to the text of a page."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.pages.of_comparison import comparison_section
from costmodel.pages.of_morph import morph_section
from costmodel.pages.of_prediction import prediction_section
from costmodel.pages.of_table import table_section
from costmodel.pages.parts import Section
from costmodel.pages.records import MorphRecord, PredictionRecord
from costmodel.pages.render import render
from costmodel.pages.subjects import Subject, Tabled


def page_of(subjects: Sequence[Subject], title: str, version: str) -> str:
    """The HTML of a page about some subjects.

    Args:
        subjects: in order, at least one.
        title: of the page; if it is empty, what the subjects are.
        version: of this package, which the page tells.
    """
    tables = [(item, *table_section(item)) for item in subjects if isinstance(item, Tabled)]
    # What is picked in a prediction is picked in the tables of the page, wherever they stand.
    kernels = [source for _, _, source in tables]
    sections: list[Section] = []
    for item in subjects:
        if isinstance(item, Tabled):
            sections += [section for table, section, _ in tables if table is item]
        elif isinstance(item, PredictionRecord):
            sections.append(prediction_section(item, kernels))
        elif isinstance(item, MorphRecord):
            sections.append(morph_section(item))
        else:
            sections.append(comparison_section(item.records, item.title))
    named = ", ".join(section.title for section in sections[:3])
    return render(sections, title or named + (" ..." if len(sections) > 3 else ""), version)
