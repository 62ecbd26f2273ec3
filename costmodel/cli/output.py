"""What verbs write: JSON or tables to stdout, all else to stderr; progress of long work."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from costmodel.schemas import VERSION
from costmodel.uses.progress import LINE_EVERY_S, progress

if TYPE_CHECKING:
    from costmodel.report import Sheet

__all__ = [
    "emit",
    "github_summary",
    "note",
    "progress",
    "reading",
    "save_json",
    "tell_decisions",
    "write_summary",
]

#: Widest text when stdout is no terminal.
_WIDE = 160
#: Where GitHub's runners name the file of a run's summary.
GITHUB_SUMMARY = "GITHUB_STEP_SUMMARY"


def note(message: str) -> None:
    """Tell people something that is not the result."""
    typer.echo(message, err=True)


class _Notes(logging.Handler):
    """What the library decides without being asked, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        note(f"{'Warning: ' if warning else ''}{record.getMessage()}")


def tell_decisions() -> None:
    """From now on say on stderr what the library decides without being asked."""
    log = logging.getLogger("costmodel")
    log.setLevel(logging.INFO)
    log.propagate = False
    if not any(isinstance(item, _Notes) for item in log.handlers):
        log.addHandler(_Notes())


def emit(
    data: Callable[[], object],
    sheets: Callable[[], Sequence[Sheet]],
    *,
    as_json: bool,
    markdown: bool = False,
) -> None:
    """Write the result to stdout.

    Args:
        data: gives the JSON form: an object, or a list of objects, as ``costmodel/schemas``
            describes it for the verb; which version of that, is added here.
        sheets: gives the form for people.
        as_json: which one.
        markdown: whether people read it as markdown.
    """
    if as_json:
        typer.echo(_json(data()))
    else:
        from costmodel.report import to_markdown, to_text

        found = sheets()
        width = shutil.get_terminal_size((_WIDE, 24)).columns if sys.stdout.isatty() else _WIDE
        text = to_text(found, width, styled=_in_colour(sys.stdout))
        typer.echo(to_markdown(found) if markdown else text, nl=False)
    sys.stdout.flush()  # so that a reader who is gone is noticed here


def write_summary(text: str, path: Path | None, *, to_github: bool) -> None:
    """Write a summary in markdown into a file, to the page of a GitHub run, or both.

    Args:
        text: markdown.
        path: file to write; None for none.
        to_github: whether to append it to the file that ``GITHUB_STEP_SUMMARY`` names.
    """
    if path is not None:
        write_lines(path, [text.encode()])
        note(f"Wrote {path}.")
    if to_github:
        with github_summary().open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def github_summary() -> Path:
    """The file whose markdown GitHub shows on the page of this run.

    Raises:
        InvalidInputError: outside of GitHub's runners.
    """
    name = os.environ.get(GITHUB_SUMMARY)
    if not name:
        message = (
            f"--github-summary is for runs on GitHub, which set {GITHUB_SUMMARY}; it is not set "
            "here. Write a file instead: --summary F.md."
        )
        raise InvalidInputError(message)
    return Path(name)


def _in_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user has not said that no colours are wanted."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def save_json(data: object, path: Path) -> None:
    """Write what ``--json`` would print into a file."""
    write_lines(path, [f"{_json(data)}\n".encode()])
    note(f"Wrote {path}.")


def _json(data: object) -> str:
    return json.dumps(_versioned(data), indent=2, allow_nan=False)


def _versioned(data: object) -> object:
    """The same with ``schema_version`` in front, in every object of a list."""
    if isinstance(data, Mapping):
        return {"schema_version": VERSION, **data}
    assert isinstance(data, Sequence), "a verb writes objects, which can grow"
    return [_versioned(item) for item in data]


def reading(what: str) -> Callable[[float], None]:
    """Tells the share of a file that is read, now and then, once it takes long.

    Args:
        what: is read.
    """
    told = time.perf_counter()

    def tell(share: float) -> None:
        nonlocal told
        now = time.perf_counter()
        if now - told >= LINE_EVERY_S:
            told = now
            note(f"{what}: {share:.0%}")

    return tell
