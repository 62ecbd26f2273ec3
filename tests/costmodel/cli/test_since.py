"""``compare`` for a CI run: a baseline, a summary, frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import ADD, conv

from costmodel.runners.fake import write_model

Run = Callable[..., Any]  # the fixture's


@pytest.fixture
def arguments(net: Path, table: Path) -> tuple[object, ...]:
    return ("compare", net, "-t", table, "--cost", "lookup", "--rounds", 2)


@pytest.fixture(scope="module")
def measured() -> list[str]:
    """The baseline once it is measured: all tests can have the same."""
    return []


@pytest.fixture
def baseline(run: Run, arguments: tuple[object, ...], tmp_path: Path, measured: list[str]) -> Path:
    path = tmp_path / "old.json"
    if not measured:
        made = run(*arguments, "--json", "--save-baseline", path)
        assert made.code == 0, made.err
        assert path.read_text(encoding="utf-8") == made.out
        measured.append(made.out)
    path.write_text(measured[0], encoding="utf-8")
    return path


def test_nothing_changed(run: Run, arguments: tuple[object, ...], baseline: Path) -> None:
    found = run(*arguments, "--baseline", baseline, "--json")
    assert found.code == 0
    (item,) = found.json
    assert item["change"]["slowdown"] == pytest.approx(0.0, abs=1e-9)
    assert item["change"]["witnesses"] == len(item["witnesses"]) == 8
    assert item["percentiles_ms"]["samples"] >= 2 * 5
    assert item["percentiles_ms"]["p50"] == pytest.approx(item["measured_ms"])
    assert "Against the baseline" in run(*arguments, "--baseline", baseline).out


def test_a_slower_network_is_a_finding(
    run: Run, arguments: tuple[object, ...], baseline: Path, net: Path, tmp_path: Path
) -> None:
    write_model(net, [conv(), conv(128, 64), ADD, conv(128, 64)])  # one kernel more
    summary, frame = tmp_path / "s.md", tmp_path / "f.parquet"
    found = run(*arguments, "--baseline", baseline, "--max-regression", "5%", "--summary", summary)
    assert found.code == 1
    assert "SLOWER" in found.out
    assert "Slower than the baseline: net." in found.err
    text = summary.read_text(encoding="utf-8")
    assert "**1 of 1 networks slower than the baseline by more than 5.0 %.**" in text
    assert "| network | before |" in text
    assert run(*arguments, "--baseline", baseline, "--max-regression", "200%").code == 0
    pytest.importorskip("pyarrow", reason="needs the frames extra")
    import pandas as pd

    assert run(*arguments, "--baseline", baseline, "--parquet", frame).code == 1
    (row,) = pd.read_parquet(frame).to_dict("records")
    assert (row["model"], bool(row["slower"])) == ("net", True)
    assert row["measured_ms"] == pytest.approx(row["p50_ms"])


def test_the_page_of_a_github_run_is_appended_to_only_if_asked(
    run: Run, arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert run(*arguments).code == 0
    assert page.read_text() == "before\n"
    assert run(*arguments, "--github-summary").code == 0
    assert page.read_text().startswith("before\n## Latency\n")
    assert "1 of 1 networks predicted and measured, median error" in page.read_text()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    refused = run(*arguments, "--github-summary")
    assert (refused.code, "--summary F.md" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--max-regression", "5%"), "Give one: --baseline"),
        (("--baseline", "BASE", "--max-regression", "lots"), "'lots' is no share"),
        (("--baseline", "BASE", "--max-regression", "-1"), "'-1' is no share"),
        (("--baseline", "absent.json"), "absent.json cannot be read"),
        (("--baseline", "BASE", "--against", "list.csv"), "nothing is timed"),
        (("--baseline", "BASE", "--threads", 2, "--other-device"), "measure a baseline here"),
        (("--save-baseline", "."), ". is a folder. Give the file to write with --save-baseline."),
        (("--parquet", "."), "to write with --parquet."),
        (("--summary", "."), "to write with --summary."),
    ],
)
def test_mistakes(
    run: Run, arguments: tuple[object, ...], baseline: Path, more: tuple[object, ...], says: str
) -> None:
    given = (baseline if item == "BASE" else item for item in more)
    found = run(*arguments, *given)
    assert (found.code, found.out) == (2, "")
    assert says in found.err


def test_two_networks_of_one_name_cannot_be_told_apart(
    run: Run, arguments: tuple[object, ...], baseline: Path, net: Path
) -> None:
    found = run(*arguments, net, "--baseline", baseline)
    assert (found.code, "same name" in found.err) == (2, True)


def test_layers_and_rows_as_frames(run: Run, net: Path, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the frames extra")
    import pandas as pd

    layers, rows = tmp_path / "layers.parquet", tmp_path / "rows.parquet"
    found = run("predict", net, "-t", table, "--cost", "lookup", "--json", "--parquet", layers)
    assert found.code == 0
    frame = pd.read_parquet(layers)
    told = json.loads(found.out)
    assert len(frame) == len(told["ops"]) + len(told["unpriced"])
    assert frame["price_ms"].sum() == pytest.approx(told["uncalibrated_ms"])
    assert run("show", table, "--parquet", rows).code == 0
    assert len(pd.read_parquet(rows)) == 34
