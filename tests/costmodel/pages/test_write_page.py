"""``write_page`` and ``costmodel report``: what they take, what they refuse, what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, runs
from rows import row
from shown import BOARD, small_comparisons, small_table

from costmodel.cli import main
from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.op import Op
from costmodel.pages.rates import roofs
from costmodel.table import LatencyTable
from costmodel.uses.reporting import write_page

pytest.importorskip("bokeh", reason="needs the report extra")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runs(main, capsys)


def test_the_command_takes_files_and_folders(folder: Path, tmp_path: Path, run: Run) -> None:
    shown = [folder / name for name in ("net.json", "all.json", "cpu.jsonl", "fast")]
    page = tmp_path / "all.html"
    code, out, err = run("report", *shown, "--html", page, "--title", "A & B", "--json")
    assert code == 0, err
    found = json.loads(out)
    text = page.read_text(encoding="utf-8")
    assert found == {
        "schema_version": 1,
        "html": str(page),
        "bytes": len(text.encode()),
        "shows": [str(item) for item in shown],
    }
    assert "<title>A &amp; B</title>" in text
    for words in ("Prediction</small>net", "Comparison</small>all", "Table</small>cpu"):
        assert words in text
    assert "Morph</small>seed" in text


def test_a_morph_that_wanted_nothing_is_shown(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "morph.json"
    content = json.loads((folder / "fast" / "morph.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"target": 0.0, "seed": 0.0}), encoding="utf-8")
    page = write_page(path, html=tmp_path / "page.html")
    assert "off the target" in page.read_text(encoding="utf-8")


def test_a_table_of_which_nothing_can_be_learned_is_shown_all_the_same(tmp_path: Path) -> None:
    op = Op(kind="session")
    page = write_page(LatencyTable(BOARD, [row(op, 0.1)]), html=tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "Kernels" in text
    assert "Staircase over channels" not in text
    assert "Roofline" not in text


def test_single_comparisons_and_empty_tables(tmp_path: Path) -> None:
    (one, *_) = small_comparisons()
    page = write_page(one, LatencyTable(BOARD), html=str(tmp_path / "page.html"))
    assert "1 network" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("shown", "name", "words"),
    [
        ([], "page.html", "nothing to show"),
        (["net.json"], "page.png", "must end in .html"),
        (["net.json"], "nowhere/page.html", "no folder"),
        (["nothing"], "page.html", "neither a file nor a shipped profile"),
        ([[]], "page.html", "Received: []"),
        ([[1]], "page.html", "Received: [1]"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    tmp_path: Path, shown: list[Any], name: str, words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        write_page(*shown, html=tmp_path / name)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_bokeh_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"morphnet-latency\[report\]"):
        write_page("cpu.jsonl", html=tmp_path / "page.html")


def test_roofs_are_of_undisturbed_rows() -> None:
    table = small_table()
    found = roofs(table.kernels())
    assert found is not None
    assert 0 < found.gmacs <= 20.0  # the fake device's law
    assert 0 < found.gbytes <= 10.0
    noisy = [row(op, item.latency_ms, item.latency_ms * 1.5) for op, item in table.items()]
    assert roofs(noisy) is None


def test_an_interval_that_begins_at_nothing_is_drawn() -> None:
    from bokeh.models import Whisker

    from costmodel.pages.of_comparison import comparison_section
    from costmodel.pages.records import ComparisonRecord

    record = ComparisonRecord(
        model="net", predicted_ms=2.0, interval_ms=(0.0, 9.0), measured_ms=3.0, error=-0.33,
        repeatability=0.1, in_interval=True, status="ok", reason="", measured_on="here",
        cost="regression", source="lowered",
    )  # fmt: skip
    parts = comparison_section([record], "all").parts
    (part,) = [part for part in parts if part.title == "Predicted against measured"]
    assert part.text.startswith("1 network: ")
    (whisker,) = part.plots[0].select(Whisker)
    assert 0 < whisker.source.data[whisker.lower][0] < part.plots[0].y_range.start
