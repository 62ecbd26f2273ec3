"""Kill every verb at random moments: nothing is lost, doubled or half written, and all goes on.

    python scripts/bench/kills.py [--kills 200] [--seed 0] [--verbs import,report] [--try]

Each trial gives one command in a folder of its own, now and then one that holds the files of an
earlier run, and ends it by ``kill -9``: at a random moment of its life; right before one of its
file operations, drawn from all of them; or as soon as that is under way. One in four runs has
renames that take half a second, as folders of a busy network have. Then every file is read, rounds
on disk and rounds that the command had told are looked for, and the same command is given again.

After that the mishaps that are no kill: a full disk, a quota, a folder that is read-only, a wall
clock that jumps, a sleep of more than a minute, two of the same command at once, and the lock of
another user.

What is done is kept in the folder ``kills`` of ``$COSTMODEL_BENCH_DIR``: the command goes on where
it was stopped. Trials that were fine count for later code, too; the page names all commits. With
``--try`` nothing is written into the ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import ledger
import place
import psutil
from kill import read_written

from costmodel.durable import write_lines
from costmodel.table import LatencyTable

HELPERS = ledger.ROOT / "tests" / "helpers"
sys.path.insert(0, str(HELPERS))
from killed import OUT, damage, leftovers  # noqa: E402
from small_models import Draft  # noqa: E402
from ssh_server import SshServer  # noqa: E402

CHILD = f"import sys; sys.path.insert(0, {str(HELPERS)!r}); from killed import child; child()"
#: How many of 200 kills each verb gets.
SHARES: Mapping[str, int] = {
    "profile": 44, "profile on ort": 8, "profile by ssh": 12, "import": 26, "compare": 22,
    "predict": 20, "report": 16, "explain": 16, "align": 16, "train": 14, "expand": 6,
}  # fmt: skip
#: How a moment is drawn, and how often.
MOMENTS = {"a random moment": 4, "before a file operation": 3, "during a file operation": 3}
#: What a slow rename takes, and the share of runs that have them.
SLOW_S, SLOW_SHARE = 0.5, 0.25
#: Longest that one command may take, and a worker may outlive its parent, in seconds.
PATIENCE_S, ORPHAN_S = 900.0, 5.0
#: A sleep that is longer than a worker may be silent.
ASLEEP_S = 75.0
#: Bytes of the full disk, and of the largest file that the quota allows.
SMALL_DISK, SMALL_FILE = 4096, 700


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
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(how), *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(tell, wait),
            env={**os.environ, "TMPDIR": str(temporary)}, preexec_fn=before, cwd=out.parent,
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

    def kill(self, name: str, number: int, seed: int) -> Trial:
        """One kill of a verb, drawn by its number."""
        chance = random.Random(f"{seed} {name} {number}")
        steps, seconds = self.whole(name)
        verb = self.verbs[name]
        moment = chance.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        old = not verb.table and chance.random() < 0.5
        slow_s = SLOW_S if chance.random() < SLOW_SHARE else 0.0
        while True:
            out = self.fresh(name, old=old)
            step, after_s = chance.randint(1, steps), chance.uniform(0.0, seconds)
            stop = step if moment == "before a file operation" else 0
            command = Command.start(verb, out, stop=stop, slow_s=slow_s)
            workers: list[psutil.Process] = []
            if moment == "a random moment":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.process.wait(after_s)
            else:
                command.follow(step)
            if command.process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    workers = psutil.Process(command.process.pid).children(recursive=True)
            code, _ = command.end(kill=True)
            if code == -signal.SIGKILL:
                break
        files = "over the files of an earlier run" if old else "into an empty folder"
        slow = ", renames slow" if slow_s else ""
        at = f"{after_s:.2f} s" if moment == "a random moment" else f"step {step} of {steps}"
        trial = Trial(name=f"{name} {number}", how=f"{moment} ({at}), {files}{slow}")
        _, alive = psutil.wait_procs(workers, timeout=ORPHAN_S)
        orphans = [item for item in alive if item.status() != psutil.STATUS_ZOMBIE]
        trial.left += len(orphans)
        trial.problems += [f"process {item.name()} lives on" for item in orphans]
        broken = damage(out)
        trial.unreadable += len(broken)
        trial.problems += [f"after the kill: {item}: {why}" for item, why in broken.items()]
        gone = [item for item in verb.names if old and not (out / item).exists()]
        trial.lost += len(gone)
        trial.problems += [f"after the kill: {item} is gone" for item in gone]
        told = command.rounds if verb.table else {}
        if verb.table and (out / verb.table).exists():
            counts, times, _ = read_written(out / verb.table)
            trial.lost += sum(times.get(key) != value for key, value in told.items())
            trial.doubled += sum(counts.values()) - len(counts)
            told = {**told, **times}
        elif told:
            trial.lost += len(told)
        self.resume(trial, name, out, told)
        trial.close()
        return trial


def prepare(folder: Path, board: SshServer) -> dict[str, Verb]:
    """Write what the commands read, once, and say the commands."""
    given = folder / "given"
    if not given.exists():
        from interruptions import Shop  # imports Keras, which is needed once

        Shop(folder=folder).prepare()
        draft = Draft(1, 3, 24, 24)
        y = draft.node("Relu", draft.conv("x", 3, 30, stride=2))
        y = draft.node("Relu", draft.conv(y, 30, 30))
        y = draft.node("Relu", draft.conv(y, 30, 50))
        model = draft.done(draft.node("GlobalAveragePool", y))
        (folder / "odd.onnx").write_bytes(model.SerializeToString())
        head = "device,runtime,op,batch,height,width,in_channels,out_channels,kernel,stride,padding"
        lines = [
            f"{device},tflite-gpu,conv2d,1,56,56,{8 * i},{8 * j},3,1,same,{(i * j + 3) * scale}"
            for device, scale in (("phone a", 9), ("phone b", 14))
            for i in range(1, 17)
            for j in range(1, 17)
        ]
        (folder / "times.csv").write_text("\n".join([f"{head},latency_us", *lines]) + "\n")
        given.touch()
    odd, table, net = (str(folder / name) for name in ("odd.onnx", "fake.jsonl", "net.onnx"))
    profile = ("--models", odd, "--samples", "0", "--thinned", "0", "--rounds", "3")
    reach = [f"--runner-option={name}={value}" for name, value in board.options.items()]
    found = {
        "profile": Verb(
            words=("costmodel", "profile", "--runner", "fake", "--runner-option=realtime=true",
                   "--runner-option=noise=0.01", *profile, "--out", f"{OUT}/t.jsonl"),
            names=("t.jsonl",), table="t.jsonl",
        ),
        "profile on ort": Verb(
            words=("costmodel", "profile", "--threads", "1", *profile, "--out", f"{OUT}/t.jsonl"),
            names=("t.jsonl",), table="t.jsonl",
        ),
        "profile by ssh": Verb(
            words=("costmodel", "profile", "--runner", board.address, *reach, *profile,
                   "--out", f"{OUT}/t.jsonl"),
            names=("t.jsonl",), table="t.jsonl",
        ),
        "import": Verb(
            words=("costmodel", "import", str(folder / "times.csv"), "--out", OUT),
            names=("phone-a/tflite-gpu-float32.jsonl", "phone-b/tflite-gpu-float32.jsonl"),
            same=("phone-a/tflite-gpu-float32.jsonl", "phone-b/tflite-gpu-float32.jsonl"),
        ),
        "compare": Verb(
            words=("costmodel", "compare", net, odd, "--table", table, "--rounds", "2",
                   "--save-baseline", f"{OUT}/new.json", "--summary", f"{OUT}/c.md",
                   "--plot", f"{OUT}/c.svg", "--parquet", f"{OUT}/c.parquet"),
            names=("new.json", "c.md", "c.svg", "c.parquet"), same=("c.md",),
        ),
        "predict": Verb(
            words=("costmodel", "predict", odd, "--table", table, "--annotate", f"{OUT}/a.onnx",
                   "--overlay", f"{OUT}/o.json", "--trace", f"{OUT}/t.json",
                   "--parquet", f"{OUT}/l.parquet"),
            names=("a.onnx", "o.json", "o.per_gmac.json", "t.json", "l.parquet"),
            same=("a.onnx", "o.json", "o.per_gmac.json", "t.json", "l.parquet"),
        ),
        "report": Verb(
            words=("costmodel", "report", table, "--html", f"{OUT}/page.html"),
            names=("page.html",),
        ),
        "explain": Verb(
            words=("costmodel", "explain", odd, "--table", table, "--fix", f"{OUT}/fixed.onnx"),
            names=("fixed.onnx",), same=("fixed.onnx",),
        ),
        "align": Verb(
            words=("morphnet", "align", odd, "--table", table, "--predict-only",
                   "--out", f"{OUT}/fast.onnx"),
            names=("fast.onnx",), same=("fast.onnx",),
        ),
        "train": Verb(
            words=("morphnet", "train", str(folder / "net.keras"), "--data",
                   str(folder / "recipe.py"), "--table", table, "--target", "60%",
                   "--search-epochs", "2", "--finish", "finetune", "--finish-epochs", "1",
                   "--rounds", "2", "--save-every", "0.2", "--out", OUT),
            names=("model.keras", "model.onnx", "structure.json", "morph.json", "widths.svg",
                   "layers.svg"),
            same=("structure.json",),  # last bits of weights: docs/decisions/resuming.md
        ),
        "expand": Verb(
            words=("morphnet", "expand", str(folder / "net.keras"), "--by", "1.5",
                   "--out", f"{OUT}/wide.keras"),
            names=("wide.keras",),
        ),
    }  # fmt: skip
    assert found.keys() == SHARES.keys()
    return found


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


def scaled(kills: int, chosen: list[str]) -> dict[str, int]:
    """Kills of each chosen verb, in the shares of ``SHARES``."""
    shares = {name: SHARES[name] for name in chosen}
    whole = sum(shares.values())
    counts = {name: max(1, kills * share // whole) for name, share in shares.items()}
    counts[chosen[0]] += max(0, kills - sum(counts.values()))
    return counts


def figures(kills: list[Trial], mishaps: list[Trial], asked: int, seed: int) -> list[Any]:
    """What the issue asks for."""
    total, every = len(kills), [*kills, *mishaps]
    after = f"over {total} kills of {len(SHARES)} verbs and {len(mishaps)} other mishaps"
    found = [
        ledger.figure(
            name, f"{what} {after}", sum(getattr(item, kind) for item in every), unit,
            exactly=0, sound=total >= asked, seed=seed,
        )
        for name, kind, what, unit in (
            ("c1", "lost", "finished rounds and whole files lost", "of them"),
            ("c2", "doubled", "rounds written or timed twice", "rounds"),
            ("c3", "unreadable", "files that could not be read", "files"),
            ("c4", "left", "processes and files left behind", "of them"),
        )
    ]  # fmt: skip
    resumed = sum(item.resumed for item in kills)
    fine = sum(item.fine for item in mishaps)
    return [
        *found,
        ledger.figure(
            "c5", f"kills, of {total}, after which the same command went on to the same files",
            resumed, "kills", at_least=asked, sound=resumed == total,
            target=f"all, and >= {asked}", seed=seed,
        ),
        ledger.figure(
            "c6", f"other mishaps, of {len(mishaps)}, that ended with one message and were made up "
            "for by the same command", fine, "mishaps", exactly=len(mishaps), seed=seed,
        ),
    ]  # fmt: skip


def collected(
    bench: Bench, book: Book, wanted: Mapping[str, int], seed: int, *, mishaps: bool
) -> dict[str, Trial]:
    """All trials, those that were kept among them."""
    trials = book.read()
    told = Mishaps(bench).trials() if mishaps else {}
    names = [(name, number) for name, count in wanted.items() for number in range(count)]
    random.Random(seed).shuffle(names)  # so that a part is a sample of the whole
    for place_, (name, number) in enumerate(names, 1):
        if f"{name} {number}" not in trials:
            trial = trials[f"{name} {number}"] = bench.kill(name, number, seed)
            book.write(trials)
            mark = "fine" if trial.fine else f"NOT FINE: {trial.problems}"
            print(f"{place_}/{len(names)} {trial.name}, {trial.how}: {mark}", flush=True)
    for name, run in told.items():
        if name not in trials and name.partition(",")[0] in {*wanted, "profile"}:
            trial = trials[name] = Trial(name=name, how=name.partition(", ")[2])
            run(trial)
            trial.close()
            book.write(trials)
            mark = "fine" if trial.fine else f"NOT FINE: {trial.problems}"
            print(f"{trial.name}: {mark}", flush=True)
    return trials


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--kills", type=int, default=sum(SHARES.values()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", default=",".join(SHARES), help="of which, parted by commas")
    parser.add_argument("--no-mishaps", action="store_true", help="kills only")
    parser.add_argument("--try", action="store_true", dest="tried", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # What ends this script ends its server, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = arguments.verbs.split(",")
    if not arguments.tried:
        ledger.require_clean_tree()
    folder = place.folder("kills")
    book = Book(path=folder / f"{arguments.seed}.json")
    shutil.rmtree(folder / "board", ignore_errors=True)
    (folder / "board").mkdir()
    with SshServer(folder / "board") as board:
        bench = Bench(folder, prepare(folder, board))
        wanted = scaled(arguments.kills, chosen)
        trials = collected(bench, book, wanted, arguments.seed, mishaps=not arguments.no_mishaps)
    kills = [item for name, item in trials.items() if ", " not in name]
    mishaps = [item for name, item in trials.items() if ", " in name]
    bad = [item for item in trials.values() if not item.fine]
    for item in bad:
        print(f"NOT FINE: {item}")
    found = figures(kills, mishaps, sum(SHARES.values()), arguments.seed)
    if arguments.tried or chosen != list(SHARES):
        return 1 if bad else 0
    verbs = Counter(item.name.rpartition(" ")[0] for item in kills)
    moments = Counter(item.how.partition(" (")[0] for item in kills)
    commits = Counter(item.commit for item in trials.values())
    note = (
        f"Kills by verb: {', '.join(f'{name} {count}' for name, count in verbs.most_common())}. "
        f"By moment: {', '.join(f'{count} {name}' for name, count in moments.most_common())}. "
        f"The quota is a limit on the size of a file; the full disk has {SMALL_DISK} bytes. "
        f"By code: {', '.join(f'{name} {count}' for name, count in commits.most_common())}."
    )
    detail = {"trials": [asdict(item) for item in trials.values()]}
    ledger.write("kills", topic="trust", figures=found, detail=detail, notes=[note])
    return 0 if all(item["passed"] for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
