"""Every message that the product gives on purpose, on one page, to be read as a user reads them.

    python scripts/messages.py                        # as the code has them
    python scripts/messages.py tests/costmodel/cli    # as these tests provoke them, with values in

Read whether each says what happened, where, and what to do.
"""

from __future__ import annotations

import argparse
import ast
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("costmodel", "morphnet_core")


def written() -> Iterator[tuple[str, str]]:
    """Messages of errors in the code: where each is raised, and its text with names for values."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            for line, text in messages_of(ast.parse(path.read_text(encoding="utf-8"))):
                yield f"{place}:{line}", text


def messages_of(tree: ast.Module) -> list[tuple[int, str]]:
    """Lines that raise something with a text, and that text: mostly given a name just before."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    told = {
        (target.id, node.lineno): node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        first = max((f.lineno for f in functions if f.lineno < node.lineno), default=0)
        texts = []
        for argument in (*node.exc.args, *(word.value for word in node.exc.keywords)):
            name = argument.id if isinstance(argument, ast.Name) else ""
            lines = [line for it, line in told if it == name and first <= line < node.lineno]
            texts.append(_text(told[name, max(lines)] if lines else argument))
        if any(texts):
            found.append((node.lineno, f"{ast.unparse(node.exc.func)}: {' | '.join(texts)}"))
    return sorted(found)


def _text(node: ast.expr) -> str:
    """A text as it is written, with what is put into it in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else _text(part)
            for part in node.values
        )
        return "".join(parts)
    return f"{{{ast.unparse(node)}}}"


class Recorder:
    """A plugin of pytest that keeps every error that the product makes, and where it is made."""

    def __init__(self) -> None:
        self.found: Counter[tuple[str, str]] = Counter()

    def pytest_configure(self) -> None:
        """Have the base of all errors tell of each."""
        from costmodel.errors import CostModelError

        def recorded(error: BaseException, *arguments: Any) -> None:
            Exception.__init__(error, *arguments)
            place = next(filter(None, map(_place, reversed(traceback.extract_stack()[:-1]))), "?")
            self.found[place, f"{type(error).__name__}: {error}"] += 1

        CostModelError.__init__ = recorded  # type: ignore[assignment,method-assign]


def _place(frame: traceback.FrameSummary) -> str:
    """Where a frame is, if that is in the product and no error's own constructor."""
    path = Path(frame.filename)
    if not path.is_relative_to(ROOT) or frame.name == "__init__":
        return ""
    name = path.relative_to(ROOT).as_posix()
    return f"{name}:{frame.lineno}" if name.startswith(PACKAGES) else ""


def provoked(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Messages of errors that tests bring about: the first few of each place."""
    import pytest

    recorder = Recorder()
    pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[recorder])
    shown: Counter[str] = Counter()
    for (place, text), _ in sorted(recorder.found.items()):
        shown[place] += 1
        if shown[place] <= MOST:
            yield place, text


#: Messages of one place that are shown: further ones differ in values.
MOST = 3


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", help="files, folders and options of pytest")
    arguments = parser.parse_args().tests
    for place, text in provoked(arguments) if arguments else written():
        print(f"{place}\n    " + text.replace("\n", "\n    "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
