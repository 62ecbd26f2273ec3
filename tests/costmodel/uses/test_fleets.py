"""Fleets on this machine, without Ray: simulated boards, each in a job of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from command_line import Run, runs
from onnx import TensorProto, helper
from rows import ADD, conv, row
from ssh_server import SshServer

import costmodel as cm
from costmodel.cli import main
from costmodel.device import Device
from costmodel.durable import append_line
from costmodel.errors import InvalidInputError, LockedError
from costmodel.fleets import keeper
from costmodel.fleets.dealing import Part
from costmodel.fleets.messages import Begin, Finished, Moved, ProfileOrder, decode_order
from costmodel.fleets.spec import read_fleet
from costmodel.fleets.standing import load_state, write_kinds
from costmodel.measurement import Round
from costmodel.profiler.lock import hold
from costmodel.runners.fake import law_ms, write_model
from costmodel.table import LatencyTable
from costmodel.uses.fleets import _BoardTask, _Profiling, fleet_status, profile_fleet
from costmodel.uses.profiling import parse_budget

OPS = [*(conv(width) for width in range(8, 128, 8)), ADD]
#: Beside them there are the network itself and its session.
ROWS = len(OPS) + 2
ROUNDS = 4
#: Longer than anything here takes, also on a busy machine.
LONG_S = 150.0


@pytest.fixture(scope="module", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks of these tests, in their jobs, too."""
    tmp_path_factory.getbasetemp()  # which all tests share: not in the folder below
    short = tempfile.TemporaryDirectory(prefix="t")  # for ssh's sockets
    with pytest.MonkeyPatch.context() as patch, short as folder:
        patch.setenv("TMPDIR", folder)
        patch.setattr("tempfile.tempdir", folder)
        yield


