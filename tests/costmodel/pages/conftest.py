"""One browser for all tests of pages, and one page of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, find_chromium
from shown import morph_folder, small_comparisons, small_prediction, small_table

from costmodel.uses.reporting import write_page
from costmodel.uses.tables import fit


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: run scripts/tools, or install it")
    with Browser(program, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by what they show."""
    pytest.importorskip("bokeh", reason="needs the report extra")
    folder = tmp_path_factory.mktemp("pages")
    table = folder / "cpu.jsonl"
    small_table().save(table)
    cost = fit(table)  # what it finds is kept beside the table
    prediction = small_prediction(cost)
    (folder / "net.json").write_text(json.dumps(prediction.to_json()), encoding="utf-8")
    shown: dict[str, list[Any]] = {
        "table": [table],
        "prediction": [folder / "net.json", table],
        "comparison": [small_comparisons(cost)],
        "morph": [morph_folder(folder / "fast")],
    }
    return {kind: write_page(*what, html=folder / f"{kind}.html") for kind, what in shown.items()}
