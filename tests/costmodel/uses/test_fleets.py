"""Fleets on this machine, without Ray: simulated boards, each in a job of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from json_promises import check_output
from rows import ADD, conv

from costmodel.cli import main
from costmodel.errors import LockedError
from costmodel.profiler.lock import hold
from costmodel.runners.fake import write_model
from costmodel.table import LatencyTable
from costmodel.uses.fleets import fleet_status, profile_fleet

Run = Callable[..., tuple[int, str, str]]
OPS = [*(conv(width) for width in range(8, 128, 8)), ADD]
#: Beside them there are the network itself and its session.
ROWS = len(OPS) + 2


@pytest.fixture(scope="module", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Locks of these tests, in their jobs, too."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("locks"))
        patch.setenv("TMPDIR", folder)
        patch.setattr("tempfile.tempdir", folder)
        yield


def write_fleet(folder: Path, boards: dict[str, str], extra: str = "") -> Path:
    write_model(folder / "net.json", OPS)
    path = folder / "fleet.toml"
    lines = ['models = ["net.json"]', "samples = 0", "thinned = 0", "rounds = 2", extra]
    for name, options in boards.items():
        lines += ["[[devices]]", f'name = "{name}"', f'runner = "fake://{name}"']
        lines += [f"options = {{ {options} }}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        check_output(arguments, written.out)
        return int(ended.value.code or 0), written.out, written.err

    return call


def rounds_of(table: Path) -> dict[str, list[int]]:
    loaded = LatencyTable.load(table)
    assert loaded.warnings == ()
    return {op.digest: [item.number for item in row.rounds] for op, row in loaded.rows.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that was profiled: three boards of a kind, one of them slower, and a faster kind."""
    folder = tmp_path_factory.mktemp("fleet")
    boards = {"a": "", "b": "", "c": "slower = 1.2", "x": "speed = 2.0"}
    path = write_fleet(folder, boards)
    found = profile_fleet(path)
    assert found.is_done, found.to_json()
    return path


def test_boards_of_a_kind_share_a_design_and_others_get_their_own(done: Path) -> None:
    found = fleet_status(done)
    rows = {name: item.rows for name, item in found.standings.items()}
    assert rows["x"] == ROWS
    assert rows["a"] + rows["b"] + rows["c"] == 2 * ROWS
    assert {item.state for item in found.standings.values()} == {"done"}
    one, other = sorted(found.kinds, key=lambda kind: -len(kind.boards))
    assert (one.rows, one.single) == (ROWS, 0)
    assert [board.name for board in one.boards if board.apart] == ["c"]
    assert one.factor("c") == pytest.approx(1.2)
    assert [board.name for board in other.boards] == ["x"]
    table = LatencyTable.load(found.tables[one.device.fingerprint])
    assert {op.digest for op in table} >= set(rounds_of(found.fleet.table("a")))
    assert not (found.fleet.out / ".work").exists()


def test_status_is_told_in_words_and_as_json(done: Path, run: Run) -> None:
    code, out, _ = run("fleet", "status", done, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["done"], found["running"]) == (True, None)
    assert [item["name"] for item in found["devices"]] == ["a", "b", "c", "x"]
    code, out, _ = run("fleet", "status", done)
    assert code == 0
    assert "4 of 4 devices are done; nobody drives it" in out
    assert "Kept apart" in out
    assert "c (1.20 times)" in out


def test_a_fleet_that_is_done_is_not_measured_again(done: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in done.parent.rglob("*.jsonl")}
    code, out, err = run("profile", "--fleet", done, "--json")
    assert code == 0
    assert "Every device has measured all" in err
    assert json.loads(out)["done"]
    assert {path: path.read_bytes() for path in done.parent.rglob("*.jsonl")} == before


