"""Prints how much of each package the tests ran, from the data of ``scripts/test --coverage``."""

from __future__ import annotations

import sys
from collections import defaultdict
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parents[1]


def totals(analysed: list[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """Statements and those that ran, by package and for all.

    Args:
        analysed: a file's path from the root, its statements, and how many of them did not run.
    """
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, statements, missing in analysed:
        package = ".".join(Path(name).parts[:-1])
        for key in (package, "all"):
            found[key][0] += statements
            found[key][1] += statements - missing
    return {key: (value[0], value[1]) for key, value in sorted(found.items())}


def main() -> None:
    """Print a line for each package."""
    from coverage import Coverage

    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    rows = []
    for path in sorted(measured.get_data().measured_files()):
        _, statements, _, missing, _ = measured.analysis2(path)
        name = Path(path).resolve().relative_to(ROOT).as_posix()
        rows.append((name, len(statements), len(missing)))
    found = totals(rows)
    if not rows:
        sys.exit("There is no coverage data: run scripts/test --coverage.")
    text = StringIO()
    for package, (count, ran) in found.items():
        share = f"{100 * ran / count:.1f} %" if count else "-"
        print(f"{package:<40} {count:>6} statements {share:>8}", file=text)
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
