"""Interrupt ``morphnet train`` at random moments: the same command goes on, to the same network.

    python scripts/bench/interruptions.py [--interruptions 30] [--seed 0]

A small network is searched, cut and trained by the command line on a device whose times are a law,
so that two runs differ in nothing but how often they were interrupted: by ``kill -9``, by ctrl-C,
by a device that another process holds (``--no-wait``), by a clock that fails and by a disk that is
full. The command is given again after each until it succeeds, and then the whole is begun anew,
until there were enough interruptions. What comes out is held against a run that nothing
interrupted. Networks that came through are kept in the folder ``interruptions`` of
``$COSTMODEL_BENCH_DIR``: this command, too, goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ledger
import numpy as np
import place

from costmodel.durable import write_lines
from costmodel.errors import LockedError
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.profiler.lock import device_lock, hold
from costmodel.readers.keras import export_onnx, load_keras
from costmodel.registry import load_runner
from costmodel.sampling.select import sample_ops
from morphnet_core.morphing.identity import model_digest

#: How often each kind of interruption is drawn.
KINDS = {"kill -9": 10, "ctrl-C": 6, "disk full": 5, "clock fails": 5, "device held": 4}
#: Kinds that only a clock meets.
OF_CLOCK = frozenset({"clock fails", "device held"})
PLAN = Plan(visit_ms=2.0, rounds=2, min_rounds=2, restart_every=100, anchor_every_ms=1e12)
#: How many interruptions are wanted, and the share of a whole run that each comes within: what is
#: left of an interrupted run is shorter than the whole.
ASKED, MOMENTS = 30, 0.5
#: Longest that one command may take, and how often it is looked at, in seconds.
PATIENCE_S, LOOK_S = 3600.0, 0.1
#: Bytes that a file may have on the full disk.
FULL = 1024

RECIPE = """
import pathlib

import numpy as np

from costmodel.errors import LinkLostError
from morphnet_core.morphing import clock

timed = clock.measure


def measure(*arguments, **options):
    if pathlib.Path({away!r}).exists():
        raise LinkLostError("fake: the board is away.")
    return timed(*arguments, **options)


clock.measure = measure


def load():
    random = np.random.default_rng(0)
    y = random.integers(4, size=1024)
    x = random.normal(size=(1024, 16, 16, 3)).astype("float32")
    x[:, :, :, 0] += (y[:, None, None] - 1.5) / 3.0
    return x, y, x[:256], y[:256]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """One interruption.

    Attributes:
        kind: of ``KINDS``.
        moment_s: processor seconds that the command had had.
        code: that it ended with; negative for a signal.
        stage: how far the saved state had come.
        said: the last line.
    """

    kind: str
    moment_s: float
    code: int
    stage: str
    said: str


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One network, however often it was interrupted.

    Attributes:
        interruptions: in order.
        finished: whether the command succeeded in the end.
        structure: as it was written.
        weights: a digest of them.
        seconds: processor time of all its commands.
    """

    interruptions: list[Interrupted] = field(default_factory=list)
    finished: bool = False
    structure: str = ""
    weights: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, record: dict[str, Any]) -> Outcome:
        """One that was kept."""
        each = [Interrupted(**item) for item in record["interruptions"]]
        return cls(**{**record, "interruptions": each})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Where everything lies.

    Attributes:
        folder: for all files.
    """

    folder: Path

    @property
    def away(self) -> Path:
        """While this file is there, the clock fails."""
        return self.folder / "away"

    def prepare(self) -> None:
        """Write the network, the data and the table."""
        import keras
        from keras import layers

        keras.utils.set_random_seed(0)
        x = inputs = keras.Input((16, 16, 3))
        for name in "abc":
            strides = 1 if name == "a" else 2
            x = layers.Conv2D(
                32, 3, strides, padding="same", use_bias=False, name=name,
            )(x)  # fmt: skip
            x = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}")(x))
        outputs = layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x))
        keras.Model(inputs, outputs, name="net").save(self.folder / "net.keras")
        (self.folder / "recipe.py").write_text(RECIPE.format(away=str(self.away)))
        onnx = export_onnx(self.folder / "net.keras", self.folder / "net.onnx")
        sample = sample_ops(load_runner("fake", {}), 60, models=[onnx], sizes={}, thinned=2)
        jobs = [Job(op=op) for op in sample.ops]
        time_jobs(jobs, runner="fake", options={}, out=self.folder / "fake.jsonl", plan=PLAN)

    def command(self, out: Path, kind: str) -> list[str]:
        """The command; it is the same every time but for whether a held device is waited for."""
        words = [
            *("train", self.folder / "net.keras", "--data", self.folder / "recipe.py"),
            *("--table", self.folder / "fake.jsonl", "--target", "60%", "--out", out),
            *("--search-epochs", 20, "--finish", "finetune", "--finish-epochs", 15),
            *("--rounds", 2, "--save-every", 0.5),
            *(["--no-wait"] if kind == "device held" else []),
        ]
        run = "from morphnet_core.cli import main; main()"
        return [sys.executable, "-c", run, *map(str, words)]


