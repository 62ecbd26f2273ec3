"""Command line ``morphnet``: parses, calls one library function, renders. One file per verb.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.cli.app import run
from morphnet_core.cli import align, plan, resize, sweep, train
from morphnet_core.cli.app import app

__all__ = ["app", "main"]

#: Importing a module of verbs is what adds them to ``app``.
VERBS = (train, resize, align, plan, sweep)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 a finding, 2 bad input, 130 interrupted.

    Args:
        arguments: instead of the process's own.
    """
    run(app, "morphnet", arguments)
