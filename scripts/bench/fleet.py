"""Figure a of fleets: four boards with a node and the driver killed, and a thousand simulated ones.

    pip install -e '.[fleet]'                    # into an environment of its own, see below
    python scripts/bench/fleet.py                # 18 minutes, on a quiet machine
    python scripts/bench/fleet.py --ops 40 --devices 40 --dry   # a try of one minute, not kept

Part one: a simulated board profiles all rows alone, which takes the ten minutes of an ordinary
profile; then four of them on two nodes of a local Ray cluster share the rows, each on two boards. A
node is killed and comes back, and the driver is killed and started again. The ideal share is half
of what the board alone took. Beside Jupyter, as in the environment of the tests, importing Ray
takes 2.4 instead of 0.6 s of each of its processes (jsonschema then compiles grammars of
addresses): on two processors a start takes 18 instead of 7 s.

Part two: simulated devices in a few actors send made-up rows, real lines, as fast as they are
asked, to a driver that keeps them as it keeps any.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ledger
import psutil

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))

from ray_nodes import RayNodes

from costmodel.device import Device
from costmodel.fleets.driver import run_tasks
from costmodel.fleets.engine import Post
from costmodel.fleets.messages import (
    Begin,
    Described,
    Finished,
    Rows,
    decode_order,
    encode,
)
from costmodel.fleets.on_ray import RayEngine
from costmodel.measurement import Measurement, Round
from costmodel.op import conv_op
from costmodel.runners.fake import law_ms, write_model
from costmodel.table import LatencyTable
from costmodel.table_format import encode_header, encode_measurement, encode_round
from costmodel.uses import fleets

BOARDS = {"a": "left", "b": "right", "c": "any", "d": "any"}
#: Shares of the ideal wall time after which the node is killed, comes back, and the driver is
#: killed.
NODE_DIES, NODE_RETURNS, DRIVER_DIES = 0.25, 0.35, 0.55
MOST_WALL = 1.3
#: Actors that simulate devices, lines of one answer, and visits to each row.
HALLS, LINES, ROUNDS = 4, 64, 8


def ops(count: int) -> list[Any]:
    """Different convolutions."""
    return [
        conv_op(in_channels=4 * (n % 40 + 1), out_channels=8 * (n // 40 + 1), size=(14, 14),
                kernel=(3, 3))
        for n in range(count)
    ]  # fmt: skip


def fleet_file(folder: Path, boards: Mapping[str, str], address: str) -> Path:
    """Simulated boards that take their time."""
    lines = ['models = ["net.json"]', "samples = 0", "thinned = 0", 'patience = "5m"']
    if address:
        lines += [f'ray = "{address}"', f'work = "{folder / "work"}"']
    for name, host in boards.items():
        lines += ["[[devices]]", f'name = "{name}"', f'runner = "fake://{name}"']
        lines += ["options = { realtime = true, noise = 0.01, seed = -1 }"]
        lines += [f'host = "{host}"'] if host and address else []
    path = folder / "fleet.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


Visits = dict[tuple[str, str], tuple[Round, ...]]


def visits(path: Path) -> Visits:
    """Rounds by board and Op, as the tables have them now."""
    return {
        (table.stem, op.digest): row.rounds
        for table in sorted((path.parent / "fleet-tables").glob("*.jsonl"))
        for op, row in LatencyTable.load(table).rows.items()
    }


def start(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "costmodel", "profile", "--fleet", str(path)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Four:
    """What part one gave."""

    alone_s: float
    wall_s: float
    rows: int
    done: bool
    lost: int
    doubled: int
    single: int


def four_boards(folder: Path, count: int) -> Four:
    """Part one."""
    alone, shared = folder / "alone", folder / "shared"
    for part in (alone, shared):
        part.mkdir()
        write_model(part / "net.json", ops(count))
    began = time.perf_counter()
    if start(fleet_file(alone, {"a": ""}, "")).wait():
        message = "The board alone did not finish."
        raise SystemExit(message)
    alone_s = time.perf_counter() - began
    ideal_s = alone_s * 2 / len(BOARDS)
    hosts = {name: {name: 4.0, "any": 2.0} for name in ("left", "right")}
    seen: list[Visits] = []
    with RayNodes(hosts) as nodes:
        path = fleet_file(shared, BOARDS, nodes.address)
        began = time.perf_counter()
        driver = start(path)

        def wait_until(share: float) -> None:
            time.sleep(max(0.0, began + share * ideal_s - time.perf_counter()))

        wait_until(NODE_DIES)
        nodes.kill("right")
        seen.append(visits(path))
        wait_until(NODE_RETURNS)
        nodes.revive("right")
        wait_until(DRIVER_DIES)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        seen.append(visits(path))
        driver = start(path)
        code = driver.wait()
        wall_s = time.perf_counter() - began
    found = fleets.fleet_status(path)
    end = visits(path)
    return Four(
        alone_s=alone_s,
        wall_s=wall_s,
        rows=sum(kind.rows for kind in found.kinds),
        done=found.is_done and code == 0,
        lost=sum(
            item not in end.get(key, ())
            for once in seen
            for key, rounds in once.items()
            for item in rounds
        ),
        doubled=sum(_doubled(rounds) for rounds in end.values()),
        single=sum(kind.single for kind in found.kinds),
    )


def _doubled(rounds: tuple[Round, ...]) -> int:
    """Visits of one Op with the number or the times of another."""
    numbers = len(rounds) - len({item.number for item in rounds})
    times = len(rounds) - len({(item.quiet_ms, item.median_ms) for item in rounds})
    return max(numbers, times)


class Hall:
    """An actor that stands for many devices, each a state and no process; four make a kind."""

    def __init__(self, count: int) -> None:
        by_op, rows = [], []
        for op in ops(count):
            times = [law_ms(op) + n * 1e-6 for n in range(ROUNDS)]
            rounds = [Round(number=n, quiet_ms=t, median_ms=t) for n, t in enumerate(times)]
            by_op.append([encode_round(op, item).decode() for item in rounds])
            rows.append(encode_measurement(Measurement.from_rounds(op, rounds)))
        # Round by round, as a profile makes them.
        self._lines = [line for several in zip(*by_op, strict=True) for line in several]
        self._rows = b"".join(rows).decode()
        self._at: dict[str, int] = {}

    async def turn(self, name: str, order: bytes) -> list[bytes]:
        """What a device says next; it is never slow."""
        await asyncio.sleep(0.0)
        header = encode_header(Device(name=f"kind {int(name[1:]) // 4}", runtime="fake")).decode()
        if order and isinstance(decode_order(order), Begin):
            self._at[name] = 0
        at = self._at.get(name, -1)
        if at < 0:
            return [encode(Described(header=header))]
        if at >= len(self._lines):
            del self._at[name]
            return [encode(Finished(table=header + self._rows, found={"rows": 1}))]
        self._at[name] = at + LINES
        return [encode(Rows(lines=tuple(self._lines[at : at + LINES])))]


class _Booth:
    """One device's place in a hall, with the methods of an actor that the engine calls."""

    def __init__(self, hall: Any, name: str) -> None:
        self._hall, self._name = hall, name

    @property
    def turn(self) -> _Booth:
        return self

    def remote(self, order: bytes) -> Any:
        return self._hall.turn.remote(self._name, order)


