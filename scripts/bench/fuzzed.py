"""Figure b of issue 20: what fuzzing has done so far, and damaged files through the command line.

    python scripts/fuzz/fuzz.py --minutes 60        # before: may be stopped and started at will
    python scripts/bench/fuzzed.py [--inputs 20000] [--batch 250] [--minutes M]

First the damaged files, ``--inputs`` of them in all, shared among the readers that a verb reaches:
each goes through a command line in a process that runs a batch of them; what ends such a process by
a signal, or keeps it busy beyond the limit, is counted. Batches that are done are kept in the
folder ``fuzz`` of ``$COSTMODEL_BENCH_DIR`` and on the page: this command goes on where it was
stopped, also on another machine, batches that went wrong are run again with later code, and
``--minutes`` stops it after so many. At the end everything that fuzzing has found is read once
more, and the page is written.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ledger
import psutil

sys.path.insert(0, str(ledger.ROOT / "scripts" / "fuzz"))

import fuzz
import readers
import starts
from account import Account, Finding, Session

from costmodel.streams import follow

HERE = ledger.ROOT / "scripts" / "fuzz"
#: Processor seconds of one command beyond which it hangs, and how often that is looked at.
LIMIT_S, _LOOK_S = 60.0, 1.0
#: Wall seconds without a word: the machine may be busy or stopped for a while.
_SILENCE_S = 1800.0
#: Executions and minutes that the issue asks for.
INPUTS, MINUTES = 20_000, 60.0
FINE = frozenset({"0", "1", "2"})


@dataclass(slots=True, kw_only=True)
class Batch:
    """What became of some damaged files.

    Attributes:
        reader: that they are for.
        first: number of the first.
        count: of them.
        commit: of the code.
        codes: how often each exit code came.
        tracebacks: how the others ended.
        hangs: numbers of those that did not end.
        crashes: numbers of those that the process died at, with its exit status.
        seconds: of wall time.
        before: how commands ended with earlier code that should not have ended so.
    """

    reader: str
    first: int
    count: int
    commit: str = ""
    codes: dict[str, int] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)
    hangs: list[int] = field(default_factory=list)
    crashes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    before: dict[str, str] = field(default_factory=dict)

    @property
    def bad(self) -> dict[str, str]:
        """How commands ended that should not have ended so, by number."""
        hangs = {str(number): "it did not end" for number in self.hangs}
        return {**self.tracebacks, **hangs, **self.crashes}


def prepare(kept: Account) -> Path:
    """The folder of the commands, with a network, a table and a list that they may need."""
    folder = kept.folder / "commands"
    folder.mkdir(exist_ok=True)
    if not (folder / "list.csv").exists():
        starts.beside(folder)
    return folder


def run_batch(folder: Path, batch: Batch) -> None:
    """Run one batch, in as many processes as its inputs end."""
    begin = time.perf_counter()
    at = batch.first
    while at < batch.first + batch.count:
        at = _part(folder, batch, at)
    batch.seconds = round(time.perf_counter() - begin, 1)


def _part(folder: Path, batch: Batch, first: int) -> int:
    """Run what is left of a batch in one process; the number that the next one begins with."""
    left = batch.first + batch.count - first
    command = [sys.executable, str(HERE / "commands.py"), str(folder), batch.reader]
    process = subprocess.Popen(
        [*command, str(first), str(left)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    reading = follow(process.stdout, lines.put, lambda: lines.put(None))
    present, began = first - 1, 0.0
    heard = time.perf_counter()
    try:
        while True:
            try:
                line = lines.get(timeout=_LOOK_S)
            except queue.Empty:
                if _is_stuck(process, began) or time.perf_counter() - heard > _SILENCE_S:
                    batch.hangs.append(present)
                    return present + 1
                continue
            if line is None:
                process.wait()  # it has closed its stream, and is about to end
                break
            heard = time.perf_counter()
            told = json.loads(line)
            present = told["number"]
            if "cpu" in told:
                began = told["cpu"]
            else:
                _count(batch, told)
    finally:
        process.kill()
        status = process.wait()
        reading.join()
        if process.stdout is not None:
            process.stdout.close()
    if present + 1 < first + left or status:
        batch.crashes[str(present)] = f"ended with {status}"
    return max(present + 1, first + 1)


def _is_stuck(process: subprocess.Popen[bytes], began: float) -> bool:
    try:
        used = float(sum(psutil.Process(process.pid).cpu_times()[:2]))
        return used - began > LIMIT_S
    except psutil.Error:
        return False


def _count(batch: Batch, told: Mapping[str, Any]) -> None:
    code = str(told["ended"])
    if code in FINE:
        batch.codes[code] = batch.codes.get(code, 0) + 1
    else:
        batch.tracebacks[str(told["number"])] = code


def batches(inputs: int, size: int) -> list[Batch]:
    """All that are to be run: the readers in turn, so that a part of them has some of each."""
    reached = [reader.name for reader in readers.READERS if reader.commands]
    found = []
    for number in range(-(-inputs // size)):
        reader = reached[number % len(reached)]
        first = number // len(reached) * size
        found.append(Batch(reader=reader, first=first, count=min(size, inputs - number * size)))
    return found


def done_batches(path: Path) -> dict[tuple[str, int], Batch]:
    """Those that were run already, by reader and first number."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            batch = Batch(**json.loads(line))
        except ValueError:  # torn
            continue
        found[batch.reader, batch.first] = batch
    return found


