"""HTML of results for notebooks: plain tables, which the notebook itself gives its colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(
    title: str,
    rows: Iterable[Sequence[str]],
    *,
    columns: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """A table with a caption.

    Args:
        title: the caption.
        rows: texts of the cells; the first of a row is its heading.
        columns: headings; none for a table of names and values.
        notes: sentences below.

    >>> html_table("a < b", [("ms", "1.50")])
    '<table><caption>a &lt; b</caption><tr><th scope="row">ms</th><td>1.50</td></tr></table>'
    """
    parts = ["<table>", f"<caption>{escape(title)}</caption>"]
    if columns:
        heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
        parts.append(f"<thead><tr>{heads}</tr></thead>")
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        parts.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    parts.append("</table>")
    parts += [f"<p><small>{escape(note)}</small></p>" for note in notes]
    return "".join(parts)
