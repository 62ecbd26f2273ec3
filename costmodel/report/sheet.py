"""Sheet: one table of a report, and the words that numbers are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

from costmodel.figures import NOTHING, digits, ms, percent, quantity, signed_percent

__all__ = [
    "NOTHING",
    "Sheet",
    "digits",
    "facts",
    "ms",
    "percent",
    "quantity",
    "signed_percent",
    "to_markdown",
    "to_text",
]

#: Cells that are to be seen at once, and how a terminal shows them.
_STYLES = {"SLOWER": "bold red", "noisy": "yellow", "no": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table of a report.

    Attributes:
        title: what it shows, units included where all columns share one.
        columns: headings; empty for a sheet of ``(name, value)`` facts.
        rows: texts, as many per row as there are columns.
        align: one letter per column, ``l`` or ``r``.
        notes: sentences below the table.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    align: str = ""
    notes: tuple[str, ...] = ()


def facts(title: str, pairs: Mapping[str, str], notes: Iterable[str] = ()) -> Sheet:
    """A sheet of names and values; empty values are left out."""
    rows = tuple((name, value) for name, value in pairs.items() if value)
    return Sheet(title=title, rows=rows, align="ll", notes=tuple(notes))


def to_text(sheets: Sequence[Sheet], width: int = 120, *, styled: bool = False) -> str:
    """The sheets for a terminal.

    Args:
        sheets: in order.
        width: columns of the terminal; wider cells are folded, never cut.
        styled: with the codes by which a terminal shows titles bold, notes dim and findings in
            colour.
    """
    # Imported here, so that asking for JSON does not pay for it.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    file = StringIO()
    console = Console(
        file=file,
        width=width,
        color_system="standard" if styled else None,
        force_terminal=styled,
        highlight=False,
        markup=False,
    )
    for number, sheet in enumerate(sheets):
        if number:
            console.print()
        console.print(Text(sheet.title, style="bold"))
        if sheet.rows:
            shape = box.SIMPLE_HEAD if sheet.columns else None
            table = Table(
                box=shape, show_header=bool(sheet.columns), show_edge=False, pad_edge=True
            )
            for index in range(len(sheet.rows[0])):
                heading = sheet.columns[index] if sheet.columns else ""
                right = sheet.align[index : index + 1] == "r"
                table.add_column(
                    heading,
                    justify="right" if right else "left",
                    no_wrap=right,
                    overflow="fold",
                )
            for row in sheet.rows:
                table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
            console.print(table)
        for note in sheet.notes:
            console.print(Text(f" {note}", style="dim"))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def to_markdown(sheets: Sequence[Sheet]) -> str:
    """The sheets as GitHub-flavoured markdown."""
    parts = []
    for sheet in sheets:
        lines = [f"### {_escape(sheet.title)}", ""]
        if sheet.rows:
            columns = sheet.columns or ("",) * len(sheet.rows[0])
            align = sheet.align.ljust(len(columns), "l")
            rules = ["---:" if letter == "r" else "---" for letter in align]
            lines += [_line(columns), "| " + " | ".join(rules) + " |"]
            lines += [_line(row) for row in sheet.rows]
            lines.append("")
        lines += [f"{_escape(note)}  " for note in sheet.notes]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
