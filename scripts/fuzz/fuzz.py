"""Fuzz what reads other people's files, reader by reader, and go on where the last run ended.

    python scripts/fuzz/fuzz.py [READER ...] [--minutes 60] [--stretch 60]

Each reader gets a stretch of processor time in turn, in a process of its own that may crash, hang
or run out of memory. Inputs that reach something new, counts and findings are kept in the folder
``fuzz`` of ``$COSTMODEL_BENCH_DIR``; ``scripts/bench/fuzzed.py`` makes figures of them. It needs
atheris (extra ``fuzz``). ``--list`` shows what was done so far; ``--again`` reads everything that
was ever found once more, and says what still ends as it must not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import ledger
import place
import psutil
import readers
from account import LIMIT_S, Account, Finding, Present, Session
from starts import MOST_BYTES

HERE = Path(__file__).resolve().parent
#: How often a process is looked at, in seconds, and how much longer than allowed it may be stuck.
_LOOK_S, _PATIENCE = 1.0, 2.0
#: Longest that importing and reading the corpus once may take without a word, in seconds.
_QUIET_S = 1200.0
_AGAIN_S = 60.0
_IDLE_LOOKS = 120


def account() -> Account:
    """Where everything is kept, with the stretches that the page tells of."""
    kept = Account(place.folder("fuzz"))
    if not kept.sessions():  # another machine has begun
        for told in ledger.record("fuzzed").get("sessions", []):
            kept.add(Session(**told))
    return kept


def plant(kept: Account, reader: readers.Reader) -> None:
    """Write the small files that fuzzing starts from, once; the corpus begins with them."""
    folder = kept.starts(reader.name)
    if any(folder.iterdir()):
        return
    for data in reader.starts():
        if len(data) <= MOST_BYTES:
            name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            for home in (kept.corpus(reader.name), folder):
                (home / name).write_bytes(data)


def stretch(kept: Account, reader: readers.Reader, seconds: float, commit: str) -> Session:
    """Fuzz one reader for some processor time; a process that dies or hangs is a finding.

    Raises:
        SystemExit: if fuzzing does not begin at all.
    """
    kept.settle(reader.name)  # of a run that was stopped
    command = [sys.executable, str(HERE / "one.py"), reader.name, str(kept.folder)]
    path = kept.folder / reader.name / "log.txt"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [*command, str(seconds), commit], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            ended = _watched(kept, reader.name, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = path.read_text("utf-8", "replace")
    session = kept.settle(reader.name)
    if session is None:
        message = f"{reader.name}: fuzzing does not begin ({ended}): {said[-2000:]}"
        raise SystemExit(message)
    if ended:
        data, _ = Present(kept.present(reader.name)).held()
        text = f"{ended}: {said[-300:]}"
        kept.keep(
            Finding(reader=reader.name, sort="death", where=ended, text=text, commit=commit), data
        )
    return session


def _watched(kept: Account, name: str, process: subprocess.Popen[bytes]) -> str:
    """How a process ended where it should not have; empty where it ended when its time was over."""
    seen = psutil.Process(process.pid)
    present = Present(kept.present(name))
    before, idle = 0.0, 0
    while process.poll() is None:
        time.sleep(_LOOK_S)
        with contextlib.suppress(psutil.Error):
            used = sum(seen.cpu_times()[:2])
            # Looks are counted, not seconds: both may have been stopped for a while.
            idle = idle + 1 if used == before else 0
            before = used
            if idle > _IDLE_LOOKS:
                process.kill()
                process.wait()
                return "waits for ever"
            began = present.held()[1] if kept.progress(name).exists() else used
            if used - began > LIMIT_S * _PATIENCE and used > LIMIT_S * _PATIENCE:
                process.kill()
                process.wait()
                return "stuck in native code"
            if used > _QUIET_S and not kept.progress(name).exists():
                process.kill()
                process.wait()
                return "never began"
    return f"ended with {process.returncode}" if process.returncode else ""


def again(finding: Finding, path: Path) -> str:
    """How a reader ends now at what was once found; empty where it ends as it should.

    The input is read in a process of its own.
    """
    code = (
        "import sys; from pathlib import Path; import readers\n"
        "from costmodel.errors import CostModelError\n"
        "try: readers.reader_of(sys.argv[1]).read(Path(sys.argv[2]))\n"
        "except CostModelError: pass\n"
    )
    ending = readers.reader_of(finding.reader).ending
    copy = path.with_name(f"model{ending}")
    copy.write_bytes(path.read_bytes())
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, finding.reader, str(copy)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_AGAIN_S,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(ledger.ROOT)])},
        )
    except subprocess.TimeoutExpired:
        return f"not done after {_AGAIN_S:.0f} s"
    finally:
        copy.unlink()
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"{last[:200]} ({done.returncode})" if done.returncode else ""


def shown(kept: Account) -> str:
    """A line for each reader."""
    sums: dict[str, list[float]] = {}
    for item in kept.sessions():
        found = sums.setdefault(item.reader, [0.0, 0.0])
        found[0] += item.seconds / 60.0
        found[1] += item.executions
    lines = [f"{name}: {m:.1f} minutes, {int(n):,} executions" for name, (m, n) in sums.items()]
    return "\n".join([*lines, f"all: {sum(m for m, _ in sums.values()):.1f} minutes"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz, list, or read again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reader", nargs="*", help="default: all, in turn")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time, together")
    parser.add_argument("--stretch", type=float, default=60.0, help="seconds of one turn")
    parser.add_argument("--list", action="store_true", help="what was done so far")
    parser.add_argument("--again", action="store_true", help="read all findings once more")
    asked = parser.parse_args(arguments)
    kept = account()
    if asked.list:
        print(shown(kept))
        return
    if asked.again:
        for finding, path in kept.findings():
            if not asked.reader or finding.reader in asked.reader:
                name = f"{finding.key} {finding.reader} {finding.sort} {finding.where}"
                print(f"{name}: {again(finding, path) or 'well'}", flush=True)
        return
    chosen = [readers.reader_of(name) for name in asked.reader] or list(readers.READERS)
    left = asked.minutes * 60.0
    while left > 0:
        for reader in chosen:
            plant(kept, reader)
            session = stretch(kept, reader, min(asked.stretch, left), ledger.commit())
            left -= max(session.seconds, 1.0)
            done = f"{session.executions:,} executions in {session.seconds:.0f} s"
            print(f"{session.reader}: {done}, {session.findings} new", flush=True)
            if left <= 0:
                break


if __name__ == "__main__":
    main()
