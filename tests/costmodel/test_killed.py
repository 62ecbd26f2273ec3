"""Verbs that are killed right before any of their file operations, and given again.

``scripts/bench/kills.py`` kills all verbs, at random moments too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import killed
import onnx
import pytest
from killed import OUT
from rows import law_table
from small_models import chain

from costmodel.op import Op
from costmodel.runners.fake import FakeRunner

CSV = """\
device,runtime,op,batch,height,width,in_channels,out_channels,kernel,stride,padding,latency_us
{rows}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(chain(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def table(tmp_path: Path, net: Path) -> Path:
    ops: list[Op] = list(dict.fromkeys(FakeRunner().lower(net, {}).ops))
    ops += [layer.op for layer in FakeRunner().lower(net, {}).layers if layer.op not in ops]
    return law_table(tmp_path / "fake.jsonl", ops)


def sweep(
    folder: Path,
    words: Sequence[object],
    names: Sequence[str],
    *,
    most: int = 5,
    same: bool = True,
) -> None:
    spec = {
        "words": [str(word) for word in words], "folder": str(folder / "sweep"),
        "names": names, "most": most, "same": same,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, killed.__file__, json.dumps(spec)],
        capture_output=True, text=True, check=False, timeout=300.0,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["kills"] == 2 * most <= 2 * found["steps"]


def test_an_import_that_is_killed_leaves_whole_tables(tmp_path: Path) -> None:
    rows = [
        f"{name},lib,conv2d,1,56,56,{8 * n},64,3,1,same,{500 * n + len(name)}"
        for name in ("phone a", "phone bc")
        for n in range(1, 30)
    ]
    (tmp_path / "times.csv").write_text(CSV.format(rows="\n".join(rows)))
    words = ["costmodel", "import", tmp_path / "times.csv", "--set", "layout=nhwc", "--out", OUT]
    names = ["phone-a/lib-float32.jsonl", "phone-bc/lib-float32.jsonl"]
    sweep(tmp_path, words, names)


def test_a_report_that_is_killed_leaves_a_whole_page(tmp_path: Path, table: Path) -> None:
    words = ["costmodel", "report", table, "--html", f"{OUT}/page.html"]
    sweep(tmp_path, words, ["page.html"], most=2, same=False)  # charts have names drawn by chance


def test_a_prediction_that_is_killed_leaves_whole_files(
    tmp_path: Path, table: Path, net: Path
) -> None:
    words = [
        *("costmodel", "predict", net, "--table", table, "--cost", "lookup", "--no-calibration"),
        *("--annotate", f"{OUT}/a.onnx", "--overlay", f"{OUT}/o.json"),
        *("--trace", f"{OUT}/t.json", "--parquet", f"{OUT}/l.parquet"),
    ]
    names = ["a.onnx", "o.json", "o.per_gmac.json", "t.json", "l.parquet"]
    sweep(tmp_path, words, names)