def by_reader(sessions: Sequence[Session]) -> dict[str, tuple[float, int]]:
    """Minutes and executions of each reader."""
    found: dict[str, tuple[float, int]] = {reader.name: (0.0, 0) for reader in readers.READERS}
    for item in sessions:
        minutes, executions = found.get(item.reader, (0.0, 0))
        found[item.reader] = minutes + item.seconds / 60.0, executions + item.executions
    return found


def main() -> None:
    """Run what is left, read all findings again, write the page."""
    parser = ledger.parser(__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many; 0: never")
    asked = parser.parse_args()
    ledger.require_clean_tree()
    kept = fuzz.account()
    for reader in readers.READERS:
        fuzz.plant(kept, reader)
    folder = prepare(kept)
    path = kept.folder / "batches.jsonl"
    if not path.exists():  # another machine has begun
        told = ledger.record("fuzzed").get("batches", [])
        path.write_text("".join(f"{json.dumps(item)}\n" for item in told), encoding="utf-8")
    begin = time.perf_counter()
    done = done_batches(path)
    for batch in batches(asked.inputs, asked.batch):
        earlier = done.get((batch.reader, batch.first))
        if earlier is not None:
            if not earlier.bad or earlier.commit == ledger.commit():
                continue
            batch.before = earlier.before | earlier.bad
        if asked.minutes and time.perf_counter() - begin > asked.minutes * 60.0:
            print("Stopped; the same command goes on.")
            break
        batch.commit = ledger.commit()
        run_batch(folder, batch)
        done[batch.reader, batch.first] = batch
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(batch)) + "\n")
        print(f"{batch.reader} {batch.first}: {batch.codes} {batch.tracebacks} {batch.crashes} "
              f"{batch.seconds} s", flush=True)  # fmt: skip
    write(kept, list(done.values()))


def write(kept: Account, done: Sequence[Batch]) -> None:
    """Write the page."""
    now, known = {}, {}
    for told in ledger.record("fuzzed").get("findings", []):  # on other machines
        fields = {name: told[name] for name in Finding.__dataclass_fields__}
        known[told["key"]], now[told["key"]] = Finding(**fields), told["now"]
    for item, path in kept.findings():
        known[item.key], now[item.key] = item, fuzz.again(item, path)
    still = {key: text for key, text in now.items() if text}
    spent = by_reader(kept.sessions())
    minutes = sum(m for m, _ in spent.values())
    count = sum(batch.count for batch in done)
    tracebacks = {f"{b.reader} {n}": text for b in done for n, text in b.tracebacks.items()}
    crashes = {f"{b.reader} {n}": text for b in done for n, text in b.crashes.items()}
    mended = [f"{b.reader} {n} ({text})" for b in done for n, text in b.before.items()]
    hangs = [f"{batch.reader} {number}" for batch in done for number in batch.hangs]
    figures = [
        ledger.figure("b-minutes", "fuzzing of all readers, processor time", minutes, "minutes",
                      at_least=MINUTES),
        ledger.figure("b-executions", "inputs that were read while fuzzing",
                      sum(n for _, n in spent.values())),
        ledger.figure("b-fixed", "sorts of findings of fuzzing that end well now",
                      len(now) - len(still)),
        ledger.figure("b-open", "sorts of findings that do not", len(still), exactly=0),
        ledger.figure("b-inputs", "damaged files through the command line", count,
                      at_least=INPUTS),
        ledger.figure("b-tracebacks", f"of {count:,} damaged files: tracebacks", len(tracebacks),
                      exactly=0),
        ledger.figure("b-hangs", f"of {count:,} damaged files: not done after {LIMIT_S:.0f} s",
                      len(hangs), exactly=0),
        ledger.figure("b-crashes", f"of {count:,} damaged files: the process died", len(crashes),
                      exactly=0),
    ]  # fmt: skip
    rows = (
        f"{name} | {m:.1f} | {n:,} | {sum(1 for f in known.values() if f.reader == name)} | "
        f"{sum(1 for key in still if known[key].reader == name)} | "
        f"{sum(batch.count for batch in done if batch.reader == name):,}"
        for name, (m, n) in spent.items()
    )
    columns = "reader | minutes | executions | sorts found | open | files through the command line"
    ledger.write(
        "fuzzed",
        topic="trust",
        figures=figures,
        detail={
            "readers": {name: {"minutes": m, "executions": n} for name, (m, n) in spent.items()},
            "findings": [
                {**asdict(item), "key": key, "now": now[key]} for key, item in known.items()
            ],
            "tracebacks": tracebacks,
            "hangs": hangs,
            "crashes": crashes,
            "codes": _summed(done),
            "sessions": [asdict(item) for item in kept.sessions()],
            "batches": [asdict(batch) for batch in done],
        },
        notes=[
            ledger.table(columns, rows),
            "Coverage-guided fuzzing by atheris; minutes are processor time of what fuzzes. "
            "A sort of finding is a reader, an error's class and the function that it came from.",
            f"Run again with later code after: {'; '.join(mended) or 'nothing'}.",
        ],
    )


def _summed(done: Sequence[Batch]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in done:
        for code, number in batch.codes.items():
            found[code] = found.get(code, 0) + number
    return found


if __name__ == "__main__":
    main()
