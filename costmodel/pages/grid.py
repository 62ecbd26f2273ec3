"""Grids: rows that are sorted, filtered and picked, with a pointer or with the keyboard alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CustomJS,
    CustomJSFilter,
    DataTable,
    HTMLTemplateFormatter,
    Select,
    StringFormatter,
    TableColumn,
    TextInput,
)

#: Height of a grid and of its rows, in pixels.
HEIGHT, ROW_HEIGHT = 380, 26
#: How cells of each kind are written; what is missing is a dash.
_FORMATS = {
    "ms": '<%= value == null || isNaN(value) ? "-" : Number(value.toPrecision(4)) %>',
    "number": '<%= value == null || isNaN(value) ? "-" : Number(value.toPrecision(3)) %>',
    "percent": '<%= value == null || isNaN(value) ? "-" : (100 * value).toFixed(1) + " %" %>',
}
_KEEP = """
const words = text.value_input.toLowerCase().split(/\\s+/)
const rows = names.map((name) => source.data[name])
return Array.from({length: source.get_length() ?? 0}, (_, row) => {
  const line = rows.map((column) => column[row]).join(" ").toLowerCase()
  return words.every((word) => line.includes(word))
})
"""
_SORT = """
const [name, sign] = orders[cb_obj.value]
const column = source.data[name]
const order = Array.from(column, (_, row) => row)
const rank = (value) => typeof value == "number" && isNaN(value) ? -Infinity : value
order.sort((a, b) => {
  const [one, two] = [rank(column[a]), rank(column[b])]
  return one == two ? a - b : (one < two ? -sign : sign)
})
source.selected.indices = []
source.data = Object.fromEntries(Object.entries(source.data).map(
  ([key, values]) => [key, order.map((row) => values[row])]
))
"""
_PICK = """
const picked = new Set(cb_obj.indices.map((row) => from.data[key][row]))
const found = Array.from(to.data[key]).flatMap((value, row) => picked.has(value) ? [row] : [])
if (String(found) != String(to.selected.indices)) { to.selected.indices = found }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a grid.

    Attributes:
        name: of the source's column.
        title: of the grid's.
        kind: of its cells; texts are what a filter looks at.
        width: in pixels.
    """

    name: str
    title: str
    kind: Literal["text", "ms", "number", "percent"] = "text"
    width: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid and what belongs to it.

    Attributes:
        table: the grid.
        controls: a filter, and an order for those who use no pointer.
        view: what the filter leaves, for plots of the same source.
    """

    table: Any
    controls: Sequence[Any]
    view: Any


def grid(source: ColumnDataSource, columns: Sequence[Column], *, rows: str) -> Grid:
    """A grid of a source's rows.

    Args:
        source: with a column for each of ``columns``.
        columns: in order.
        rows: what they are, for the filter: ``layers``.
    """
    count = len(source.data[columns[0].name])
    source.data["order"] = list(range(count))
    text = TextInput(title=f"Filter {rows}", placeholder="words, any order", width=220)
    names = [column.name for column in columns if column.kind == "text"]
    keep = CustomJSFilter(args={"text": text, "names": names}, code=_KEEP)
    view = CDSView(filter=keep)
    text.js_on_change("value_input", CustomJS(args={"keep": keep}, code="keep.change.emit()"))
    orders = {"as they come": ["order", 1]}
    for column in columns:
        words = {"A to Z": 1, "Z to A": -1} if column.kind == "text" else {"most": -1, "least": 1}
        for word, sign in words.items():
            orders[f"{column.title}: {word}"] = [column.name, sign]
    sort = Select(title=f"Order {rows}", options=list(orders), value="as they come", width=220)
    sort.js_on_change("value", CustomJS(args={"source": source, "orders": orders}, code=_SORT))
    table = DataTable(
        source=source,
        view=view,
        columns=[
            TableColumn(
                field=column.name,
                title=column.title,
                width=column.width,
                formatter=StringFormatter()
                if column.kind == "text"
                else HTMLTemplateFormatter(template=_FORMATS[column.kind]),
                default_sort="ascending" if column.kind == "text" else "descending",
            )
            for column in columns
        ],
        height=min(HEIGHT, (count + 2) * ROW_HEIGHT),
        row_height=ROW_HEIGHT,
        autosize_mode="none",
        sizing_mode="stretch_width",
        index_position=None,
        reorderable=False,
        selectable=True,
    )
    return Grid(table=table, controls=(text, sort), view=view)


def pick_together(one: ColumnDataSource, other: ColumnDataSource, key: str) -> None:
    """Pick in each of two sources the rows whose ``key`` is that of a row picked in the other."""
    for source, target in ((one, other), (other, one)):
        args = {"from": source, "to": target, "key": key}
        source.selected.js_on_change("indices", CustomJS(args=args, code=_PICK))
