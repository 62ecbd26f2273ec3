"""Imported: what became of a file of measurements."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.table import LatencyTable
from costmodel.tidy.rows import LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Tables made of a file, and what was not used of it.

    Attributes:
        source: the file.
        form: the preset or format that it was read by; ``columns`` where only names told.
        rows: read.
        merged: rows that repeat another row's kernel, and count in its median and spread.
        tables: one for each device of the file.
        left_out: rows that are in no table, by column and reason.
        notes: what was taken for granted, one sentence each.
        written: the files, in the order of ``tables``; empty where none was asked for.
    """

    source: str
    form: str
    rows: int
    merged: int
    tables: tuple[LatencyTable, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    @property
    def table(self) -> LatencyTable:
        """The first table; the only one unless the file mixes devices."""
        return self.tables[0]

    def __str__(self) -> str:
        """A line for each table, then one for each reason why rows were left out."""
        return "\n".join([*self.headlines(), *map(str, self.left_out), *self.notes])

    def headlines(self) -> list[str]:
        """A line for each table."""
        return [
            f"{table.device.label}: {len(table)} kernels and networks, {table.device.provenance}"
            for table in self.tables
        ]

    def to_json(self) -> dict[str, object]:
        """It as plain values."""
        return {
            "source": self.source,
            "form": self.form,
            "rows": self.rows,
            "merged": self.merged,
            "tables": [
                {
                    "device": table.device.label,
                    "slug": table.device.slug,
                    "provenance": table.device.provenance,
                    "rows": len(table),
                    "file": self.written[at] if self.written else None,
                }
                for at, table in enumerate(self.tables)
            ],
            "left_out": [
                {
                    "column": item.column,
                    "problem": item.problem,
                    "count": item.count,
                    "rows": item.rows,
                    "values": item.values,
                }
                for item in self.left_out
            ],
            "notes": list(self.notes),
        }
