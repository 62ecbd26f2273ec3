"""What a command writes is nothing that it reads or writes elsewhere, whatever the order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import Run, runs

import morphnet_core.cli


@pytest.fixture
def morphnet(capsys: pytest.CaptureFixture[str]) -> Run:
    return runs(morphnet_core.cli.main, capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that must not change; no verb gets as far as to read them."""
    for name in ("net.onnx", "other.onnx", "net.keras", "cpu.jsonl", "list.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.onnx").symlink_to(tmp_path / "net.onnx")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


OVER = [
    ("explain net.onnx -t cpu.jsonl --fix net.onnx", "--fix would write over net.onnx, .* MODEL."),
    ("explain --fix net.onnx -t cpu.jsonl net.onnx", "--fix would write over net.onnx, .* MODEL."),
    ("explain net.onnx -t cpu.jsonl --fix link.onnx", "--fix would write over link.onnx"),
    ("predict net.onnx -t cpu.jsonl --annotate net.onnx", "--annotate would write over net.onnx"),
    ("predict net.onnx -t cpu.jsonl --parquet ./cpu.jsonl", "--parquet would .* is --table"),
    ("predict net.onnx -t cpu.jsonl --overlay x --trace x", "--overlay and --trace .* same file"),
    ("compare other.onnx net.onnx -t cpu.jsonl --plot net.onnx", "over net.onnx"),
    ("compare net.onnx -t cpu.jsonl --against list.csv --summary list.csv", "is --against"),
    ("profile --models net.onnx --out net.onnx", "--out would write over net.onnx"),
    ("import list.csv --out list.csv", "--out would write over list.csv"),
    ("solve list.csv --donor cpu.jsonl --out cpu.jsonl", "which is --donor"),
    ("report cpu.jsonl --html cpu.jsonl", "--html would write over cpu.jsonl"),
    ("show cpu.jsonl --parquet cpu.jsonl", "--parquet would write over cpu.jsonl, which is TABLE"),
    ("show cpu.jsonl --plot folder", "folder is a folder. Give the file to write with --plot."),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), OVER)
def test_nothing_that_was_given_is_written_over(run: Run, here: Path, line: str, says: str) -> None:
    _refused(run, here, line, says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("align net.onnx -t cpu.jsonl --out net.onnx", "--out would write over net.onnx"),
        ("expand net.keras --by 1.5 -o net.keras", "--out would write over net.keras"),
        ("plan net.onnx -t cpu.jsonl --target 50% -o a --onnx a", "--out and --onnx would"),
    ],
)
def test_nor_by_the_other_command(morphnet: Run, here: Path, line: str, says: str) -> None:
    _refused(morphnet, here, line, says)


def _refused(run: Run, here: Path, line: str, says: str) -> None:
    before = {path.name: path.read_text() for path in here.iterdir() if path.is_file()}
    found = run(*line.split())
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("Error: ")
    assert re.search(says, found.err), found.err
    assert {path.name: path.read_text() for path in here.iterdir() if path.is_file()} == before
