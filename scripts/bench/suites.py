"""Test suites run as figures: how many of their tests fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import ledger

COLUMNS = "passed | failed | skipped | seconds"


def run(
    id: str,  # noqa: A002 - the ledger's own word
    what: str,
    tests: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> tuple[ledger.Figure, str]:
    """Run tests with pytest; none may fail, and some must pass.

    Args:
        id: of the figure.
        what: whose tests they are.
        tests: files, names and options of pytest.
        environment: variables to set.

    Returns:
        The figure, and a row of ``COLUMNS``.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        cwd=ledger.ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
    )
    tail = done.stdout[-300:]
    found = {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) (\w+)", tail)}
    passed, failed = found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)
    seconds = time.perf_counter() - begun
    row = f"{passed} | {failed} | {found.get('skipped', 0)} | {seconds:.0f}"
    print(what, row, done.stdout[-3000:] if done.returncode else "", flush=True)
    figure = ledger.figure(
        id,
        f"tests of {what} that fail, of {passed + failed}",
        failed,
        "tests",
        exactly=0,
        sound=done.returncode == 0 and passed > 0,
    )
    return figure, row
