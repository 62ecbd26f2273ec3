"""Soak: one process profiles and compares in turns for hours; does it grow, or leave anything?

    python scripts/bench/soak.py [--minutes 120] [--runner ort] [--try]

Every turn profiles a small network into a new table, compares it with the clock, and goes over the
table again as a resumed profile does. After each turn the process's own memory, its open files and
threads are noted, processes that still carry its mark, and what lies in its folder for temporary
files. Turns are kept in the folder ``soak`` of ``$COSTMODEL_BENCH_DIR``, one in half a minute also
on the page: minutes of several runs add up, those of other machines, too, each run with a level of
its own, so the script may be stopped and started at any time; ``--now M`` stops it after so many
and writes the page of what there is. With ``--try`` nothing is written into the ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import ledger
import numpy as np
import place
import psutil

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))
from small_models import chain

import costmodel as cm

#: Names the processes of one run to whoever looks for them.
MARK = "COSTMODEL_SOAK"
#: A process fills its caches first: what it holds before is no growth, in seconds.
WARM_S = 60.0
#: How much a process may grow in an hour, in MiB; it holds some 150.
MOST_MIB_PER_HOUR = 4.0
#: Longest that a worker may outlive its turn, in seconds.
ORPHAN_S = 3.0
#: Seconds between turns that the page keeps.
PAGE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What was there after one turn.

    Attributes:
        run: which process it was.
        seconds: since that began.
        memory_mib: resident.
        files: open.
        threads: running.
        orphans: processes of earlier turns.
        temporary: files and folders in the folder for them, locks aside.
        commit: of the code.
    """

    run: str
    seconds: float
    memory_mib: float
    files: int
    threads: int
    orphans: int
    temporary: int
    commit: str = field(default_factory=ledger.commit)


