"""The script that follows the README from a fresh clone: what it reads, and what it runs in."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from costmodel.comparison import Comparison
from costmodel.costs.lookup import Lookup
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op
from costmodel.prediction import price_network
from costmodel.report import comparison_sheets, to_text
from costmodel.table import LatencyTable

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
BOARD = Device(name="board", runtime="fake")
ADD = Op(kind="add", inputs=((1, 8),) * 2, outputs=((1, 8),))


@pytest.fixture
def fresh_clone(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("fresh_clone")


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def comparison(name: str, *times_ms: float) -> Comparison:
    network = Network(name=name, layers=(Layer(name="sum", op=ADD),), source="lowered")
    prediction = price_network(
        network, Lookup(LatencyTable(BOARD, [row(ADD, 1.0, 1.0)])), device=BOARD
    )
    measured = row(model_op(name, "0", ()), *times_ms)
    return Comparison(prediction=prediction, measurement=measured, device=BOARD)


def test_networks_with_both_numbers_are_read_from_the_report(fresh_clone: Any) -> None:
    found = [comparison("light_net", 1.25, 1.25), comparison("mnist-8", 0.8, 0.8)]
    untimed = comparison("absent")
    text = to_text(comparison_sheets([*found, untimed]), 160)
    assert "absent" in text
    lines = ["Profiling: 3 of 9 visits, 1 s left.", *text.splitlines(), "Table: t.jsonl"]
    assert fresh_clone.compared(lines) == [
        {"network": "light_net", "predicted_ms": 1.0, "measured_ms": 1.25, "error": -0.2},
        {"network": "mnist-8", "predicted_ms": 1.0, "measured_ms": 0.8, "error": 0.25},
    ]


def test_output_without_the_report_has_no_network(fresh_clone: Any) -> None:
    assert fresh_clone.compared(["net 1.0 - 2.0 2.0 +1.0 % -"]) == []


def test_the_demonstration_passes_with_six_networks_in_time(fresh_clone: Any) -> None:
    def ended(count: int, minutes: float, code: int | None) -> list[bool]:
        text = to_text(comparison_sheets([comparison(f"n{i}", 1.0) for i in range(count)]), 160)
        lines = tuple(text.splitlines())
        end = fresh_clone.Ended(command="scripts/demo", code=code, minutes=minutes, lines=lines)
        return [item["passed"] for item in fresh_clone.demo_figures(end)]

    assert ended(6, 11.0, 0) == [True, True]
    assert ended(5, 11.0, 0) == [False, True]
    assert ended(6, 13.0, 0) == [True, False]
    assert ended(6, 1.0, 1) == [False, False]
    assert ended(6, 40.0, None) == [False, False]


def test_what_was_made_before_is_not_found_again(
    fresh_clone: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), "rest"]))
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    bare = fresh_clone.bare_environment()
    assert bare["PATH"] == "rest"
    assert {"VIRTUAL_ENV", "PYTHONPATH"}.isdisjoint(bare)


def test_a_command_that_takes_too_long_is_stopped(fresh_clone: Any, tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(600)'"
    ended = fresh_clone.run(command, tmp_path, 2 / 60, dict(os.environ))
    assert (ended.code, ended.lines) == (None, ("1",))


def test_the_clone_is_of_what_is_committed_and_has_nothing_beside_it(
    fresh_clone: Any, tmp_path: Path
) -> None:
    if not (BENCH.parents[1] / ".git").exists():
        pytest.skip("this is no git checkout")
    clone = fresh_clone.make_clone(tmp_path)
    assert (clone / "scripts" / "demo").exists()
    assert not (clone / ".venv").exists()
    assert list(tmp_path.iterdir()) == [clone]
    status = ["git", "-C", str(clone), "status", "--porcelain"]
    assert subprocess.run(status, capture_output=True, check=True).stdout == b""


def test_the_slowest_test_is_read_from_the_durations(fresh_clone: Any) -> None:
    lines = ["=== slowest 1 durations ===", "3.25s call     tests/a.py::test_b", "7s of waiting"]
    assert fresh_clone.slowest(lines) == 3.25
    assert fresh_clone.slowest(["1 passed in 3.0s"]) is None
