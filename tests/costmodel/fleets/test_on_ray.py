"""A fleet on a Ray cluster of several nodes: what is killed costs time, never a finished row."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from ray_nodes import RayNodes
from rows import ADD, conv
from ssh_server import SshServer

from costmodel.errors import InvalidInputError
from costmodel.fleets.on_ray import RayEngine, Stand
from costmodel.runners.fake import write_model
from costmodel.table import LatencyTable
from costmodel.uses.fleets import fleet_status

pytest.importorskip("ray", reason="needs the fleet extra")

OPS = [*(conv(width) for width in range(8, 88, 8)), ADD]
#: Beside them there are the network itself and its session.
ROWS, ROUNDS = len(OPS) + 2, 3


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """One cluster for all tests."""
    hosts = {name: {name: 4.0, "any": 2.0} for name in ("left", "right")}
    with RayNodes(hosts) as started:
        yield started


def profiling(path: Path) -> subprocess.Popen[str]:
    """A driver, in a process of its own: Ray's threads and warnings stay out of this one."""
    command = [sys.executable, "-m", "costmodel", "profile", "--fleet", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def require_done(path: Path) -> None:
    with profiling(path) as driver:
        _, said = driver.communicate(timeout=300.0)
    assert driver.returncode == 0, said
    assert "Traceback" not in said


def write_fleet(folder: Path, nodes: RayNodes, hosts: dict[str, str], extra: str = "") -> Path:
    """Simulated boards by name and the host that reaches them."""
    write_model(folder / "net.json", OPS)
    path = folder / "fleet.toml"
    lines = [f'ray = "{nodes.address}"', 'models = ["net.json"]', "samples = 0", "thinned = 0"]
    lines += [f"rounds = {ROUNDS}", 'patience = "3m"', f'work = "{folder / "work"}"', extra]
    for name, host in hosts.items():
        lines += ["[[devices]]", f'name = "{name}"', f'runner = "fake://{name}"']
        lines += [f'host = "{host}"', "options = { realtime = true, noise = 0.02, seed = -1 }"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(what: Callable[[], object], limit_s: float = 150.0) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def require_whole(path: Path, before: dict[str, dict[str, list[Any]]]) -> None:
    """Every row on two boards, every visit once, and what was there before as it was."""
    found = fleet_status(path)
    (kind,) = found.kinds
    assert (kind.rows, kind.single) == (ROWS, 0)
    for device in found.fleet.devices:
        after = visits(found.fleet.table(device.name))
        for op, rounds in before.get(device.name, {}).items():
            assert after[op][: len(rounds)] == rounds
        for rounds in after.values():
            numbers = [item.number for item in rounds]
            assert numbers == list(range(len(numbers)))
            assert len({item.median_ms for item in rounds}) == len(rounds) >= 2


def visits(path: Path) -> dict[str, list[Any]]:
    if not path.exists():
        return {}
    table = LatencyTable.load(path)
    return {op.digest: list(row.rounds) for op, row in table.rows.items()}


def test_a_node_and_the_driver_are_killed_and_a_board_waits_for_its_host(
    nodes: RayNodes, tmp_path: Path
) -> None:
    boards = {"a": "left", "b": "right", "c": "any", "d": "any"}
    path = write_fleet(tmp_path, nodes, boards)
    tables = {name: tmp_path / "fleet-tables" / f"{name}.jsonl" for name in boards}
    with profiling(path) as driver:
        wait_until(lambda: all(lines_of(table) > 3 for table in tables.values()))
        nodes.kill("right")
        at_kill = {name: visits(table) for name, table in tables.items()}
        # The driver notices and goes on with those that are left; then it is killed, too.
        wait_until(lambda: fleet_status(path).standings["b"].state == "away")
        driver.send_signal(signal.SIGKILL)
        assert driver.stderr is not None
        assert "b: its host or its job is gone" in driver.stderr.read()
    assert fleet_status(path).running == ""
    nodes.revive("right")
    before = {name: visits(table) for name, table in tables.items()}
    for name, old in at_kill.items():
        assert all(before[name][op][: len(rounds)] == rounds for op, rounds in old.items())
    require_done(path)
    require_whole(path, before)
    assert not (tmp_path / "work").exists()


def test_rows_that_the_driver_did_not_see_come_from_the_hosts_copy(
    nodes: RayNodes, tmp_path: Path
) -> None:
    path = write_fleet(tmp_path, nodes, {"a": "left", "b": "left"})
    out = tmp_path / "fleet-tables"
    # A disk that is full for the driver alone, once its tables have grown so much.
    script = (
        "import resource, sys; from costmodel.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
        "main(['profile', '--fleet', sys.argv[2]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "5000", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be added to" in done.stderr
    assert "Traceback" not in done.stderr
    before = {name: visits(out / f"{name}.jsonl") for name in "ab"}
    assert sum(map(len, before.values())) > 0
    copies = {p.parent.name: visits(p) for p in (tmp_path / "work").rglob("table.jsonl")}
    assert any(
        len(rounds) > len(before[name].get(op, ()))
        for name, copy in copies.items()
        for op, rounds in copy.items()
    )
    require_done(path)
    require_whole(path, before)
    for name, copy in copies.items():
        after = visits(out / f"{name}.jsonl")
        for op, rounds in copy.items():
            assert {item.median_ms for item in rounds} <= {item.median_ms for item in after[op]}


def test_a_board_that_is_unplugged_is_waited_for_and_another_host_is_asked_for(
    nodes: RayNodes, tmp_path: Path
) -> None:
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16]) for name in "xy"]
    kinds = ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg")
    names = ["x", *kinds[:-1], "y"]
    chain = [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(kinds)]
    graph = helper.make_graph(chain, "net", shape[:1], shape[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    with SshServer(tmp_path) as board:
        options = ", ".join(f'{name} = "{value}"' for name, value in board.options.items())
        path = tmp_path / "fleet.toml"
        path.write_text(
            f'ray = "{nodes.address}"\nmodels = ["net.onnx"]\nsamples = 0\nthinned = 0\n'
            f'rounds = 20\npatience = "30s"\nwork = "{tmp_path / "work"}"\n'
            f'[[devices]]\nname = "pi"\nrunner = "{board.address}"\nhost = "left"\n'
            f"options = {{ {options}, reconnect_s = 0.2 }}\n"
            '[[devices]]\nname = "far"\nrunner = "fake://far"\nhost = "nowhere"\n',
            encoding="utf-8",
        )
        table = tmp_path / "fleet-tables" / "pi.jsonl"
        with profiling(path) as driver:
            wait_until(lambda: lines_of(table) > 6)
            board.stop()
            board.kill_agent()
            before = visits(table)
            wait_until(lambda: fleet_status(path).standings["pi"].state == "away")
            board.start()
            wait_until(lambda: fleet_status(path).standings["pi"].state == "done")
            driver.send_signal(signal.SIGINT)
            assert driver.stderr is not None
            said = driver.stderr.read()
        assert driver.returncode == 130, said
        assert "no node of the cluster has the resource 'nowhere'. Start one there: ray" in said
        after = visits(table)
        for op, rounds in before.items():
            assert after[op][: len(rounds)] == rounds
        for rounds in after.values():
            assert [item.number for item in rounds] == list(range(len(rounds)))


def test_a_host_with_another_version_is_refused(nodes: RayNodes) -> None:
    with pytest.raises(RuntimeError, match=r"its host has costmodel .*, the driver 0\.0"):
        Stand("0.0", "costmodel.uses.fleet_job", b"", "", {})


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def absent(**_: object) -> None:
        message = "Could not find any running Ray instance.\nMore."
        raise ConnectionError(message)

    monkeypatch.setattr(ray, "init", absent)
    with pytest.raises(InvalidInputError, match=r"no Ray cluster at 'auto': Could not.*ray start"):
        RayEngine("auto")
