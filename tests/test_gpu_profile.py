"""The script for a machine with a GPU, tried on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import gpu_profile

from costmodel.table import LatencyTable


def test_probes_cover_batches_and_sweeps() -> None:
    found = gpu_profile.probes(200)
    assert {probe.batch for probe in found} == {1, 32}
    assert len({probe.name for probe in found}) == len(found)
    swept = {p.out_channels for p in gpu_profile.probes(1500) if p.name.startswith("sweep_56")}
    assert {8, 128, 136, 512} <= swept


def test_a_run_leaves_tables_and_a_page(tmp_path: Path) -> None:
    gpu_profile.main(
        ["--platform", "cpu", "--convs", "4", "--minutes", "0.1", "--out", str(tmp_path),
         "--models", str(tmp_path), "--only", "ort-cpu"]
    )  # fmt: skip
    records: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert records["ort-cpu"]["rows"] == len(LatencyTable.load(tmp_path / "ort-cpu.jsonl"))
    assert records["ort-cpu"]["rows"] >= 1  # a busy machine measures few in six seconds
    assert "ort-cpu" in (tmp_path / "gpu.md").read_text()


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_profile.main(
        ["--convs", "4", "--minutes", "0.2", "--out", str(tmp_path), "--only", "ort-cuda"]
    )
    said = capsys.readouterr().out
    assert "not taken" in said
    assert "onnxruntime-gpu" in said