def stage_of(out: Path) -> str:
    """How far a saved state has come, by its files; the seed is timed before the search."""
    folder = out / "unfinished"
    if (folder / "finish.npz").exists():
        return "finish"
    if not (folder / "search.npz").exists():
        return "nothing saved"
    with np.load(folder / "search.npz", allow_pickle=False) as saved:
        done = json.loads(str(saved["head"]))["values"]["done"]
    return "device" if done else "search"


def interrupt(shop: Shop, process: subprocess.Popen[str], kind: str) -> str:
    """Do to a command what is to be done; returns what it said until it ended."""
    ended: Callable[[], tuple[str, str]] = partial(process.communicate, timeout=PATIENCE_S)
    if kind == "device held":
        path = device_lock(load_runner("fake", {}).device)
        while True:
            try:
                with hold(path, "the device fake"):
                    return ended()[0]
            except LockedError:
                time.sleep(0.05)  # the command itself is timing something
    if kind == "clock fails":
        shop.away.touch()
    elif kind == "disk full":
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FULL, FULL))
    elif kind == "ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        process.kill()
    said = ended()[0]
    shop.away.unlink(missing_ok=True)
    return said


def attempt(shop: Shop, out: Path, kind: str, moment_s: float) -> tuple[int, str]:
    """Give the command once, and interrupt it unless it ends before; its code and words."""
    process = subprocess.Popen(
        shop.command(out, kind), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < end:
        try:
            said, _ = process.communicate(timeout=LOOK_S)
            break
        except subprocess.TimeoutExpired:
            if kind and processor_s(process.pid) >= moment_s:
                said = interrupt(shop, process, kind)
                break
    else:
        process.kill()
        said, _ = process.communicate()
    return process.returncode, said


def processor_s(pid: int) -> float:
    """Processor time of a process: where it is, however busy the machine is with other things."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent_s() -> float:
    """Processor time of all commands that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def complete(
    shop: Shop, out: Path, kinds: list[str], chance: random.Random, whole_s: float
) -> Outcome:
    """Give the command until it succeeds, interrupted by what is left of ``kinds``."""
    outcome, begin = Outcome(), spent_s()
    while not outcome.finished:
        fits = [kind for kind in kinds if stage_of(out) != "finish" or kind not in OF_CLOCK]
        kind = fits[0] if fits else ""
        moment_s = chance.uniform(0.0, MOMENTS * whole_s)
        code, said = attempt(shop, out, kind, moment_s)
        outcome.finished = code == 0
        if code and not kind:
            message = f"The command failed by itself, with {code}:\n{said}"
            raise SystemExit(message)
        if code:
            kinds.remove(kind)
            last = (said.strip().splitlines() or [""])[-1]
            last = re.sub(r"/\S*/", "", last)[:200]  # no page says where it was made
            found = Interrupted(
                kind=kind, moment_s=round(moment_s, 2), code=code, stage=stage_of(out), said=last
            )
            outcome.interruptions.append(found)
            print(f"{len(kinds)} to go: {found}", flush=True)
    outcome.seconds = round(spent_s() - begin, 1)
    outcome.structure = json.dumps(json.loads((out / "structure.json").read_text()))
    outcome.weights = model_digest(load_keras(out / "model.keras"))
    shutil.rmtree(out)
    return outcome


def figures(whole: Outcome, outcomes: list[Outcome], seed: int) -> list[ledger.Figure]:
    """That every interruption was survived, and changed nothing."""
    done = sum(len(item.interruptions) for item in outcomes)
    survived = sum(len(item.interruptions) for item in outcomes if item.finished)
    alike = sum(item.structure == whole.structure for item in outcomes)
    same = sum(item.weights == whole.weights for item in outcomes)
    of = f"of {len(outcomes)} networks, interrupted {done} times in all"
    return [
        ledger.figure(
            "e1", f"interruptions, of {done}, after which the same command went on to its end",
            survived, "interruptions", at_least=ASKED, sound=survived == done,
            target=f"all, and >= {ASKED}", seed=seed,
        ),
        ledger.figure(
            "e2", f"{of}: those with the structure of a run that nothing interrupted",
            alike, "networks", exactly=len(outcomes), seed=seed,
        ),
        ledger.figure(
            "e3", f"{of}: those with its weights, bit for bit",
            same, "networks", exactly=len(outcomes), seed=seed,
        ),
    ]  # fmt: skip


def drawn(count: int, chance: random.Random) -> list[str]:
    """Kinds of interruptions, in about the shares of ``KINDS``, in random order."""
    every = [kind for kind, times in KINDS.items() for _ in range(times)]
    chance.shuffle(every)
    return [every[place % len(every)] for place in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The networks that came through, the one that nothing interrupted first.

    Attributes:
        path: where they are kept.
    """

    path: Path

    def read(self) -> list[Outcome]:
        """Those of this very code; of other code nothing is kept."""
        if not self.path.exists():
            return []
        record = json.loads(self.path.read_text(encoding="utf-8"))
        same = record["commit"] == ledger.commit()
        return [Outcome.of(item) for item in record["networks"]] if same else []

    def write(self, outcomes: list[Outcome]) -> None:
        """Keep all of them."""
        record = {"commit": ledger.commit(), "networks": [asdict(item) for item in outcomes]}
        write_lines(self.path, [json.dumps(record, indent=1).encode()])


def collected(shop: Shop, book: Book, count: int, seed: int) -> list[Outcome]:
    """Networks until there were so many interruptions; the first is one without any."""
    every = book.read()
    if not every:
        shop.prepare()
    kinds = drawn(count, random.Random(seed))
    used = [item.kind for outcome in every for item in outcome.interruptions]
    for kind in used:
        if kind in kinds:
            kinds.remove(kind)
    del kinds[max(0, count - len(used)) :]
    while kinds or not every:
        out = shop.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        chance = random.Random(f"{seed} {len(every)}")
        own, whole_s = (kinds, every[0].seconds) if every else ([], 0.0)
        every.append(complete(shop, out, own, chance, whole_s))
        book.write(every)
        alike = [
            "the same" if getattr(every[-1], name) == getattr(every[0], name) else "OTHER"
            for name in ("structure", "weights")
        ]
        print(f"{every[-1].seconds} s; structure and weights: {', '.join(alike)}", flush=True)
    return every


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--interruptions", type=int, default=ASKED)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ledger.require_clean_tree()
    shop = Shop(folder=place.folder("interruptions"))
    book = Book(path=shop.folder / f"{arguments.seed}.json")
    whole, *outcomes = collected(shop, book, arguments.interruptions, arguments.seed)
    interruptions = [item for outcome in outcomes for item in outcome.interruptions]
    found = figures(whole, outcomes, arguments.seed)
    counts = {
        name: Counter(getattr(item, name) for item in interruptions) for name in ("kind", "stage")
    }
    note = (
        f"A command that nothing interrupts takes {whole.seconds} s of the processor. Moments were "
        f"drawn evenly from {MOMENTS:.0%} of that, anew after each; a command that had ended by "
        "then was not interrupted. "
        + " ".join(
            f"By {name}: {', '.join(f'{count} {word}' for word, count in found.most_common())}."
            for name, found in counts.items()
        )
    )
    detail = {"whole": asdict(whole), "networks": [asdict(item) for item in outcomes]}
    ledger.write("interruptions", topic="win", figures=found, detail=detail, notes=[note])
    return 0 if all(item["passed"] for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
