"""A fleet on a Ray cluster of several nodes: what is killed costs time, never a finished row."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ray_nodes import RayNodes
from rows import ADD, conv

from costmodel.errors import InvalidInputError
from costmodel.fleets.engine import Post
from costmodel.fleets.on_ray import RayEngine, Stand
from costmodel.runners.fake import write_model
from costmodel.table import LatencyTable
from costmodel.uses.fleets import fleet_status

pytest.importorskip("ray", reason="needs the fleet extra")

OPS = [*(conv(width) for width in range(8, 88, 8)), ADD]
#: Beside them there are the network itself and its session.
ROWS, ROUNDS = len(OPS) + 2, 12


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


def wait_until(what: Callable[[], object], limit_s: float = 240.0) -> None:
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
            assert len({item.median_ms for item in rounds}) == len(rounds)


def visits(path: Path) -> dict[str, list[Any]]:
    if not path.exists():
        return {}
    table = LatencyTable.load(path)
    return {op.digest: list(row.rounds) for op, row in table.rows.items()}


def test_a_node_and_the_driver_are_killed_and_a_board_waits_for_its_host(
    nodes: RayNodes, tmp_path: Path
) -> None:
    boards = {"a": "left", "b": "right", "c": "any", "d": "any"}
    path = write_fleet(tmp_path, nodes, boards | {"far": "nowhere"})
    tables = {name: tmp_path / "fleet-tables" / f"{name}.jsonl" for name in boards}
    with profiling(path) as driver:
        wait_until(lambda: all(lines_of(table) > 3 for table in tables.values()))
        nodes.kill("right")
        at_kill = {name: visits(table) for name, table in tables.items()}
        # The driver notices and goes on with those that are left; then it is killed, too.
        wait_until(lambda: fleet_status(path).standings["b"].state == "away")
        driver.send_signal(signal.SIGKILL)
        assert driver.stderr is not None
        said = driver.stderr.read()
    assert "b: its host or its job is gone" in said
    assert "far: no node of the cluster has the resource 'nowhere'. Start one there: ray" in said
    path = write_fleet(tmp_path, nodes, boards)
    assert fleet_status(path).running == ""
    nodes.revive("right")
    before = {name: visits(table) for name, table in tables.items()}
    for name, old in at_kill.items():
        assert all(before[name][op][: len(rounds)] == rounds for op, rounds in old.items())
    require_done(path)
    require_whole(path, before)
    assert not (tmp_path / "work").exists()


def test_a_host_with_another_version_is_refused(nodes: RayNodes) -> None:
    with pytest.raises(RuntimeError, match=r"its host has morphnet-latency .*, the driver 0\.0"):
        Stand("0.0", "costmodel.uses.fleet_job", b"", "", {})


class Cluster:
    """Stands for Ray: two nodes, one of which is gone, and actors that never get a place."""

    class exceptions:  # noqa: N801 - as in Ray
        RayError = RuntimeError

    def __init__(self) -> None:
        self.killed: list[object] = []

    def init(self, **_: object) -> None:
        """It is there."""

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "Resources": {"CPU": 4.0, "lab": 2.0, "half": 0.5}},
            {"Alive": False, "Resources": {"CPU": 64.0, "gone": 1.0}},
        ]

    def remote(self, **_: object) -> Callable[[type], Any]:
        made = MagicMock()
        made.options.return_value.remote.side_effect = lambda *_: MagicMock()
        return lambda _: made

    def kill(self, actor: object) -> None:
        self.killed.append(actor)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.setitem(sys.modules, "ray", found)
    return found


@pytest.mark.parametrize(
    ("host", "cpus", "problem"),
    [
        ("lab", 1.0, ""),
        ("half", 1.0, "no node of the cluster has the resource 'half'"),
        ("gone", 1.0, "no node of the cluster has the resource 'gone'"),
        ("", 4.0, ""),
        ("", 8.0, "no node of the cluster has 8 processors, at most 4"),
    ],
)
def test_a_place_that_no_node_has_is_told(
    cluster: Cluster, host: str, cpus: float, problem: str
) -> None:
    engine = RayEngine("auto")
    engine.open("a", Post(module="", order=b"", folder="", host=host, cpus=cpus), cpus)
    assert engine.problem("a").startswith(problem)
    assert bool(engine.problem("a")) == bool(problem)


def test_a_job_that_waits_for_a_place_ends_when_asked(cluster: Cluster) -> None:
    engine = RayEngine("auto")
    engine.open("a", Post(module="", order=b"", folder="", host="lab"), 1.0)
    engine.stop("a")
    assert len(cluster.killed) == 1


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def absent(**_: object) -> None:
        message = "Could not find any running Ray instance.\nMore."
        raise ConnectionError(message)

    monkeypatch.setattr(ray, "init", absent)
    with pytest.raises(InvalidInputError, match=r"no Ray cluster at 'auto': Could not.*ray start"):
        RayEngine("auto")
