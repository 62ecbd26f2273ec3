"""The ledger of the benchmarks, and what is counted of the house."""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "bench"))
    found = import_module("ledger")
    monkeypatch.setattr(found, "RESULTS", tmp_path)
    return found


@pytest.fixture
def house(ledger: Any) -> Any:
    return import_module("house")


def shown(ledger: Any) -> Any:
    return ledger.figure(id="a", what="a number", reached=2.0, unit="ms")


def test_a_figure_without_a_target_has_not_passed(ledger: Any) -> None:
    assert shown(ledger)["passed"] is None
    with pytest.raises(ValueError, match="only shown"):
        ledger.figure(id="a", what="a number", reached=2.0, unit="ms", passed=True)


def test_a_figure_that_was_not_taken_says_why(ledger: Any) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        ledger.figure(id="a", what="a number", reached=None, unit="ms")


def test_a_changed_tree_is_not_written(
    ledger: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ledger, "_git", lambda *_: " M costmodel/op.py")
    with pytest.raises(SystemExit, match=r"Commit first[^$]*costmodel/op\.py"):
        ledger.write("x", topic="house", figures=[shown(ledger)])
    assert list(tmp_path.iterdir()) == []


def test_a_page_names_topic_machine_and_commit(
    ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_git", lambda *command: "abc123" * (command[0] == "describe"))
    path = ledger.write("x", topic="house", figures=[shown(ledger)])
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["topic"], record["commit"]) == ("house", "abc123")
    assert record["machine"]["processor"]
    assert record["machine"]["isa"]
    assert "| a number | shown | 2 ms | - |" in path.with_suffix(".md").read_text()


def test_a_topic_is_one_of_a_list(ledger: Any) -> None:
    with pytest.raises(ValueError, match="No topic 'misc'"):
        ledger.write("x", topic="misc", figures=[])


def test_every_result_has_a_topic(ledger: Any) -> None:
    paths = sorted((ROOT / "docs" / "results").glob("*.json"))
    topics = [json.loads(path.read_text(encoding="utf-8"))["topic"] for path in paths]
    assert len(topics) > 20
    assert set(topics) <= set(ledger.TOPICS)


def test_source_lines_are_neither_blank_nor_comments(house: Any, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    text = '"""What it is."""\n\n# why\nNAME = 1  # a name\n    # indented\n'
    (tmp_path / "package" / "module.py").write_text(text, encoding="utf-8")
    assert house.source_lines(tmp_path, "package") == 2


def test_circles_are_found_through_others(house: Any) -> None:
    assert house.circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == [("b", "c")]


def test_packages_beside_each_other_are_told_by_what_is_inside(house: Any) -> None:
    needs = {"p": set(), "p.a": {"p.b.x"}, "p.b": set(), "p.b.x": {"p.a", "p.b"}}
    found = {child: house._siblings(child, needs, {"p.a", "p.b"}) for child in ("p.a", "p.b")}
    assert found == {"p.a": {"p.b"}, "p.b": {"p.a"}}


@pytest.mark.parametrize(
    ("reached", "limit", "passed", "target"),
    [
        (2.0, {"at_most": 2.0}, True, "<= 2"),
        (2.1, {"at_most": 2.0}, False, "<= 2"),
        (2.0, {"at_least": 2.5}, False, ">= 2.5"),
        (0.0, {"exactly": 0}, True, "0"),
        (0.0, {"exactly": 0, "sound": False}, False, "0"),
        (9.0, {"at_least": 9, "target": "9 of 10"}, True, "9 of 10"),
    ],
)
def test_a_figure_passes_within_its_limit(
    ledger: Any, reached: float, limit: dict[str, Any], target: str, *, passed: bool
) -> None:
    found = ledger.figure("a", "a number", reached, "ms", **limit)
    assert (found["passed"], found["target"]) == (passed, target)
    untaken = ledger.figure("a", "a number", None, "ms", **limit, reason="no time")
    assert (untaken["passed"], untaken["target"]) == (None, target)


def test_advices_are_held_against_the_clock(ledger: Any) -> None:
    explained = import_module("explained")

    def advice(predicted: float, measured: float) -> dict[str, object]:
        return {
            "kind": "step",
            "layers": ["conv1"],
            "todo": "32 channels instead of 36",
            "gain_ms": predicted,
            "interval_ms": [0.5 * predicted, 1.5 * predicted],
            "measured_gain_ms": measured,
            "measured_before_ms": 10.0,
            "repeatability": 0.01,
        }

    def record(*advices: dict[str, object]) -> dict[str, object]:
        return {"predicted_ms": 10.0, "advices": list(advices)}

    some = {"one": record(advice(1.0, 0.9), advice(0.5, -0.1)), "two": record()}
    found = {item["id"]: item for item in explained.figures(some)}
    assert found["c-sign"]["reached"] == 0.5
    assert found["c-sign"]["passed"] is False
    assert found["c-ratio"]["reached"] == pytest.approx(0.35)
    assert found["c-inside"]["reached"] == 0.5
    assert found["c-best-one"]["reached"] == pytest.approx(0.09)
    assert "no change is predicted" in found["c-best-two"]["reason"]
    assert len(explained.lines("one", some["one"])) == 2
    assert explained.lines("two", some["two"]) == ["two | 10.000 | - | - | - | - | - | - | -"]
    # Only all twelve networks make a figure that may pass.
    whole = {f"n{number}": record(advice(1.0, 0.9)) for number in range(12)}
    found = {item["id"]: item for item in explained.figures(whole)}
    assert found["c-sign"]["passed"]
    assert found["c-ratio"]["passed"]


def test_a_table_keeps_what_has_bars_in_it(ledger: Any) -> None:
    found = ledger.figure("a", "median |error| of 2", 0.5, "share", at_most=0.1)
    assert ledger.cells(found) == r"median \|error\| of 2 | <= 0.1 | 0.5 share | **no**"
    untaken = ledger.figure("a", "a number", None, at_most=1, reason="no board")
    assert ledger.cells(untaken) == "a number | <= 1 | not taken: no board | -"


def test_the_summary_shows_every_figure_with_script_and_processor(ledger: Any) -> None:
    summary = import_module("summary")
    figures = [
        ledger.figure("a", "a number", 2.0, "ms", at_most=1),
        ledger.figure("b", "another", 2.0, "ms", at_least=1),
        ledger.figure("c", "a third", None, at_least=1, reason="no board"),
        shown(ledger),
    ]
    record = {
        "topic": "house",
        "script": "scripts/bench/house.py",
        "figures": figures,
        "machine": {"processor": "Some CPU", "isa": "avx2"},
    }
    page = "\n".join(summary.page_of({"lines": record, "older": {**record, "script": ""}}))
    assert "| The packages themselves | 6 | 2 | 4 |" in page
    assert page.count("| a number | <= 1 | 2 ms | **no** |") == 2
    made = "by [scripts/bench/house.py](../../scripts/bench/house.py), on Some CPU, avx2:"
    assert f"[lines](lines.md), {made}" in page
    assert "[older](older.md), on Some CPU, avx2:" in page


def test_the_summary_is_that_of_the_results(ledger: Any) -> None:
    summary = import_module("summary")
    folder = ROOT / "docs" / "results"
    records = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }
    page = "\n\n".join(summary.page_of(records)) + "\n"
    assert (folder / "README.md").read_text(encoding="utf-8") == page
    made = {record.get("script", "") for record in records.values()} - {""}
    assert [name for name in made if not (ROOT / name).is_file()] == []