class HallEngine(RayEngine):
    """The engine of a cluster, whose jobs sit in halls."""

    def __init__(self, address: str, count: int) -> None:
        super().__init__(address)
        hall = self._ray.remote(max_concurrency=2000, num_cpus=0)(Hall)
        self._halls = [hall.options(resources={f"hall{n}": 1}).remote(count) for n in range(HALLS)]

    def open(self, name: str, post: Post, cpus: float) -> None:
        """Give a device its place."""
        del cpus
        place = len(self._stands) % HALLS
        self._stands[name], self._posts[name] = _Booth(self._halls[place], name), post
        self.answer(name)

    def problem(self, name: str) -> str:
        """None: halls have room for all."""
        del name
        return ""

    def close(self, name: str, order: bytes = b"") -> None:
        """A device leaves; the hall stays."""
        del order
        self._stands[name] = None
        self._turns = {turn: other for turn, other in self._turns.items() if other != name}

    def end(self) -> None:
        """Leave the cluster."""
        self._stands.clear()
        super().end()


@dataclass(slots=True)
class Thousand:
    """What part two gave."""

    lines: int = 0
    loop_s: float = 0.0
    cpu_s: float = 0.0
    before_mib: float = 0.0
    peak_mib: float = 0.0
    rest_s: float = 0.0
    wrong: int = 0


