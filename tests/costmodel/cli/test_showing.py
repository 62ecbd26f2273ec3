"""What predict and compare write beside their result, and profiles instead of the clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from awkward_graphs import awkward_model

from costmodel.cli.showing import Shown

Run = Callable[..., Any]  # the fixture's
#: Prices without a table, kernels from the runtime here.
PRICED = ("--cost", "roofline:t4", "--runner", "ort", "--threads", "1")


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    path = tmp_path / "awkward.onnx"
    onnx.save(awkward_model(), path)
    return path


@pytest.fixture
def profiled(tmp_path: Path) -> Path:
    """The same with names that the runtime takes."""
    path = tmp_path / "profiled.onnx"
    onnx.save(awkward_model("other"), path)
    return path


@pytest.fixture
def profile(profiled: Path, tmp_path: Path) -> Path:
    """What the runtime says of two runs."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(
        str(profiled), options, providers=["CPUExecutionProvider"]
    )
    feed = {"image": np.zeros((1, 3, 32, 32), np.float32), "flag": np.asarray(1, bool)}
    for _ in range(2):
        session.run(None, feed)
    return Path(session.end_profiling())


def test_predict_writes_all_three(run: Run, awkward: Path, tmp_path: Path) -> None:
    nodes, told, trace = (tmp_path / name for name in ("n.json", "told.onnx", "trace.json"))
    done = run(
        *("predict", awkward, *PRICED, "--json"),
        *("--overlay", nodes, "--annotate", told, "--trace", trace),
    )
    assert done.code == 0
    assert done.json["model"] == "awkward"
    assert f"model-explorer {told} --extensions=model_explorer_onnx" in done.err
    assert f"Wrote {trace}: open it in chrome://tracing or Perfetto." in done.err
    assert not nodes.with_suffix(".named.onnx").exists()  # the annotated copy has the names
    names = {node.name for node in onnx.load(told).graph.node}
    assert set(json.loads(nodes.read_text(encoding="utf-8"))["awkward"]["results"]) == names
    assert json.loads(trace.read_text(encoding="utf-8"))[0]["args"] == {"name": "awkward"}


def test_compare_shows_what_was_measured(run: Run, profiled: Path, tmp_path: Path) -> None:
    nodes, trace = tmp_path / "n.json", tmp_path / "trace.json"
    done = run(*("compare", profiled, *PRICED, "--rounds", 2, "--overlay", nodes, "--trace", trace))
    assert done.code == 0
    measured = json.loads((tmp_path / "n.measured.json").read_text(encoding="utf-8"))
    assert measured["awkward"]["results"]["Conv_0"]["value"] > 0
    assert (tmp_path / "n.error.json").is_file()
    assert nodes.with_suffix(".named.onnx").is_file()
    events = json.loads(trace.read_text(encoding="utf-8"))
    assert {"predicted", "measured"} <= {
        item["args"].get("name") for item in events if item["ph"] == "M"
    }


def test_a_profile_instead_of_the_clock(run: Run, profiled: Path, profile: Path) -> None:
    done = run("compare", profiled, *PRICED, "--ort-profile", profile)
    assert done.code == 0
    assert "Where the two part" in done.out
    assert "2 runs" in done.out
    found = run("compare", profiled, *PRICED, "--ort-profile", profile, "--json").json
    assert found["matched_share"] == 1.0  # the same runtime, the same kernels
    assert 0.0 < found["moved_share"] < 1.0
    assert sum(item["profiled_share"] for item in found["kernels"]) == pytest.approx(1.0)


def test_what_nobody_asked_to_see_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "costmodel.uses.showing", None)  # importing it would fail
    shown = Shown(overlay=None, annotate=None, trace=None)
    with shown.files_of([Path("net.onnx")], {}) as (files, _):
        shown.write([], [Path("net.onnx")], files)


def test_mistakes_are_told_before_the_work(
    run: Run, awkward: Path, profile: Path, tmp_path: Path
) -> None:
    for arguments, message in (
        (("--overlay", "n.txt"), "n.txt must be a file that ends in .json"),
        (("--annotate", "n.json"), "n.json must be a file that ends in .onnx"),
        (("--trace", "n.png"), "n.png must be a file that ends in .json"),
    ):
        for verb in ("predict", "compare"):
            done = run(verb, awkward, *PRICED, *arguments)
            assert (done.code, done.err) == (2, f"Error: {message}.\n")
    done = run("compare", awkward, awkward, *PRICED, "--overlay", tmp_path / "n.json")
    assert done.code == 2
    assert "give one network at a time. Received: 2" in done.err
    done = run("compare", awkward, *PRICED, "--ort-profile", profile, "--max-error", 1)
    assert done.code == 2
    assert "--ort-profile compares shares of time" in done.err
    done = run("compare", awkward, awkward, *PRICED, "--ort-profile", profile)
    assert "A profile is of one network: give that. Received: 2." in done.err
    done = run("compare", awkward, "--cost", "flops", "--ort-profile", profile)
    assert "A profile holds times, and 'flops' prices in flops" in done.err
    done = run("compare", awkward, *PRICED, "--ort-profile", awkward)
    assert done.code == 2
    assert "is not a profile" in done.err
