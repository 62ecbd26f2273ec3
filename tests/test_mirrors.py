"""Every module with logic has tests: a file of its own name, or those that a short list names."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
LIST = tomllib.loads((ROOT / "tests" / "mirrors.toml").read_text(encoding="utf-8"))
TOGETHER: dict[str, str] = {
    pattern: tests for part in LIST.values() for pattern, tests in part.items()
}
#: Modules that run in processes of their own, by who starts them.
STARTED = {
    "costmodel.fleets.seat": "costmodel.uses.fleet_job",
    "costmodel.profiler.supervisor": "costmodel.profiler.worker",
    "costmodel.remote.pack": "costmodel.remote.agent.__main__",
    "costmodel.runners.tpu_aot.pool": "costmodel.runners.tpu_aot.child",
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def has_logic(path: Path) -> bool:
    """Whether a module has a function that does more than say what it would."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = [s for s in node.body if not isinstance(s, ast.Expr | ast.Pass)]
            if said:
                return True
    return False


def mirror(module: str) -> str:
    """Where the tests of one module alone would lie."""
    path = Path("tests") / module
    return path.with_name(f"test_{path.name.lstrip('_')}").as_posix()


@cache
def modules() -> tuple[str, ...]:
    """Modules with logic and without a mirror, as paths from the root."""
    found = [
        p for package in ("costmodel", "morphnet_core") for p in (ROOT / package).rglob("*.py")
    ]
    names = [
        path.relative_to(ROOT).as_posix()
        for path in sorted(found)
        if path.name not in {"__init__.py", "__main__.py"} and has_logic(path)
    ]
    assert len(names) > 200
    return tuple(name for name in names if not (ROOT / mirror(name)).is_file())


def homes(module: str) -> list[str]:
    """Patterns that fit a module in its own folder."""
    folder = module.rpartition("/")[0]
    return [p for p in TOGETHER if p.rpartition("/")[0] == folder and fnmatchcase(module, p)]


def files_of(home: str) -> list[Path]:
    path = ROOT / home
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(path: Path) -> Iterator[str]:
    """Modules that a file of tests names in its imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{item.name}" for item in node.names)
        elif isinstance(node, ast.Import):
            yield from (item.name for item in node.names)


def reached(graph: grimp.ImportGraph, home: str) -> set[str]:
    """Modules that the tests of a file or folder import, themselves or through others."""
    files = files_of(home)
    assert any(path.name.startswith("test_") for path in files), home
    found: set[str] = set()
    new = {name for path in files for name in imported(path)} & graph.modules
    while new:
        found |= new.union(*(graph.find_upstream_modules(name) for name in new))
        new = {STARTED[name] for name in found & STARTED.keys()} - found
    return found


def test_every_module_has_tests_of_its_name_or_is_on_the_list() -> None:
    assert [name for name in modules() if not homes(name)] == []


def test_every_line_of_the_list_is_needed() -> None:
    used = {home for name in modules() for home in homes(name)}
    assert sorted(set(TOGETHER) - used) == []


def test_the_tests_that_are_named_reach_every_module() -> None:
    graph = grimp.build_graph("costmodel", "morphnet_core", cache_dir=None)
    found = {home: reached(graph, home) for home in set(TOGETHER.values())}
    missed = [
        name
        for name in modules()
        if not any(
            name.removesuffix(".py").replace("/", ".") in found[TOGETHER[pattern]]
            for pattern in homes(name)
        )
    ]
    assert missed == []
