"""Figure e of the house: source lines before and after, and import circles, type-only ones too.

python scripts/bench/house.py                  # against the commit that the work began from
python scripts/bench/house.py --before v1.0    # against another one

What the lessening itself took away is counted over its own commits: the front door, the
instruction sets and the trial of the wheel were written meanwhile and are in the sum of all.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import ledger
import numpy as np
from scipy.sparse.csgraph import connected_components

#: What came before, and how many lines the work was to take away.
BEFORE, FEWER = "3d1f099", 1500
#: First and last commit of each line of work that took lines away and added no feature.
LESSENING = (
    ("a6e2e85", "0f6aa66"),
    ("6f109de", "e813d7c"),
    ("6f109de", "47995ec"),
    ("6e2b464", "0266d0e"),
)
PACKAGES = ("costmodel", "morphnet_core")
COUNTED = (*PACKAGES, "scripts")


def source_lines(root: Path, package: str) -> int:
    """Lines of a folder's Python files that are neither blank nor a comment alone."""
    return sum(
        1
        for path in (root / package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    )


def circles(needs: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Groups of names that each need all others of the group, by way of whatever others.

    >>> circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})
    [('a', 'b', 'c')]
    """
    names = sorted({*needs, *(other for found in needs.values() for other in found)})
    place = {name: index for index, name in enumerate(names)}
    edges = np.zeros((len(names), len(names)))
    for name, found in needs.items():
        edges[place[name], [place[other] for other in found]] = 1
    count, group_of = connected_components(edges, connection="strong")
    groups = (tuple(np.array(names)[group_of == group].tolist()) for group in range(count))
    return sorted(group for group in groups if len(group) > 1)


def import_circles() -> list[tuple[str, ...]]:
    """Circles between modules, and between packages beside each other, of what is imported here."""
    import grimp

    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False)
    modules = sorted(graph.modules)
    needs = {name: graph.find_modules_directly_imported_by(name) for name in modules}
    found = set(circles(needs))
    for parent in modules:
        if children := graph.find_children(parent):
            found.update(circles({child: _siblings(child, needs, children) for child in children}))
    return sorted(found)


def _siblings(child: str, needs: Mapping[str, set[str]], children: set[str]) -> set[str]:
    """The children of the same package that something inside ``child`` imports."""
    within = (needs[name] for name in needs if name == child or name.startswith(f"{child}."))
    parents = {other for found in within for name in found for other in _lineage(name)}
    return (parents & children) - {child}


def _lineage(name: str) -> list[str]:
    """A module and the packages it is in.

    >>> _lineage("a.b.c")
    ['a', 'a.b', 'a.b.c']
    """
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def checkout(revision: str, folder: Path) -> None:
    """Put a commit's files into a folder."""
    command = ["git", "-C", str(ledger.ROOT), "archive", revision, *COUNTED]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def look(root: Path) -> dict[str, object]:
    """Lines and circles of the tree at ``root``, in an interpreter that imports from there."""
    done = subprocess.run(
        [sys.executable, __file__, "--look", str(root)],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def lines_at(revision: str) -> int:
    """Source lines of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        checkout(revision, Path(folder))
        return sum(source_lines(Path(folder), package) for package in COUNTED)


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--before", default=BEFORE, help="the commit to count against")
    parser.add_argument("--look", type=Path, help="print the lines and circles of a tree as JSON")
    options = parser.parse_args()
    if options.look:
        lines = {package: source_lines(options.look, package) for package in COUNTED}
        print(json.dumps({"lines": lines, "circles": import_circles()}))
        return
    ledger.require_clean_tree()
    found = {}
    for key, revision in (("before", options.before), ("now", "HEAD")):
        with tempfile.TemporaryDirectory() as folder:
            checkout(revision, Path(folder))
            found[key] = look(Path(folder))
    write(options.before, found)


def write(revision: str, found: dict[str, dict[str, object]]) -> None:
    """Write the results."""
    before, now = found["before"]["lines"], found["now"]["lines"]
    assert isinstance(before, dict)
    assert isinstance(now, dict)
    fewer = sum(lines_at(first) - lines_at(last) for first, last in LESSENING)
    more = sum(now.values()) - sum(before.values())
    rows = (
        f"{name} | {before[name]} | {now[name]} | {before[name] - now[name]}" for name in COUNTED
    )
    left = found["now"]["circles"]
    assert isinstance(left, list)
    ledger.write(
        "house-lines",
        topic="house",
        figures=[
            ledger.figure(
                "e-lines",
                "source lines that the lessening took away, neither blank nor comment",
                fewer,
                "lines",
                at_least=FEWER,
            ),
            ledger.figure(
                "e-sum",
                f"source lines more than at {revision}, with all that is new",
                more,
                "lines",
            ),
            ledger.figure(
                "e-circles",
                "import circles, counted with type-only imports",
                len(left),
                "circles",
                exactly=0,
            ),
        ],
        detail=found,
        notes=[
            ledger.table(f"package | lines at {revision} | now | fewer", rows),
            f"Circles at {revision}: {found['before']['circles']}.",
        ],
    )


if __name__ == "__main__":
    main()
