"""Command line: parses, calls one library function, renders. One file per verb.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.cli import (
    compare,
    devices,
    doctor,
    explain,
    fleet,
    importing,
    predict,
    profile,
    report,
    solve,
    tables,
)
from costmodel.cli.app import app, run

__all__ = ["app", "main"]

#: Importing a module of verbs is what adds them to ``app``.
VERBS = (
    *(devices, profile, fleet, importing, solve, tables, predict, compare, explain, report),
    doctor,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 a finding, 2 bad input, 130 interrupted.

    Args:
        arguments: instead of the process's own.
    """
    run(app, "costmodel", arguments)
