"""Progress of long work: a bar on a terminal, a bar in a notebook, or lines of a log."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any

from costmodel.figures import duration

if TYPE_CHECKING:
    from costmodel.profiler import Progress

#: Seconds between two lines where there is nothing to draw a bar on, and between two drawings in a
#: notebook, each of which goes to a browser.
LINE_EVERY_S, DRAW_EVERY_S = 15.0, 0.5


def progress(what: str, of: str = "visits") -> Progress:
    """A bar with the time left, to give as ``progress=`` to what takes long.

    On a terminal and in a notebook it is a bar, else a line now and then. All but a notebook's goes
    to stderr.

    Args:
        what: is going on, e.g. ``Profiling``.
        of: what is counted, several of them.

    Returns:
        What is told how far it is.

    >>> import costmodel as cm
    >>> cm.profile("cpu.jsonl", progress=cm.progress("Profiling"))  # doctest: +SKIP
    """
    shown = _notebook_display()
    if shown is not None:
        return _Page(what, of, shown)
    return _Bar(what) if sys.stderr.isatty() else _Lines(what, of)


def _notebook_display() -> Any:
    """IPython's module for showing things, where this runs in a notebook's kernel; else None."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it; nobody else needs it
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display")


class _Lines:
    """Progress as lines of a log."""

    def __init__(self, what: str, of: str) -> None:
        self._what, self._of = what, of
        self._told = 0.0

    def start(self, total: int) -> None:
        self._told = time.perf_counter()
        sys.stderr.write(f"{self._what}: {total} {self._of} to make.\n")

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        now = time.perf_counter()
        if now - self._told >= LINE_EVERY_S:
            self._told = now
            left = duration(seconds_left)
            sys.stderr.write(f"{self._what}: {done} of {total} {self._of}, {left} left. {note}\n")

    def stop(self) -> None:
        """Nothing to tidy up."""


class _Bar:
    """Progress as a bar of a terminal."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar: Any = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[what]}", style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None, left="?", what="")

    def start(self, total: int) -> None:
        self._bar.update(self._task, total=total)
        self._bar.start()

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        self._bar.update(
            self._task,
            completed=done,
            total=total,
            left=duration(seconds_left),
            what=note.replace("[", "\\["),
        )

    def stop(self) -> None:
        self._bar.stop()


class _Page:
    """Progress as a bar of a notebook: one output that is drawn anew, with no widgets needed."""

    def __init__(self, what: str, of: str, display: Any) -> None:
        self._what, self._of = what, of
        self._display = display
        self._handle: Any = None
        self._began = self._drawn = 0.0
        self._done = self._total = 0

    def start(self, total: int) -> None:
        self._began = time.perf_counter()
        self._total = total
        self._handle = self._display.display(self._html("?", ""), display_id=True)

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        self._done, self._total = done, total
        now = time.perf_counter()
        if now - self._drawn >= DRAW_EVERY_S:
            self._drawn = now
            self._handle.update(self._html(f"{duration(seconds_left)} left", note))

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.update(
                self._html(f"took {duration(time.perf_counter() - self._began)}", "")
            )

    def _html(self, when: str, note: str) -> Any:
        bar = f'<progress value="{self._done}" max="{max(self._total, 1)}"></progress>'
        counted = f"{self._done} of {self._total} {escape(self._of)}"
        words = f"{escape(self._what)}: {counted}, {escape(when)}"
        return self._display.HTML(f"<div>{bar} {words} <small>{escape(note)}</small></div>")