def write_fleet(folder: Path, boards: dict[str, str], extra: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    write_model(folder / "net.json", OPS)
    path = folder / "fleet.toml"
    lines = ['models = ["net.json"]', "samples = 0", "thinned = 0", f"rounds = {ROUNDS}", extra]
    for name, options in boards.items():
        lines += ["[[devices]]", f'name = "{name}"', f'runner = "fake://{name}"']
        lines += [f"options = {{ {options} }}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runs(main, capsys)


def rounds_of(table: Path) -> dict[str, list[Round]]:
    return {op.digest: list(row.rounds) for op, row in LatencyTable.load(table).rows.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that was profiled: three boards of a kind, one of them slower."""
    folder = tmp_path_factory.mktemp("fleet")
    path = write_fleet(folder, {"a": "", "b": "", "c": "slower = 1.2"})
    found = cm.profile_fleet(path)
    assert found.is_done, found.to_json()
    return path


def test_boards_of_a_kind_share_a_design(done: Path) -> None:
    found = cm.fleet_status(done)
    assert {name: item.rows for name, item in found.standings.items()} == dict.fromkeys(
        "abc", 2 * ROWS // 3
    )
    assert {item.state for item in found.standings.values()} == {"done"}
    (one,) = found.kinds
    assert (one.rows, one.single) == (ROWS, 0)
    assert [board.name for board in one.boards if board.apart] == ["c"]
    assert one.factor("c") == pytest.approx(1.2)
    table = LatencyTable.load(found.tables[one.device.fingerprint])
    assert {op.digest for op in table} >= set(rounds_of(found.fleet.table("a")))
    assert not (found.fleet.out / ".work").exists()


def test_status_is_told_in_words_and_as_json(done: Path, run: Run) -> None:
    code, out, _ = run("fleet", "status", done, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["done"], found["running"]) == (True, None)
    assert [item["name"] for item in found["devices"]] == ["a", "b", "c"]
    code, out, _ = run("fleet", "status", done)
    assert code == 0
    assert "3 of 3 devices are done; nobody drives it" in out
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
    same = cm.compare_fleet(done, net, cost="lookup", rounds=2)
    assert same.to_json().keys() == {"boards"}
    assert list(same.boards) == list(found)
    measured = {name: board["compared"][0]["measured_ms"] for name, board in found.items()}
    assert measured["c"] == pytest.approx(1.2 * measured["a"])


def test_two_drivers_refuse_each_other(done: Path) -> None:
    with hold(done.parent / "fleet-tables" / "fleet.lock", "the fleet"):
        assert "process" in fleet_status(done).running
        with pytest.raises(LockedError, match="the fleet"):
            profile_fleet(done)


def test_boards_are_grouped_by_what_they_are_once_that_is_known(tmp_path: Path) -> None:
    boards = dict.fromkeys("abc", "") | {"x": "speed = 2.0"}
    run = _Profiling(read_fleet(write_fleet(tmp_path, boards), parse_budget), None)
    tasks = {task.name: task for task in run.tasks}

    def together(*boards: str, without: str = "") -> Part:
        return Part(boards=boards, present=tuple(name for name in boards if name != without))

    # Not reached yet, they are taken for what the file says.
    assert run.begun(tasks["a"]) == together("a", "b", "c")
    assert run.begun(tasks["x"]) == together("x")
    tasks["a"].kind = tasks["b"].kind = "one"
    assert run.begun(tasks["c"]) == together("a", "b", "c")
    # One is another than it looked: those that have finished lack rows.
    for task in run.tasks:
        task.part, task.design, task.state = run.begun(task), 6, "done"
    tasks["c"].kind = "other"
    run._regroup()
    assert run.part_of(tasks["a"]) == together("a", "b")
    assert [task.name for task in run.tasks if task.state == "waiting"] == ["a", "b", "c"]
    # One that is away for good leaves its rows to the others; who has them all lacks none.
    tasks["a"].part = run.begun(tasks["a"])
    tasks["a"].state, tasks["b"].state = "done", "gone"
    run._regroup()
    assert run.part_of(tasks["a"]) == together("a", "b", without="b")
    assert tasks["a"].state == "done"


def late(tmp_path: Path, extra: str = "", boards: str = "abcd") -> dict[str, _BoardTask]:
    """Boards that are at work, of which b was away until now and d has come to its end."""
    run = _Profiling(
        read_fleet(write_fleet(tmp_path, dict.fromkeys(boards, ""), extra), parse_budget), None
    )
    for task in run.tasks:
        task.kind, task.state = "one", "running"
        task._begin(run.begun(task))
        task.take(Moved(done=60, total=100))
    tasks = {task.name: task for task in run.tasks}
    tasks["b"].moved = Moved(done=10, total=100)
    tasks["b"]._told = []
    if "d" in tasks:
        tasks["d"].take(Moved(done=100, total=100))
        tasks["d"].take(Finished(found={"rows": 50, "design": 100}, begun=1))
        tasks["d"].state = "done"
    tasks["b"]._begin(run.begun(tasks["b"]))
    run._regroup()
    return tasks


def test_a_board_that_was_away_leaves_rows_to_those_that_are_ahead(tmp_path: Path) -> None:
    tasks = late(tmp_path)
    share = tasks["b"].relieved
    # 90 visits against 40, 40 and none: 100 (1 - x / 90) = 2 (x - 40) + x.
    assert share == pytest.approx(1.0 - 43.8 / 90, abs=0.01)
    left = {name: task.moved.total - task.moved.done for name, task in tasks.items()}
    assert list(left.values()) == pytest.approx([44] * 4, abs=1)
    # Who has finished is asked anew; who is at work is told so with its next word, once.
    assert [name for name, task in tasks.items() if task.state == "waiting"] == ["d"]
    order = tasks["a"].take(Moved(done=61, total=100))
    assert order == Begin(part=tasks["b"].part)
    assert tasks["a"].take(Moved(done=62, total=104)) is None
    # Nothing is dealt twice, whoever begins next.
    tasks["d"]._begin(tasks["d"]._run.begun(tasks["d"]))
    assert tasks["b"].relieved == share
    # A job that had ended before it heard of it lacks those rows still.
    tasks["a"].take(Finished(found={"rows": 50, "design": 100}, begun=1))
    assert tasks["a"].lacks_rows
    assert tasks["c"].take(Moved(done=60, total=100)) == order
    tasks["c"].take(Finished(found={"rows": 58, "design": 100}, begun=2))
    assert not tasks["c"].lacks_rows
    # Another driver goes on with it.
    run = tasks["a"]._run
    run.save()
    again = {t.name: t for t in _Profiling(run.fleet, None).tasks}
    asked = {name: task.asked for name, task in tasks.items()}
    assert {name: task.asked for name, task in again.items()} == asked
    assert again["b"].relieved == share
    assert again["a"].part == Part(boards=tuple("abcd"), present=tuple("abcd"))
    assert again["c"].part == tasks["b"].part
    # Another question is dealt anew: how far they were says nothing of it.
    path = tmp_path / "fleet.toml"
    path.write_text(path.read_text().replace(f"rounds = {ROUNDS}", "rounds = 9"))
    anew = _Profiling(read_fleet(path, parse_budget), None)
    for task in anew.tasks:
        assert anew.begun(task).relieved == ()


def test_a_board_that_was_ended_has_made_the_visits_that_it_told(tmp_path: Path) -> None:
    task = late(tmp_path)["a"]
    task.take(Moved(done=70, total=104))
    task.take(Finished(found={"rows": 50, "design": 100}, begun=1, interrupted=True))
    assert (task.standing.done, task.standing.total) == (70, 104)


def test_rows_stay_where_nobody_could_take_them(tmp_path: Path) -> None:
    assert late(tmp_path, 'budget = "10m"')["b"].relieved == 0.0
    assert late(tmp_path / "two", boards="ab")["b"].relieved == 0.0


def order_of(task: _BoardTask) -> ProfileOrder:
    order = decode_order(task.post().order)
    assert isinstance(order, ProfileOrder)
    return order


def test_what_is_left_of_a_budget_goes_to_the_job_that_follows(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, {"a": ""}, 'budget = "10m"')

    def driver() -> Iterator[tuple[_Profiling, _BoardTask]]:
        run = _Profiling(read_fleet(path, parse_budget), None)
        (task,) = run.tasks
        with run._files_of_models():
            yield run, task

    for run, task in driver():
        assert order_of(task).budget_s == 600.0
        task.take(Moved(done=1, total=9, spent_s=100.0))
        task.take(Moved(spent_s=250.0))
        assert task.moved.total == 9
        # The job is lost: what follows it has the rest, and counts from there.
        assert order_of(task).budget_s == 350.0
        task.take(Moved(done=2, total=9, spent_s=50.0))
        run.save()
    # So does the job of another driver.
    for run, task in driver():
        assert order_of(task).budget_s == 300.0
        # Who has used it up gets what a profile takes at least, and nothing of another's rows.
        task.take(Moved(spent_s=301.0))
        assert order_of(task).budget_s == 0.001
        task.part = Part(boards=tuple("abcd"), present=tuple("abcd"))
        task.design, task.state = 6, "done"
        assert run.begun(task) == Part(boards=("a",), present=("a",))
        assert not task.lacks_rows
        task.spent_s = 599.0
        assert task.lacks_rows
        task.state = "stopped"
        run.save()
    # Another question has a budget of its own.
    path.write_text(path.read_text().replace("rounds = 4", "rounds = 6"))
    for _, task in driver():
        assert order_of(task).budget_s == 600.0


def test_a_job_tells_what_it_has_used(done: Path) -> None:
    saved = load_state(read_fleet(done, parse_budget))
    assert all(item.spent > 0.0 for item in saved.devices.values())


def test_a_device_is_done_while_it_is_asked_the_same_and_has_its_rows(
    done: Path, tmp_path: Path
) -> None:
    shutil.copytree(done.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / done.name

    def waiting() -> list[str]:
        state = {name: item.state for name, item in fleet_status(path).standings.items()}
        run = _Profiling(read_fleet(path, parse_budget), None)
        assert {task.name: task.state for task in run.tasks} == state
        return [name for name, told in state.items() if told != "done"]

    assert waiting() == []
    table = tmp_path / "fleet-tables" / "a.jsonl"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[:-1]))
    assert waiting() == ["a"]
    table.unlink()
    assert waiting() == ["a"]
    write_model(tmp_path / "net.json", OPS[:-1])  # another network of the same name
    assert waiting() == ["a", "b", "c"]


def test_boards_that_no_longer_agree_leave_no_table_of_both(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, {"a": "", "b": ""})
    fleet = read_fleet(path, parse_budget)

    def measured(factor: float) -> dict[str, Path]:
        for name, times in (("a", 1.0), ("b", factor)):
            device = Device(name="board", runtime="fake")
            rows = [row(op, times * law_ms(op)) for op in OPS[:-1]]
            LatencyTable(device, rows).save(fleet.table(name))
        return write_kinds(fleet, fleet_status(path).kinds)

    (written,) = measured(1.0).values()
    assert fleet_status(path).tables == {
        k.device.fingerprint: written for k in fleet_status(path).kinds
    }
    assert measured(1.5) == fleet_status(path).tables == {}
    assert not written.exists()


def test_a_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, {"a": ""})
    (tmp_path / "fleet-tables").mkdir()
    (tmp_path / "fleet-tables" / "fleet.json").write_text('{"id": "x", "format": 2}')
    with pytest.raises(InvalidInputError, match=r"fleet\.json is of format 2; .* reads 1\. Update"):
        fleet_status(path)


def test_progress_says_nothing_before_it_is_known_what_is_to_be_done(done: Path) -> None:
    told: list[tuple[int, ...]] = []

    class Told:
        def start(self, total: int) -> None:
            told.append((total,))

        def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
            told.append((done, total))

        def stop(self) -> None:
            told.append(())

    run = _Profiling(read_fleet(done, parse_budget), Told())
    for task in run.tasks:
        task.moved = Moved()
    run._look()
    assert told == []
    run.tasks[0].moved = Moved(done=1, total=4)
    run._saved_s = 0.0
    run._look()
    run._saved_s = 0.0
    run._look()
    assert told == [(4,), (1, 4), (1, 4)]


MISTAKES = {
    "no file": (("profile", "--fleet", "no.toml"), "no.toml cannot be read"),
    "an option of one device": (
        ("profile", "--fleet", "F", "--samples", 3),
        "--samples is for one device",
    ),
    "comparing by two": (("compare", "n.onnx", "--fleet", "F", "-t", "t.jsonl"), "--table is for"),
    "neither": (("profile",), "--fleet F.toml"),
    "nothing profiled": (("compare", "n.onnx", "--fleet", "F"), "has a table in"),
    "nothing to compare": (("compare", "--fleet", "F"), "has a table in"),
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


def wait_until(what: Callable[[], object]) -> None:
    until = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def started(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "costmodel", "profile", "--fleet", str(path), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(before: dict[str, list[Round]], after: dict[str, list[Round]]) -> bool:
    """Whether all that was there still is, and in its place."""
    return all(after[op][: len(rounds)] == rounds for op, rounds in before.items())


def test_no_row_is_lost_or_doubled_by_a_full_disk_a_signal_or_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_fleet(tmp_path, {"a": "realtime = true, noise = 0.02, seed = -1"})
    table = tmp_path / "fleet-tables" / "a.jsonl"

    def grown(lines: int) -> Callable[[], bool]:
        return lambda: table.exists() and table.read_bytes().count(b"\n") > lines

    # The driver's disk is full. What was on its way is in the job's copy.
    calls = []

    def full(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 3:
            message = "it cannot be added to: No space left on device."
            raise InvalidInputError(message)
        append_line(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "append_line", full)
        with pytest.raises(InvalidInputError, match="No space left"):
            profile_fleet(path)
    disk = rounds_of(table)
    (copy,) = (tmp_path / "fleet-tables" / ".work").rglob("table.jsonl")
    unseen = rounds_of(copy)
    assert kept(disk, unseen)
    assert sum(map(len, unseen.values())) > sum(map(len, disk.values()))
    # The same command goes on; a first ctrl-C ends it cleanly.
    with started(path) as driver:
        wait_until(grown(len(unseen) + 3))
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=LONG_S)
    assert driver.returncode == 130, err
    assert json.loads(out)["devices"][0]["state"] == "stopped"
    signalled = rounds_of(table)
    assert kept(disk, signalled)
    times = {item.quiet_ms for rounds in signalled.values() for item in rounds}
    assert {item.quiet_ms for rounds in unseen.values() for item in rounds} <= times
    # kill -9 leaves nothing running.
    with started(path) as driver:
        before = table.read_bytes().count(b"\n")
        wait_until(grown(before + 3))
        family = psutil.Process(driver.pid).children(recursive=True)
        assert "process" in fleet_status(path).running
        driver.send_signal(signal.SIGKILL)
        driver.communicate(timeout=LONG_S)
    _, alive = psutil.wait_procs(family, timeout=LONG_S)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    killed = rounds_of(table)
    found = fleet_status(path)
    assert (found.running, found.standings["a"].state) == ("", "stopped")
    assert profile_fleet(path).is_done
    end = rounds_of(table)
    assert len(end) == ROWS
    assert kept(signalled, end)
    assert kept(killed, end)
    for rounds in end.values():
        assert [item.number for item in rounds] == list(range(len(rounds)))
        assert len({item.median_ms for item in rounds}) == len(rounds) >= ROUNDS
    assert not (tmp_path / "fleet-tables" / ".work").exists()


def test_a_board_that_is_unplugged_is_waited_for(tmp_path: Path) -> None:
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16]) for name in "xy"]
    kinds = ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg")
    names = ["x", *kinds[:-1], "y"]
    chain = [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(kinds)]
    graph = helper.make_graph(chain, "net", shape[:1], shape[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    path = tmp_path / "fleet.toml"
    table = tmp_path / "fleet-tables" / "pi.jsonl"
    with SshServer(tmp_path) as board:
        options = ", ".join(f'{name} = "{value}"' for name, value in board.options.items())
        path.write_text(
            'models = ["net.onnx"]\nsamples = 0\nthinned = 0\nrounds = 12\npatience = "3m"\n'
            f'[[devices]]\nname = "pi"\nrunner = "{board.address}"\n'
            f"options = {{ {options}, reconnect_s = 0.2 }}\n",
            encoding="utf-8",
        )
        with started(path) as driver:
            wait_until(lambda: table.exists() and table.read_bytes().count(b"\n") > 4)
            board.stop()
            board.kill_agent()
            wait_until(lambda: fleet_status(path).standings["pi"].state == "away")
            before = rounds_of(table)
            board.start()
            _, err = driver.communicate(timeout=LONG_S)
        assert driver.returncode == 0, err
        assert "pi: " in err
        assert "It is tried again in 1 s." in err
    after = rounds_of(table)
    assert kept(before, after)
    assert len(after) > 6
    for rounds in after.values():
        assert [item.number for item in rounds] == list(range(len(rounds)))
