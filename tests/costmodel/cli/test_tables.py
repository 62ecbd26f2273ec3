"""Verbs that read a table: show, check, score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import ADD, conv, law_table, row

from costmodel.runners.fake import FakeRunner, law_ms
from costmodel.table import LatencyTable

Run = Callable[..., Any]  # the fixture's


def test_show(run: Run, table: Path) -> None:
    found = run("show", table, "--json")
    assert (found.code, found.json["rows"]) == (0, 34)
    assert found.json["device"]["provenance"] == "measured"
    assert "Rows by kind and path" in run("show", table).out
    assert "| kind |" in run("show", table, "--markdown").out


def test_show_draws_the_staircase_in_a_line(run: Run, table: Path, tmp_path: Path) -> None:
    text = run("show", table).out
    assert "Staircase of conv 3x3" in text
    (line,) = [line for line in text.splitlines() if "█" in line]
    # Sixteen widths of the fake device, whose latency rises with every second of them.
    assert "8 to 128" in line
    columns = line.split("128")[1].split()[0]
    assert len(columns) == 16
    assert list(columns) == sorted(columns)
    assert "Staircase" not in run("show", law_table(tmp_path / "adds.jsonl", [ADD])).out


def test_show_of_a_curve_needs_networks(run: Run, table: Path) -> None:
    assert run("show", table, "--curve", "--json").json["curve"] == []
    assert "Too few networks were timed whole" in run("show", table, "--curve").out


def test_show_draws_the_staircase(run: Run, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the report extra")
    found = run("show", table, "--plot", tmp_path / "s.svg", "--json")
    assert found.code == 0
    assert found.json["rows"] == 34
    assert "latency in ms" in (tmp_path / "s.svg").read_text(encoding="utf-8")


def test_show_of_a_table_without_convolutions(run: Run, tmp_path: Path) -> None:
    path = law_table(tmp_path / "adds.jsonl", [ADD])
    assert run("show", path).code == 0
    drawn = run("show", path, "--plot", tmp_path / "s.png", "--json")
    assert (drawn.code, "has no convolution" in drawn.err) == (2, True)
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize(("ratio", "code"), [(1.0, 0), (1.25, 1), (0.8, 1)])
def test_check_times_rows_again_and_tells_another_pace(
    run: Run, tmp_path: Path, ratio: float, code: int
) -> None:
    then = [row(op, law_ms(op) / ratio, law_ms(op) / ratio) for op in (conv(), conv(128, 64))]
    path = tmp_path / "then.jsonl"
    LatencyTable(FakeRunner().device, then).save(path)
    found = run("check", path, "--pace", "--rounds", 2, "--json")
    assert found.code == code
    assert found.json["pace"]["ratio"] == pytest.approx(ratio)
    assert ("Another pace: 2 rows" in found.err) == bool(code)
    assert run("check", path).code == 0


def test_check_says_why_it_cannot_tell_the_pace(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    LatencyTable(FakeRunner().device, [row(ADD, 1e-4, 1e-4)]).save(path)
    found = run("check", path, "--pace")
    assert (found.code, "no quiet row between 0.02 and 20 ms" in found.err) == (2, True)
    other = law_table(tmp_path / "other.jsonl", [conv()], name="board")
    assert run("check", other, "--pace").code == 2


def test_check_of_a_good_and_a_bad_table(run: Run, table: Path, tmp_path: Path) -> None:
    good = run("check", table, "--json")
    assert (good.code, good.json["faults"]) == (0, 0)
    noisy = tmp_path / "noisy.jsonl"
    LatencyTable(FakeRunner().device, [row(conv(), 1.0, 1.5)]).save(noisy)
    bad = run("check", noisy, "--json")
    assert (bad.code, [item["problem"] for item in bad.json["findings"]]) == (1, ["noisy"])
    assert "Noisy rows" in run("check", noisy).out


def test_score(run: Run, table: Path) -> None:
    found = run("score", table, "--held-out", 10, "--json")
    assert found.code == 0
    expected = {"rows", "held_out", "mape", "within_5", "within_10", "repeatability", "baselines"}
    assert expected <= set(found.json)
    assert found.json["held_out"] == 10
    assert "the table's regression" in run("score", table, "--held-out", 10).out