def thousand(folder: Path, devices: int, rows: int) -> Thousand:
    """Part two: the driver is this process."""
    found = Thousand()
    folder = folder / "thousand"
    folder.mkdir()
    write_model(folder / "net.json", ops(1))
    hosts = {f"hall{n}": {f"hall{n}": 1.0} for n in range(HALLS)}
    process = psutil.Process()
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.1):
            found.peak_mib = max(found.peak_mib, process.memory_info().rss / 2**20)

    def timed(*arguments: Any, **options: Any) -> None:
        found.before_mib = process.memory_info().rss / 2**20
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        cpu, began = sum(process.cpu_times()[:2]), time.perf_counter()
        run_tasks(*arguments, **options)
        found.loop_s = time.perf_counter() - began
        found.cpu_s = sum(process.cpu_times()[:2]) - cpu
        stopped.set()
        watcher.join()

    with RayNodes(hosts) as nodes:
        path = fleet_file(folder, {f"n{n:04}": "hall" for n in range(devices)}, nodes.address)

        @contextlib.contextmanager
        def opened(address: str) -> Iterator[HallEngine]:
            engine = HallEngine(address, rows)
            try:
                yield engine
            finally:
                engine.end()

        began = time.perf_counter()
        with (
            patch.object(fleets, "opened_engine", opened),
            patch.object(fleets, "run_tasks", timed),
        ):
            status = fleets.profile_fleet(path)
        found.rest_s = time.perf_counter() - began - found.loop_s
    found.lines = devices * rows * ROUNDS
    for name in status.standings:
        table = LatencyTable.load(status.fleet.table(name))
        found.wrong += rows - len(table)
        found.wrong += sum(len(row.rounds) != ROUNDS for row in table.values())
    return found


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--ops", type=int, default=1700, help="rows of part one")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100, help="of each device of part two")
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    if not arguments.dry:
        ledger.require_clean_tree()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder = Path(tempfile.mkdtemp(prefix="f"))
    # The simulated boards' locks are their own; they lie with everything else.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        four = four_boards(folder, arguments.ops)
        many = thousand(folder, arguments.devices, arguments.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    share = four.wall_s / (four.alone_s * 2 / len(BOARDS))
    killed = f"{four.rows} rows on four boards, a node and the driver killed"
    sent = f"{arguments.devices} simulated devices, {many.lines:,} lines"
    found = [
        ledger.figure("a1", f"rows lost: {killed}", four.lost, "visits", exactly=0,
                      sound=four.done),
        ledger.figure("a2", f"rows doubled: {killed}", four.doubled, "visits", exactly=0,
                      sound=four.done),
        ledger.figure("a3", "wall time as a multiple of the ideal share", share,
                      at_most=MOST_WALL, sound=four.done),
        ledger.figure("a4", "rows on one board only", four.single, "rows", exactly=0,
                      sound=four.done),
        ledger.figure("a5", f"lines kept in a second: {sent}", many.lines / many.loop_s, "1/s"),
        ledger.figure("a6", f"most memory of the driver: {sent}", many.peak_mib, "MiB"),
        ledger.figure("a7", f"lines lost or doubled: {sent}", many.wrong, "lines", exactly=0),
        ledger.figure("a8", "share of a processor that the driver works at",
                      many.cpu_s / many.loop_s),
    ]  # fmt: skip
    notes = [
        f"One board alone took {four.alone_s:.0f} s for all rows; four, each row on two of them, "
        f"{four.wall_s:.0f} s from the first start to the end of the second driver.",
        f"The thousand: {many.loop_s:.0f} s, {arguments.rows} rows of {ROUNDS} visits each, "
        f"{many.before_mib:.0f} MiB before the first; then {many.rest_s:.0f} s to start and to "
        "hold all tables against each other. The simulators share the machine with the driver.",
    ]
    if arguments.dry:
        for item in found:
            print(item["id"], ledger.cells(item))
        print(*notes, sep="\n")
    else:
        ledger.write("fleet", topic="trust", figures=found, notes=notes)
    return 0 if all(item["passed"] is not False for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