def others_of(mark: str) -> list[psutil.Process]:
    """Processes beside this one that carry the mark, wherever they belong by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def child(runner: str, minutes: float) -> None:
    """Take turns, and say a line after each."""
    mark, folder = os.environ[MARK], Path(os.environ["TMPDIR"])
    work = folder.with_name(f"{folder.name}-work")
    model = work / "net.onnx"
    model.write_bytes(chain().SerializeToString())
    process, begin = psutil.Process(), time.perf_counter()
    while (seconds := time.perf_counter() - begin) < 60.0 * minutes:
        table = work / "t.jsonl"
        table.unlink(missing_ok=True)
        for _ in range(2):  # the second goes over what is there
            cm.profile(table, runner=runner, models=model, samples=0, thinned=0, rounds=2)
        cm.compare(model, table, cost="lookup", rounds=2)
        _, alive = psutil.wait_procs(others_of(mark), timeout=ORPHAN_S)
        turn = Turn(
            run=mark,
            seconds=round(seconds, 1),
            memory_mib=round(process.memory_info().rss / 2**20, 2),
            files=process.num_fds(),
            threads=process.num_threads(),
            orphans=sum(item.status() != psutil.STATUS_ZOMBIE for item in alive),
            temporary=sum(".lock" not in item.name for item in folder.iterdir()),
        )
        print(json.dumps(asdict(turn)), flush=True)


def turns(runner: str, minutes: float) -> Iterator[Turn]:
    """The turns of a new process."""
    mark = uuid.uuid4().hex[:8]
    folder = place.folder("soak") / mark
    work = folder.with_name(f"{folder.name}-work")
    folder.mkdir()
    work.mkdir()
    command = [sys.executable, __file__, "--child", "--runner", runner, "--minutes", str(minutes)]
    variables = {**os.environ, MARK: mark, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield Turn(**json.loads(line))
        finally:
            process.terminate()
    if process.returncode:
        message = f"The process ended with {process.returncode}."
        raise SystemExit(message)
    for path in (folder, work):
        shutil.rmtree(path)


def growth(found: Sequence[Turn]) -> tuple[float, float]:
    """What memory grows by in MiB per hour, each run with a level of its own, and its error.

    Both are NaN where there are too few turns to tell.
    """
    hours, memory, runs = [], [], set()
    for run in dict.fromkeys(item.run for item in found):
        own = [item for item in found if item.run == run and item.seconds >= WARM_S]
        if len(own) > 2:
            x = np.array([item.seconds / 3600.0 for item in own])
            y = np.array([item.memory_mib for item in own])
            hours.append(x - x.mean())
            memory.append(y - y.mean())
            runs.add(run)
    if not hours:
        return float("nan"), float("nan")
    x, y = np.concatenate(hours), np.concatenate(memory)
    slope = float(x @ y / (x @ x))
    freedom = max(1, len(x) - len(runs) - 1)
    return slope, float(np.sqrt(((y - slope * x) ** 2).sum() / freedom / (x @ x)))


def thinned(found: Sequence[Turn]) -> list[Turn]:
    """One turn in half a minute, and every one that left something: enough to go on from."""
    kept: list[Turn] = []
    for item in found:
        is_new = not kept or item.run != kept[-1].run or item.seconds - kept[-1].seconds >= PAGE_S
        if is_new or item.orphans or item.temporary:
            kept.append(item)
    return kept


def minutes_of(found: Sequence[Turn]) -> float:
    """How long all runs have taken."""
    ends = {item.run: item.seconds for item in found}
    return sum(ends.values()) / 60.0


def figures(found: Sequence[Turn], runner: str, asked: float) -> list[ledger.Figure]:
    """What the issue asks for."""
    minutes = minutes_of(found)
    slope, error = growth(found)
    long_enough = minutes >= 0.99 * asked
    over = f"over {minutes:.0f} minutes and {len(found)} turns on {runner}"
    level = float(np.median([item.memory_mib for item in found]))
    return [
        ledger.figure(
            "e1", f"memory of the process, which holds {level:.0f} MiB, grows by {over}",
            slope, "MiB per hour", at_most=MOST_MIB_PER_HOUR, sound=long_enough,
            repeatability=f"standard error {error:.2g}",
        ),
        ledger.figure(
            "e2", f"processes left behind by any turn {over}",
            max(item.orphans for item in found), "processes", exactly=0, sound=long_enough,
        ),
        ledger.figure(
            "e3", f"temporary files and folders left behind {over}",
            max(item.temporary for item in found), "of them", exactly=0, sound=long_enough,
        ),
        *(
            ledger.figure(
                name, f"{what} of the process, most less least after the first minute {over}",
                _range([getattr(t, kind) for t in found if t.seconds >= WARM_S]), unit,
                at_most=2, sound=long_enough,
            )
            for name, what, kind, unit in (
                ("e4", "open files", "files", "files"),
                ("e5", "threads", "threads", "threads"),
            )
        ),
    ]  # fmt: skip


def _range(numbers: Sequence[int]) -> int:
    return max(numbers, default=0) - min(numbers, default=0)


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--now", type=float, default=float("inf"), help="of these, at most now")
    parser.add_argument("--runner", default="ort")
    parser.add_argument("--try", action="store_true", dest="tried", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.runner, arguments.minutes)
        return 0
    if not arguments.tried:
        ledger.require_clean_tree()
    book = place.folder("soak") / f"{arguments.runner}.jsonl"
    if not book.exists():  # another machine has begun
        turns_before = ledger.record("soak").get("turns", []) if arguments.runner == "ort" else []
        book.write_text("".join(f"{json.dumps(item)}\n" for item in turns_before), encoding="utf-8")
    found = [Turn(**json.loads(line)) for line in book.read_text(encoding="utf-8").splitlines()]
    left = min(arguments.now, arguments.minutes - minutes_of(found))
    with book.open("a", encoding="utf-8") as file:
        for turn in turns(arguments.runner, left) if left > 0 else ():
            found.append(turn)
            file.write(json.dumps(asdict(turn)) + "\n")
            file.flush()
            print(turn, flush=True)
    taken = figures(found, arguments.runner, arguments.minutes)
    for item in taken:
        print(f"{item['id']}: {ledger.cells(item)}")
    if arguments.tried:
        return 0
    commits = Counter(item.commit for item in found)
    note = (
        f"{len({item.run for item in found})} runs. Turns by code: "
        f"{', '.join(f'{name} {count}' for name, count in commits.most_common())}."
    )
    detail = {"turns": [asdict(item) for item in thinned(found)]}
    ledger.write("soak", topic="trust", figures=taken, detail=detail, notes=[note])
    return 0 if all(item["passed"] for item in taken) else 1


if __name__ == "__main__":
    sys.exit(main())