def test_a_script_is_known_by_its_path(ledger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]  # which in a worker of the tests is no file
    monkeypatch.setattr(main, "__file__", str(ROOT / "scripts/bench/kill.py"), raising=False)
    assert ledger.script() == "scripts/bench/kill.py"
    monkeypatch.setattr(main, "__file__", "/somewhere/else.py")
    assert ledger.script() == ""


def test_growth_is_told_apart_from_levels_and_from_warming_up(ledger: Any) -> None:
    soak = import_module("soak")
    found = [
        soak.Turn(
            run=run, seconds=seconds, memory_mib=level + 3.0 * seconds / 3600.0 + warm,
            files=9, threads=4, orphans=0, temporary=0, commit="abc",
        )
        for run, level in (("a", 150.0), ("b", 170.0))
        for seconds, warm in ((10.0, -50.0), *((60.0 * n, 0.0) for n in range(1, 31)))
    ]  # fmt: skip
    slope, error = soak.growth(found)
    assert (slope, error) == (pytest.approx(3.0), pytest.approx(0.0, abs=1e-6))
    assert soak.minutes_of(found) == pytest.approx(60.0)
    passed = [item["passed"] for item in soak.figures(found, "fake", asked=60.0)]
    assert passed == [True] * 5
    assert not any(item["passed"] for item in soak.figures(found, "fake", asked=120.0))
    close = [dataclasses.replace(found[0], seconds=float(n)) for n in range(61)]
    assert [item.seconds for item in soak.thinned(close)] == [0.0, 30.0, 60.0]
    close[7] = dataclasses.replace(close[7], orphans=1)
    assert close[7] in soak.thinned(close)


def test_a_figure_may_have_a_least_and_a_most(ledger: Any) -> None:
    reached = {
        share: ledger.figure("e", "covered", share, at_least=0.86, at_most=0.94)
        for share in (0.85, 0.9, 0.95)
    }
    assert [item["passed"] for item in reached.values()] == [False, True, False]
    assert reached[0.9]["target"] == "0.86 to 0.94"
    assert ledger.record("no such page") == {}


def test_kills_that_went_wrong_are_tried_again_with_other_code(
    ledger: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kills = import_module("kills")
    assert kills.scaled(200, list(kills.SHARES)) == kills.SHARES
    assert sum(kills.scaled(30, ["import", "report"]).values()) == 30
    book = kills.Book(path=tmp_path / "0.json")
    good = kills.Trial(name="import 0", how="a random moment (1 s)", resumed=True, commit="a")
    bad = kills.Trial(
        name="import 1", how="a random moment (1 s)", resumed=True, commit="a", lost=1
    )
    for trial in (good, bad):
        trial.close()
    book.write({item.name: item for item in (good, bad)})
    monkeypatch.setattr(kills.ledger, "commit", lambda: "a")
    assert [*book.read()] == ["import 0", "import 1"]
    monkeypatch.setattr(kills.ledger, "commit", lambda: "b")
    assert [*book.read()] == ["import 0"]
    found = {item["id"]: item for item in kills.figures([good, bad], [], 2, 0)}
    assert (found["c1"]["passed"], found["c2"]["passed"], found["c5"]["passed"]) == (
        False,
        True,
        True,
    )


def test_kills_go_on_where_another_machine_ended(
    ledger: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kills = import_module("kills")
    told = kills.Trial(name="import 0", how="", resumed=True, fine=True, commit="a")
    page = {"trials": [dataclasses.asdict(told)], "figures": [{"seed": 0}]}
    monkeypatch.setattr(kills.ledger, "record", lambda name: {"kills": page}[name])
    for seed, names in ((0, ["import 0"]), (1, [])):  # other seeds draw other moments
        book = kills.Book(path=tmp_path / f"{seed}.json")
        kills.begun(book, seed)
        assert [*book.read()] == names
    book = kills.Book(path=tmp_path / "0.json")
    book.write({})
    kills.begun(book, 0)
    assert book.read() == {}  # what this machine has done counts
