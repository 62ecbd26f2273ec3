"""Subjects: what a page is about, one section each."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.pages.records import ComparisonRecord, MorphRecord, PredictionRecord
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabled:
    """A table, and what was learned from it; None where nothing can be."""

    title: str
    table: LatencyTable
    cost: CostModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Comparisons that were made together."""

    title: str
    records: tuple[ComparisonRecord, ...]


Subject = Tabled | PredictionRecord | Compared | MorphRecord
