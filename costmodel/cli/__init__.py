"""Command line: parses, calls one library function, renders. One file per verb.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from costmodel.cli.app import app
from costmodel.cli.compare import compare_models
from costmodel.cli.devices import devices
from costmodel.cli.predict import predict_model
from costmodel.cli.profile import profile_device
from costmodel.cli.tables import check, score, show

__all__ = [
    "app",
    "check",
    "compare_models",
    "devices",
    "main",
    "predict_model",
    "profile_device",
    "score",
    "show",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 a finding, 2 bad input, 130 interrupted.

    Args:
        arguments: instead of the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a traceback.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(args=None if arguments is None else list(arguments), prog_name="costmodel")
