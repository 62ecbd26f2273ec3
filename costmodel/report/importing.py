"""Reports what became of an imported file."""

from __future__ import annotations

from costmodel.imports.imported import Imported
from costmodel.report.sheet import Sheet, facts

#: Devices that are listed one by one.
_LISTED = 40


def import_sheets(found: Imported) -> tuple[Sheet, ...]:
    """What was imported, for which devices, and what was left out and why."""
    missing = sum(item.count for item in found.left_out)
    head = facts(
        f"Imported {found.source}",
        {
            "read as": found.form,
            "rows": str(found.rows),
            "merged": f"{found.merged} repeats of the same kernel" if found.merged else "",
            "left out": f"{missing} rows" if missing else "none",
            "provenance": "imported",
        },
        found.notes,
    )
    more = len(found.tables) - _LISTED
    devices = Sheet(
        title="Tables",
        columns=("device", "rows", "file"),
        rows=tuple(
            (table.device.label, str(len(table)), found.written[at] if found.written else "")
            for at, table in enumerate(found.tables[:_LISTED])
        ),
        align="lrl",
        notes=(f"And {more} more.",) if more > 0 else (),
    )
    if not found.left_out:
        return head, devices
    left = Sheet(
        title="Left out (rows counted from 1 below the header)",
        columns=("rows", "column", "problem", "first rows", "such as"),
        rows=tuple(
            (
                str(item.count),
                item.column,
                item.problem,
                ", ".join(map(str, item.rows)),
                item.values,
            )
            for item in found.left_out
        ),
        align="rllll",
    )
    return head, devices, left
