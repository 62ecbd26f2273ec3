"""Figure a of MorphNet: each of the original's 22 features has tests, and they pass.

Reads the table of docs/morphnet.md and runs the tests that it names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ledger

PAGE = ledger.ROOT / "docs" / "morphnet.md"
TESTS = ledger.ROOT / "tests" / "morphnet_core"
FEATURES = 22


def features() -> dict[int, list[str]]:
    """The tests of each row, as pytest takes them."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if row := re.match(r"\| (\d+) \|", line):
            named = re.findall(r"`([\w./]+\.py)::(\w+)`", line)
            found[int(row[1])] = [f"{(TESTS / file).resolve()}::{name}" for file, name in named]
    return found


def main() -> None:
    found = features()
    tests = sorted({test for named in found.values() for test in named})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ledger.ROOT, check=False, capture_output=True, text=True)
    tail = done.stdout.strip().splitlines()[-1:]
    proven = sum(bool(named) for named in found.values()) if done.returncode == 0 else 0
    figures = [
        ledger.figure(
            "a",
            "features of the original with a place here and a passing test",
            proven,
            "features",
            exactly=FEATURES,
        )
    ]
    relative = {
        number: [str(Path(test).relative_to(ledger.ROOT)) for test in named]
        for number, named in found.items()
    }
    ledger.write(
        "morphnet-features",
        figures=figures,
        detail={"tests": relative, "pytest": tail},
        notes=[f"The table is in [docs/morphnet.md](../morphnet.md). {' '.join(tail)}"],
        topic="morphnet",
    )


if __name__ == "__main__":
    main()
