"""Command line ``morphnet``: parses, calls one library function, renders. One file per verb.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from morphnet_core.cli import align, resize, train
from morphnet_core.cli.app import app

__all__ = ["app", "main"]

#: Importing a module of verbs is what adds them to ``app``.
VERBS = (train, resize, align)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 a finding, 2 bad input, 130 interrupted.

    Args:
        arguments: instead of the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a traceback.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(args=None if arguments is None else list(arguments), prog_name="morphnet")