def test_networks_are_compared_on_every_board(done: Path, run: Run) -> None:
    net = done.parent / "net.json"
    code, out, err = run(
        "compare", net, "--fleet", done, "--cost", "lookup", "--rounds", 2, "--json"
    )
    assert code == 0, err
    found = {board["name"]: board for board in json.loads(out)["boards"]}
    assert found["c"]["factor"] == pytest.approx(1.2)
    for board in found.values():
        (compared,) = board["compared"]
        assert compared["error"] == pytest.approx(0.0, abs=0.01)
    measured = {name: board["compared"][0]["measured_ms"] for name, board in found.items()}
    assert measured["c"] == pytest.approx(1.2 * measured["a"])
    assert measured["x"] == pytest.approx(0.5 * measured["a"])


def test_two_drivers_refuse_each_other(done: Path) -> None:
    with hold(done.parent / "fleet-tables" / "fleet.lock", "the fleet"):
        assert "process" in fleet_status(done).running
        with pytest.raises(LockedError, match="the fleet"):
            profile_fleet(done)


MISTAKES = {
    "no file": (("profile", "--fleet", "no.toml"), "no.toml cannot be read"),
    "an option of one device": (
        ("profile", "--fleet", "F", "--samples", 3),
        "--samples is for one device",
    ),
    "comparing by two": (("compare", "n.onnx", "--fleet", "F", "-t", "t.jsonl"), "--table is for"),
    "neither": (("profile",), "--fleet F.toml"),
    "nothing profiled": (("compare", "n.onnx", "--fleet", "F"), "has a table in"),
    "no such word": (("fleet", "paint", "F"), "paint"),
    "no such status": (("fleet", "status", "no.toml"), "no.toml cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(tmp_path: Path, run: Run, mistake: str) -> None:
    path = write_fleet(tmp_path, {"a": ""})
    arguments, words = MISTAKES[mistake]
    code, out, err = run(*(path if item == "F" else item for item in arguments))
    assert (code, out) == (2, "")
    assert words in err


def test_a_device_that_cannot_be_used_is_named_and_the_others_go_on(
    tmp_path: Path, run: Run
) -> None:
    path = write_fleet(tmp_path, {"a": "", "b": "colour = 'red'"})
    code, out, err = run("profile", "--fleet", path, "--json")
    assert code == 1
    found = {item["name"]: item for item in json.loads(out)["devices"]}
    assert found["b"]["state"] == "failed"
    assert "colour" in found["b"]["reason"]
    # The rows that the two would have shared are all a's.
    assert (found["a"]["state"], found["a"]["rows"]) == ("done", ROWS)
    assert "Not done: b." in err


def wait_until(what: Callable[[], object], limit_s: float = 30.0) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_driver_leaves_nothing_running_and_its_rows(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, {"a": "realtime = true", "b": "realtime = true"})
    command = [sys.executable, "-m", "costmodel", "profile", "--fleet", str(path)]
    tables = [tmp_path / "fleet-tables" / f"{name}.jsonl" for name in "ab"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as driver:
        wait_until(lambda: all(t.exists() and t.read_bytes().count(b"\n") > 4 for t in tables))
        family = psutil.Process(driver.pid).children(recursive=True)
        assert fleet_status(path).running
        driver.send_signal(signal.SIGKILL)
    before = [rounds_of(table) for table in tables]
    _, alive = psutil.wait_procs(family, timeout=10.0)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    found = fleet_status(path)
    assert found.running == ""
    assert {item.state for item in found.standings.values()} == {"stopped"}
    assert profile_fleet(path).is_done
    for table, old in zip(tables, before, strict=True):
        new = rounds_of(table)
        assert len(new) == ROWS
        assert all(new[op][: len(numbers)] == numbers for op, numbers in old.items())
        assert all(len(set(numbers)) == len(numbers) == 2 for numbers in new.values())
    assert not (tmp_path / "fleet-tables" / ".work").exists()


def test_a_signal_ends_all_devices_cleanly(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, {"a": "realtime = true"})
    command = [sys.executable, "-m", "costmodel", "profile", "--fleet", str(path), "--json"]
    table = tmp_path / "fleet-tables" / "a.jsonl"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as driver:
        wait_until(lambda: table.exists() and table.read_bytes().count(b"\n") > 4)
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=30.0)
    assert driver.returncode == 130, err
    assert json.loads(out)["devices"][0]["state"] == "stopped"
    assert 0 < len(rounds_of(table)) <= ROWS
