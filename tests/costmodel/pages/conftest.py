"""One browser for all tests of pages, and one page of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from chromium import find_chromium
from shown import morph_folder, small_comparisons, small_prediction, small_table

from costmodel.uses.reporting import write_page


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs chromium: run scripts/tools, or install it")
    with Browser(program, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, what is said with ``--json``, and what a morph leaves."""
    found = tmp_path_factory.mktemp("pages")
    small_table(2).save(found / "cpu.jsonl")
    comparisons = [item.to_json() for item in small_comparisons()]
    for name, content in (("net", small_prediction().to_json()), ("all", comparisons)):
        (found / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    morph_folder(found / "fast")
    return found


@pytest.fixture(scope="session")
def pages(folder: Path) -> dict[str, Path]:
    """Pages by what they show."""
    pytest.importorskip("bokeh", reason="needs the report extra")
    shown: dict[str, list[Any]] = {
        "table": [folder / "cpu.jsonl"],  # the fit is kept beside it, for the others
        "prediction": [folder / "net.json", folder / "cpu.jsonl"],
        "comparison": [small_comparisons()],
        "morph": [folder / "fast"],
    }
    return {kind: write_page(*what, html=folder / f"{kind}.html") for kind, what in shown.items()}
