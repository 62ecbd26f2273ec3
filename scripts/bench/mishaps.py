"""What may befall a command beside a kill: a trial of every verb, for ``kills.py``.

A full disk, a quota, a folder that is read-only, a wall clock that jumps, a sleep of more than a
minute, two of the same command at once, and the lock of another user.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ledger
import psutil
from trials import PATIENCE_S, Bench, Command, Trial

from killed import OUT, damage  # isort: skip

from costmodel.table import LatencyTable

#: A sleep that is longer than a worker may be silent.
ASLEEP_S = 75.0
#: Bytes of the full disk, and of the largest file that the quota allows.
SMALL_DISK, SMALL_FILE = 4096, 700


@contextlib.contextmanager
def small_disk(out: Path, size: int) -> Iterator[None]:
    """A disk of a few bytes in place of a folder, while the body runs."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(out)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(out)], check=True)


def remount(out: Path, options: str) -> None:
    """Change the disk that is mounted there."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(out)], check=True)


def refused(trial: Trial, code: int, said: str, words: str) -> None:
    """Note whether a command ended as it should: with one message, and no traceback."""
    if code != 2 or "Traceback" in said or words not in said:
        trial.problems.append(f"it ended with {code} and said: {said[-300:]}")


@dataclass(slots=True)
class Mishaps:
    """What may happen beside kills, each a trial of one verb.

    Attributes:
        bench: what they share with the kills.
    """

    bench: Bench

    def trials(self) -> dict[str, Callable[[Trial], None]]:
        """All of them by name; those that need root only where that is us."""
        found: dict[str, Callable[[Trial], None]] = {}
        root = os.geteuid() == 0
        writers = [name for name in self.bench.verbs if name != "profile by ssh"]
        for name in writers:
            if root:
                found[f"{name}, a full disk"] = self._bound(self._full, name)
                found[f"{name}, a read-only folder"] = self._bound(self._read_only, name)
            found[f"{name}, a quota"] = self._bound(self._quota, name)
            found[f"{name}, a clock that jumps"] = self._bound(self._jumps, name)
            found[f"{name}, two at once"] = self._bound(self._two, name)
        for name in ("profile", "profile by ssh", "train"):
            found[f"{name}, asleep for {ASLEEP_S:.0f} s"] = self._bound(self._asleep, name)
        if root and shutil.which("setpriv"):
            found["profile, the lock of another user"] = self._two_users
        return found

    def _bound(
        self, what: Callable[[Trial, str, Path], None], name: str
    ) -> Callable[[Trial], None]:
        def run(trial: Trial) -> None:
            self.bench.whole(name)
            what(trial, name, self.bench.fresh(name))

        return run

    def _after(self, trial: Trial, name: str, out: Path, told: Mapping[Any, float]) -> None:
        broken = damage(out)
        trial.unreadable += len(broken)
        trial.problems += [f"{item}: {why}" for item, why in broken.items()]
        self.bench.resume(trial, name, out, told)

    def _full(self, trial: Trial, name: str, out: Path) -> None:
        with small_disk(out, SMALL_DISK):
            command = Command.start(self.bench.verbs[name], out)
            code, said = command.end(kill=False)
            refused(trial, code, said, "No space left")
            remount(out, "size=64m")
            self._after(trial, name, out, command.rounds)

    def _read_only(self, trial: Trial, name: str, out: Path) -> None:
        with small_disk(out, 64 << 20):
            remount(out, "ro")
            command = Command.start(self.bench.verbs[name], out)
            code, said = command.end(kill=False)
            refused(trial, code, said, "Read-only file system")
            remount(out, "rw")
            self._after(trial, name, out, {})

    def _quota(self, trial: Trial, name: str, out: Path) -> None:
        limit = (SMALL_FILE, SMALL_FILE)
        command = Command.start(
            self.bench.verbs[name], out,
            before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        )  # fmt: skip
        code, said = command.end(kill=False)
        refused(trial, code, said, "too large")
        self._after(trial, name, out, command.rounds)

    def _jumps(self, trial: Trial, name: str, out: Path) -> None:
        command = Command.start(self.bench.verbs[name], out, jumps=True)
        code, said = command.end(kill=False)
        if code:
            trial.problems.append(f"it ended with {code} and said: {said[-300:]}")
        self._after(trial, name, out, command.rounds)

    def _two(self, trial: Trial, name: str, out: Path) -> None:
        verb = self.bench.verbs[name]
        both = [Command.start(verb, out), Command.start(verb, out)]
        ends = [command.end(kill=False) for command in both]
        for code, said in ends:
            if code:
                refused(trial, code, said, "Another ")
        if not any(code == 0 for code, _ in ends):
            trial.problems.append("both were refused")
        told = {**both[0].rounds, **both[1].rounds}
        trial.doubled += len(both[0].rounds.keys() & both[1].rounds)
        self._after(trial, name, out, told)

    def _asleep(self, trial: Trial, name: str, out: Path) -> None:
        steps, _ = self.bench.whole(name)
        command = Command.start(self.bench.verbs[name], out)
        command.follow(max(1, steps // 2))
        every = [psutil.Process(command.process.pid)]
        every += every[0].children(recursive=True)
        for process in every:
            process.suspend()
        time.sleep(ASLEEP_S)
        for process in reversed(every):
            process.resume()
        code, said = command.end(kill=False)
        if code:
            trial.problems.append(f"it ended with {code} and said: {said[-300:]}")
        table = self.bench.verbs[name].table
        if table:
            rows = LatencyTable.load(out / table).values()
            failed = [row.reason for row in rows if not row.has_number]
            trial.lost += len(failed)
            trial.problems += failed
        self._after(trial, name, out, command.rounds)

    def _two_users(self, trial: Trial) -> None:
        out = self.bench.fresh("profile")
        shared = out.parent / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        verb = self.bench.verbs["profile"]
        theirs = out.parent / "theirs"
        theirs.mkdir()
        shutil.chown(theirs, "nobody")
        for path in (out.parent, *out.parents):
            if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
                trial.problems.append(f"nobody cannot enter {path.name}")
        # Another user in all but this: it may read what only root may, such as this Python.
        may = "-all,+dac_read_search"
        other = ["setpriv", "--reuid=nobody", f"--inh-caps={may}", f"--ambient-caps={may}"]
        run = f"import sys; sys.path.insert(0, {str(ledger.ROOT)!r}); "
        run += f"from costmodel.cli import main; main({list(verb.words[1:])!r})"
        for number, (words, place_) in enumerate([([], out), (other, theirs), ([], out)]):
            done = subprocess.run(
                [*words, sys.executable, "-c", run.replace(OUT, str(place_))],
                env={**os.environ, "TMPDIR": str(shared)}, cwd=place_, capture_output=True,
                text=True, check=False, timeout=PATIENCE_S,
            )  # fmt: skip
            if done.returncode:
                said = done.stderr[-300:]
                trial.problems.append(f"user {number}: {done.returncode}, and said: {said}")
        trial.unreadable += len(damage(out)) + len(damage(theirs))
        trial.resumed = not trial.problems
