"""What ``kills.py`` and ``mishaps.py`` share: commands that are watched, and what they leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import ledger
from kill import read_written

from costmodel.durable import write_lines

HELPERS = ledger.ROOT / "tests" / "helpers"
sys.path.insert(0, str(HELPERS))
from killed import OUT, damage, leftovers  # noqa: E402

CHILD = f"import sys; sys.path.insert(0, {str(HELPERS)!r}); from killed import child; child()"
#: Longest that one command may take, in seconds.
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command, and what it leaves.

    Attributes:
        words: of it; ``OUT`` stands for the folder of its files.
        names: of all files that it writes.
        same: those that two runs write alike, byte for byte.
        table: the file that grows while it runs, whose rounds must stay.
    """

    words: tuple[str, ...]
    names: tuple[str, ...]
    same: tuple[str, ...] = ()
    table: str = ""


@dataclass(slots=True, kw_only=True)
class Trial:
    """One kill, or one mishap.

    Attributes:
        name: verb and number.
        how: what was done.
        fine: whether nothing was wrong.
        lost: rounds, and files that had been whole, that are gone.
        doubled: rounds that are there twice, or were timed again.
        unreadable: files that cannot be read.
        left: files and processes that nobody needs.
        resumed: whether the same command went on, to the same files.
        problems: in words.
        commit: of the code.
    """

    name: str
    how: str
    fine: bool = False
    lost: int = 0
    doubled: int = 0
    unreadable: int = 0
    left: int = 0
    resumed: bool = False
    problems: list[str] = field(default_factory=list)
    commit: str = field(default_factory=ledger.commit)

    def close(self) -> None:
        """Judge it."""
        counts = self.lost + self.doubled + self.unreadable + self.left
        self.fine = self.resumed and not counts and not self.problems


@dataclass(slots=True)
class Command:
    """A command that runs, watched.

    Attributes:
        process: it.
        told: steps and rounds, as far as they were read.
    """

    process: subprocess.Popen[str]
    pipe: IO[bytes]
    wait: int
    told: list[bytes] = field(default_factory=list)

    @classmethod
    def start(
        cls, verb: Verb, out: Path, *, stop: int = 0, slow_s: float = 0.0, jumps: bool = False,
        before: Callable[[], object] | None = None,
    ) -> Command:  # fmt: skip
        """Begin; ``stop`` is the step before which it waits for its end."""
        told, tell = os.pipe()
        wait, hold = os.pipe()
        how = {
            "folder": str(out), "tell": tell, "wait": wait, "stop": stop, "slow_s": slow_s,
            "jumps": jumps,
        }  # fmt: skip
        words = [word.replace(OUT, str(out)) for word in verb.words]
        temporary = out.parent / f"{out.name}.tmp"
        temporary.mkdir(exist_ok=True)
        # Under a quota Python would leave halves of its modules' bytecode, for good.
        no_bytecode = {"PYTHONDONTWRITEBYTECODE": "1"} if before else {}
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(how), *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(tell, wait),
            env={**os.environ, "TMPDIR": str(temporary), **no_bytecode}, preexec_fn=before,
            cwd=out.parent,
        )  # fmt: skip
        os.close(tell)
        os.close(wait)
        return cls(process, os.fdopen(told, "rb"), hold)

    def follow(self, step: int) -> bool:
        """Read until a step was reached; whether it was."""
        for line in self.pipe:
            self.told.append(line)
            if line == b"%d\n" % step:
                return True
        return False

    def end(self, *, kill: bool) -> tuple[int, str]:
        """Wait for it, or kill it; its exit code and what it said."""
        if kill:
            self.process.kill()
        self.told += self.pipe.readlines()
        self.pipe.close()
        os.close(self.wait)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    @property
    def steps(self) -> int:
        """Steps that it told."""
        return sum(line.strip().isdigit() for line in self.told)

    @property
    def rounds(self) -> dict[tuple[str, int], float]:
        """Rounds that it told."""
        found = {}
        for line in self.told:
            if line.startswith(b"[") and line.endswith(b"\n"):
                digest, number, quiet_ms = json.loads(line)
                found[digest, number] = quiet_ms
        return found


