"""The verb that imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from costmodel.table import LatencyTable

Run = Callable[..., Any]  # the fixture's

HEAD = "op,size,cin,cout,kernel,padding,time_us\n"
ROWS = "".join(f"conv2d,28,{c},{c},3,same,{c * c / 10}\n" for c in (16, 24, 32, 48, 64, 96))
SAID = ("--set", "device=Phone GPU", "--set", "runtime=tflite-gpu")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "phone.csv"
    path.write_text(HEAD + ROWS + "conv2d,28,8,8,3,same,=1+2\n", encoding="utf-8")
    return path


def test_import_writes_a_table_that_other_verbs_read(run: Run, csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    found = run("import", csv, *SAID, "--licence", "MIT", "--out", out)
    assert found.code == 0
    for text in ("Phone GPU, tflite-gpu", "imported", "is a formula, which is not evaluated"):
        assert text in found.out
    table = LatencyTable.load(out)
    assert (len(table), table.device.state["licence"]) == (6, "MIT")
    assert run("show", out).code == 0
    assert run("check", out).code == 0


def test_import_as_json_and_markdown(run: Run, csv: Path, tmp_path: Path) -> None:
    found = run("import", csv, *SAID, "--out", tmp_path / "t.jsonl", "--json").json
    assert (found["form"], found["rows"], found["merged"]) == ("columns", 7, 0)
    assert found["tables"][0]["rows"] == 6
    assert found["tables"][0]["provenance"] == "imported"
    assert [(item["column"], item["rows"]) for item in found["left_out"]] == [("time_us", [7])]
    shown = run("import", csv, *SAID, "--out", tmp_path / "t.jsonl", "--markdown").out
    assert "| rows | column | problem |" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no column says the device of a row"),
        (("--set", "device"), "--set 'device' is not FIELD=VALUE"),
        (("--set", "device=a", "--set", "device=b"), "--set device is given twice, as 'a' and 'b'"),
        (("--map", "hight=h"), "no field 'hight' to map or set. Did you mean height"),
        ((*SAID, "--map", "latency_s=time_us"), "so the times are in another unit"),
        ((*SAID, "--preset", "best"), "There is no preset 'best'"),
        ((*SAID, "--device", "tv"), "no device is called 'tv'"),
    ],
)
def test_bad_input_is_one_message_and_no_file(
    run: Run, csv: Path, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    out = tmp_path / "t.jsonl"
    found = run("import", csv, *arguments, "--out", out)
    assert (found.code, found.out) == (2, "")
    assert told in found.err
    assert found.err.count("\n") == 1
    assert not out.exists()


def test_a_long_file_tells_how_far_it_is(
    run: Run, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costmodel.imports.files.PIECE", 3)
    monkeypatch.setattr("costmodel.cli.output.LINE_EVERY_S", 0.0)
    found = run("import", csv, *SAID, "--out", tmp_path / "t.jsonl")
    assert "Reading phone.csv: 100%" in found.err
