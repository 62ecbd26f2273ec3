"""Models of other formats on the command line: what is asked for, refused and timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ai_edge_litert", reason="needs the litert extra")

from lite_models import Net, leave_open, save

Run = Callable[..., Any]  # the fixture's


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    net = Net((1, 12, 12, 4))
    net.conv(8, 3, 1)
    net.pool()
    return save(net.done(), tmp_path / "net.tflite")


def test_open_sizes_are_asked_for_with_a_command_that_runs(run: Run, lite: Path) -> None:
    leave_open(lite, [-1, -1, -1, 4])
    found = run("predict", lite, "--cost", "flops")
    assert found.code == 2
    assert f"{lite} --cost flops --size x:1=224 --size x:2=224" in found.err
    found = run("predict", lite, "--cost", "flops", "--shape", "x:2x8x8x4", "--json")
    assert found.code == 0
    assert found.json["total"] == 2 * 2 * 8 * 8 * 8 * 4 * 9 + 2 * 4 * 4 * 8 * 4


def test_another_runtimes_table_is_refused(run: Run, lite: Path) -> None:
    found = run("predict", lite, "-t", "amd-epyc-family-25-model-17/onnxruntime-float32")
    assert found.code == 2
    assert "Give a table of the litert runner" in found.err


def test_a_signature_that_is_not_there_is_told(run: Run, lite: Path) -> None:
    found = run("predict", lite, "--cost", "flops", "--signature", "encode")
    assert found.code == 2
    assert "no signature 'encode'. Its signatures: none" in found.err


def test_a_lite_file_is_timed_as_it_is(run: Run, lite: Path) -> None:
    found = run(
        "compare", lite, "--runner", "litert", "--cost", "roofline:t4", "--rounds", 2, "--json"
    )
    assert found.code == 0
    assert found.json[0]["measured_ms"] > 0
