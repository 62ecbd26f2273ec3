"""``write_page``: tables, predictions, comparisons and morphs as one page for a browser."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from costmodel import __version__
from costmodel.comparison import Comparison
from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.pages.records import read_comparisons, read_prediction, read_record
from costmodel.pages.subjects import Compared, Subject, Tabled
from costmodel.prediction import Prediction
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable
from costmodel.table_format import is_table
from costmodel.uses.tables import fit, open_table

_LOG = logging.getLogger("costmodel")

#: What a page shows: a table, a prediction, one or several comparisons; or where they are: a
#: table's file or shipped name, a file that a verb wrote with ``--json``, the folder of a morph.
Shown = LatencyTable | Prediction | Comparison | Sequence[Comparison] | Path | str


def write_page(*shown: Shown, html: Path | str, title: str = "") -> Path:
    """Write one self-contained page, which works offline.

    Args:
        *shown: what it shows, in order: tables (a regression is fitted to each), predictions,
            comparisons, or their files, and folders of ``morphnet train``.
        html: the file to write; its name ends in ``.html``.
        title: of the page; by default what is shown.

    Returns:
        ``html``.

    Raises:
        InvalidInputError: for nothing to show, another suffix, a file that is none of these
            (naming file and field), or a page that cannot be written.
        TableFormatError: if a table cannot be read.
        MissingDependencyError: without Bokeh.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_page("tpu-v2/xla-bfloat16", html=f"{folder}/tpu.html")
    ...     page.stat().st_size < 6e6
    True
    """
    if not shown:
        message = "There is nothing to show. Give a table, a file of --json, or a morph's folder."
        raise InvalidInputError(message)
    path = Path(html)
    check_page(path)
    subjects = [subject for item in shown for subject in _subjects(item)]
    from costmodel.pages.write import page_of

    text = page_of(subjects, title, __version__)
    write_lines(path, [text.encode()])
    return path


def check_page(path: Path) -> None:
    """Refuse a page that could not be written, before any work is done for it.

    Raises:
        InvalidInputError: for another suffix, or a folder that is not there.
        MissingDependencyError: without Bokeh.
    """
    if path.suffix.lower() not in {".html", ".htm"}:
        message = f"A page cannot be written as {path.name!r}. Its name must end in .html."
        raise InvalidInputError(message)
    if not path.parent.is_dir():
        message = f"The page {path} cannot be written: there is no folder {path.parent}."
        raise InvalidInputError(message)
    if importlib.util.find_spec("bokeh") is None:
        package, extra, what = "bokeh", "report", "Writing a page"
        raise MissingDependencyError(package, extra, what)


def _subjects(item: Shown) -> list[Subject]:
    """What one thing is, with the name that people have for it."""
    if isinstance(item, LatencyTable):
        return [_table(item, item.path.stem if item.path else item.device.label)]
    if isinstance(item, Prediction):
        return [read_prediction(item.to_json(), item.model)]
    if isinstance(item, Comparison):
        return _subjects([item])
    if isinstance(item, Path | str):
        return [_file(item)]
    if not item or not all(isinstance(one, Comparison) for one in item):
        message = (
            "A page shows tables, predictions, comparisons, and files and folders of them. "
            f"Received: {item!r:.80}."
        )
        raise InvalidInputError(message)
    records = read_comparisons([one.to_json() for one in item], "comparisons")
    return [Compared(title=_networks(len(records)), records=records)]


def _file(given: Path | str) -> Subject:
    path = Path(given)
    if not path.exists():
        return _table(open_table(given), str(given))  # a shipped profile's name
    if is_table(path):
        return _table(open_table(path), path.stem)
    found = read_record(path)
    return Compared(title=path.stem, records=found) if isinstance(found, tuple) else found


def _table(table: LatencyTable, title: str) -> Tabled:
    cost: CostModel | None = None
    try:
        cost = fit(table)
    except InvalidInputError as error:
        _LOG.warning("Without predictions: %s", error)
    return Tabled(title=title, table=table, cost=cost)


def _networks(count: int) -> str:
    return f"{count} networks" if count != 1 else "1 network"
