"""What notebooks show of results."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from rows import ADD, conv, law_table

import costmodel as cm
from costmodel.html import html_table
from costmodel.runners.fake import FakeRunner, write_model
from morphnet_core.structure import Structure
from morphnet_core.structure_fields import LayerWidth


class Texts(HTMLParser):
    """Cells of HTML, which must close what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_cells_are_texts_and_never_markup() -> None:
    text = html_table("<b>", [("<i>", "a & b")], columns=("x", '"y"'), notes=["<script>"])
    assert "<b>" not in text
    assert Texts(text).cells == ["<b>", "x", '"y"', "<i>", "a & b", "<script>"]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.json", [conv(), conv(128, 64), ADD])


@pytest.fixture
def table(net: Path, tmp_path: Path) -> Path:
    return law_table(tmp_path / "t.jsonl", FakeRunner().lower(net, {}).ops)


def test_results_show_themselves(net: Path, table: Path) -> None:
    rows = Texts(cm.LatencyTable.load(table)._repr_html_()).cells
    assert rows[0] == "fake, fake, float32, 1 thread (measured)"
    assert {"conv", "add", "session"} <= set(rows)
    prediction = cm.predict(net, table, cost="lookup")
    cells = Texts(prediction._repr_html_()).cells
    assert cells[:2] == ["net", "predicted"]
    assert "conv1" in cells
    (found,) = cm.compare(net, table, cost="lookup", rounds=2)
    cells = Texts(found._repr_html_()).cells
    assert cells[cells.index("error") + 1] == "+0.0 %"
    assert {"p50", "measured on"} <= set(cells)
    assert "since the baseline" not in cells


def test_a_structure_shows_its_layers() -> None:
    layers = {
        "conv1": LayerWidth(count=2, of=4, kept=(0, 2), operation="Conv2D"),
        "conv2": LayerWidth(count=3),
    }
    found = Structure(layers=layers, costs={"flops": 2e6}, measured_ms=1.5)
    cells = Texts(found._repr_html_()).cells
    assert cells[:5] == ["Structure of 2 layers", "layer", "channels", "of", "share"]
    assert cells[5:13] == ["conv1", "2", "4", "50 %", "conv2", "3", "-", "-"]
    assert cells[13] == "2.00 M flops, measured 1.50 ms"
