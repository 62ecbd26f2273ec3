"""``solve`` and ``compare --against``: from somebody's list of timings to predictions and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import ADD, conv, law_table
from timed_networks import write_networks

import costmodel as cm

Run = Callable[..., Any]  # the fixture's

RUNTIME = ("--runtime", "onnxruntime")


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    kernels = [conv(16 * n, 16 * m) for n in (1, 2, 3) for m in (1, 2, 4)]
    path = tmp_path / "donor.jsonl"
    return law_table(path, [*kernels, ADD], name="other", runtime="onnxruntime", isa="avx2")


@pytest.fixture
def timings(tmp_path: Path, donor: Path) -> Path:
    """A list of twelve networks, nine of them timed: three times what a law says."""
    lines = ["model,latency_us"]
    for number, path in enumerate(write_networks(tmp_path, 12)):
        latency_ms = cm.predict(path, donor).total
        lines.append(f"{path.name},{3e3 * latency_ms if number < 9 else ''}")
    path = tmp_path / "timings.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_list_becomes_a_table_that_predicts(
    run: Run, timings: Path, donor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "phone.jsonl"
    solved = run("solve", timings, "--device", "Phone", "--donor", donor, "--out", out, "--json")
    assert solved.code == 0
    table = cm.LatencyTable.load(out)
    assert (table.device.name, table.device.provenance) == ("Phone", "imported")
    assert table.device.state["kernels_solved_from"] == "9 whole networks of timings.csv"
    assert len(table.models()) == 9
    assert all(row.latency_ms > 0 for row in table.kernels())
    found = run("compare", "--table", out, "--against", timings, "--json", "--max-error", "0.05")
    assert found.code == 0
    assert len(found.json) == 9
    assert {item["measured_on"] for item in found.json} == {table.device.label}
    assert all(item["interval_ms"][0] < item["predicted_ms"] for item in found.json)
    text = run("compare", "--table", out, "--against", timings).out
    assert "as timings.csv says" in text
    assert "Spearman" in text
    fresh = run("predict", tmp_path / "net11.onnx", "--table", out, "--json")
    assert fresh.json["provenance"] == "imported"
    assert fresh.json["predicted_ms"] > 0


def test_a_list_is_held_against_predictions_with_a_donor(
    run: Run, timings: Path, donor: Path, tmp_path: Path
) -> None:
    few = law_table(
        tmp_path / "few.jsonl", [conv(16, 48), conv(48, 16), ADD], name="few", runtime="onnxruntime"
    )
    common = ("compare", "--table", few, "--against", timings, "--json")
    alone, helped = run(*common), run(*common, "--donor", donor)
    assert "its own law" in helped.err
    assert [item["predicted_ms"] for item in alone.json] != [
        item["predicted_ms"] for item in helped.json
    ]


def test_names_of_a_tables_networks_stand_for_files(
    run: Run, timings: Path, donor: Path, tmp_path: Path
) -> None:
    first = cm.solve(timings, donor, name="Phone")
    first.save(tmp_path / "phone.jsonl")
    names = tmp_path / "names.csv"
    names.write_text("model;latency_ms\nnet0;1,5\nnet1;2,5\nnet2;2\nnobody;3\n", encoding="utf-8")
    second = run(
        *("solve", names, "--device", "Tablet", "--donor", tmp_path / "phone.jsonl"),
        *("--out", tmp_path / "tablet.jsonl"),
    )
    assert second.code == 0
    assert "'nobody' is no model file" in second.err
    assert len(cm.LatencyTable.load(tmp_path / "tablet.jsonl").models()) == 3
    found = run("compare", "--table", tmp_path / "tablet.jsonl", "--against", names, "--json")
    assert [item["model"] for item in found.json] == ["net0", "net1", "net2"]
    assert "line 5: 'nobody'" in found.err


def test_suggestions_are_of_networks_without_a_time(run: Run, timings: Path, donor: Path) -> None:
    found = run("solve", timings, "--suggest", "2", "--donor", donor, "--json")
    assert found.code == 0
    suggested = found.json["suggested"]
    assert len(suggested) == 2
    assert set(suggested) <= {"net9.onnx", "net10.onnx", "net11.onnx"}
    assert suggested[0] in run("solve", timings, "--suggest", "1", *RUNTIME).out


def test_models_are_matched_with_the_lines_that_name_them(
    run: Run, timings: Path, donor: Path, tmp_path: Path
) -> None:
    models = [tmp_path / "net3.onnx", tmp_path / "net10.onnx"]
    found = run("compare", *models, "--table", donor, "--against", timings, "--json")
    assert [item["model"] for item in found.json] == ["net3"]
    assert "net10.onnx has no line" in found.err
    above = run(
        *("compare", models[0], "--table", donor, "--against", timings, "--max-error", "0.1")
    )
    assert above.code == 1


def test_a_line_that_names_a_loop_of_links_is_that_of_no_model(
    run: Run, timings: Path, donor: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    timings.write_text(f"{timings.read_text(encoding='utf-8')}loop.onnx,7\n", encoding="utf-8")
    model = tmp_path / "net3.onnx"
    found = run("compare", model, "--table", donor, "--against", timings, "--json")
    assert [item["model"] for item in found.json] == ["net3"], found.err


def test_mistakes_are_named(run: Run, timings: Path, donor: Path, tmp_path: Path) -> None:
    out = tmp_path / "phone.jsonl"
    give = run("solve", timings, "--donor", donor)
    assert (give.code, "--device NAME" in give.err) == (2, True)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(timings.read_text().replace("latency_us", "latency_s"), encoding="utf-8")
    unit = run("solve", wrong, "--device", "P", "--donor", donor, "--out", out)
    assert (unit.code, "Is the unit" in unit.err) == (2, True)
    names = tmp_path / "names.csv"
    names.write_text("model,latency_ms\nnobody,3\n", encoding="utf-8")
    nothing = run("solve", names, "--device", "P", *RUNTIME, "--out", out)
    assert (nothing.code, "none of its 1 timed lines" in nothing.err) == (2, True)
    assert not out.exists()
    out.write_text("mine", encoding="utf-8")
    there = run("solve", timings, "--device", "P", "--donor", donor, "--out", out)
    assert (there.code, "exists" in there.err) == (2, True)
    assert out.read_text() == "mine"
    bare = run("compare", "--against", timings)
    assert (bare.code, "needs the table" in bare.err) == (2, True)
    timed = tmp_path / "timed.csv"
    timed.write_text("model,latency_ms\nnet0.onnx,3\n", encoding="utf-8")
    none_left = run("solve", timed, "--suggest", "1", *RUNTIME)
    assert (none_left.code, "none is left to choose" in none_left.err) == (2, True)