@dataclass(slots=True)
class Bench:
    """Everything that trials share.

    Attributes:
        folder: for all files.
        verbs: by name.
        wholes: steps and seconds of a run that nothing ends, by verb.
    """

    folder: Path
    verbs: Mapping[str, Verb]
    wholes: dict[str, tuple[int, float]] = field(default_factory=dict)

    def whole(self, name: str) -> tuple[int, float]:
        """Run a verb to its end, once, and keep what it wrote."""
        if name not in self.wholes:
            out = self.folder / "whole" / name.replace(" ", "-")
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            begin = time.perf_counter()
            command = Command.start(self.verbs[name], out)
            code, said = command.end(kill=False)
            missing = [item for item in self.verbs[name].names if not (out / item).exists()]
            if code or missing or damage(out):
                message = f"{name}: exit code {code}, missing {missing}, {damage(out)}\n{said}"
                raise SystemExit(message)
            self.wholes[name] = command.steps, time.perf_counter() - begin
            print(f"{name}: {self.wholes[name]} steps and seconds", flush=True)
        return self.wholes[name]

    def reference(self, name: str) -> Path:
        """The files of that run."""
        return self.folder / "whole" / name.replace(" ", "-")

    def fresh(self, name: str, *, old: bool = False) -> Path:
        """An empty folder for one trial, or one with the files of an earlier run."""
        out = self.folder / "trial" / "out"
        if out.is_mount():  # of a run of this script that was stopped
            subprocess.run(["umount", str(out)], check=True)
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir(parents=True)
        if old:
            shutil.copytree(self.reference(name), out)
        else:
            out.mkdir()
        return out

    def resume(self, trial: Trial, name: str, out: Path, told: Mapping[Any, float]) -> None:
        """Give the same command again, and hold what it leaves against an undisturbed run."""
        verb = self.verbs[name]
        litter = set((out.parent / "out.tmp").iterdir())
        again = Command.start(verb, out)
        code, said = again.end(kill=False)
        trial.resumed = code == 0
        if code:
            trial.problems.append(f"again, it ended with {code}: {said[-300:]}")
            return
        trial.unreadable += len(damage(out))
        trial.problems += [f"again: {item}: {why}" for item, why in damage(out).items()]
        left = leftovers(out, verb.names)
        new = {path for path in (out.parent / "out.tmp").iterdir() if ".lock" not in path.name}
        left += [path.name for path in new - litter]
        trial.left += len(left)
        trial.problems += [f"again: {item} is left" for item in left]
        missing = [item for item in verb.names if not (out / item).exists()]
        whole = self.reference(name)
        other = [
            item
            for item in verb.same
            if item not in missing and (out / item).read_bytes() != (whole / item).read_bytes()
        ]
        trial.problems += [f"again: no {item}" for item in missing]
        trial.problems += [f"again: {item} is another" for item in other]
        trial.resumed = not missing and not other
        if verb.table:
            counts, times, _ = read_written(out / verb.table)
            trial.doubled += sum(counts.values()) - len(counts) + len(told.keys() & again.rounds)
            wanted = {**told, **again.rounds}
            trial.lost += sum(times.get(key) != value for key, value in wanted.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Trials that were done, whatever stops the script.

    Attributes:
        path: where they are kept.
    """

    path: Path

    def read(self) -> dict[str, Trial]:
        """Those that were fine, or failed with this very code."""
        if not self.path.exists():
            return {}
        every = [Trial(**item) for item in json.loads(self.path.read_text(encoding="utf-8"))]
        return {item.name: item for item in every if item.fine or item.commit == ledger.commit()}

    def write(self, trials: Mapping[str, Trial]) -> None:
        """Keep all of them."""
        text = json.dumps([asdict(item) for item in trials.values()], indent=1)
        write_lines(self.path, [text.encode()])
