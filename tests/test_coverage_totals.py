"""Coverage is summed by package."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest


def test_files_are_summed_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    totals = import_module("coverage_totals").totals
    rows = [("a/x.py", 10, 2), ("a/y.py", 10, 0), ("a/b/z.py", 5, 5), ("a/b/__init__.py", 0, 0)]
    assert totals(rows) == {"a": (20, 18), "a.b": (5, 0), "all": (25, 18)}
