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

What is done is kept in the folder ``kills`` of ``$COSTMODEL_BENCH_DIR`` and on the page: the
command goes on where it was stopped, also on another machine. Trials that were fine count for later
code, too; the page names all commits. With ``--try`` nothing is written into the ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ledger
import place
import psutil
from kill import read_written
from mishaps import SMALL_DISK, Mishaps
from trials import Bench, Book, Command, Trial, Verb

from killed import OUT, damage  # isort: skip
from small_models import Draft  # isort: skip
from ssh_server import SshServer  # isort: skip

#: How many of 200 kills each verb gets.
SHARES: Mapping[str, int] = {
    "profile": 44, "profile on ort": 8, "profile by ssh": 12, "import": 26, "compare": 22,
    "predict": 20, "report": 16, "explain": 16, "align": 16, "train": 14, "expand": 6,
}  # fmt: skip
#: How a moment is drawn, and how often.
MOMENTS = {"a random moment": 4, "before a file operation": 3, "during a file operation": 3}
#: What a slow rename takes, and the share of runs that have them.
SLOW_S, SLOW_SHARE = 0.5, 0.25
#: Longest that a worker may outlive its parent, in seconds.
ORPHAN_S = 5.0


def kill(bench: Bench, name: str, number: int, seed: int) -> Trial:
    """One kill of a verb, drawn by its number."""
    chance = random.Random(f"{seed} {name} {number}")
    steps, seconds = bench.whole(name)
    verb = bench.verbs[name]
    moment = chance.choices(list(MOMENTS), list(MOMENTS.values()))[0]
    old = not verb.table and chance.random() < 0.5
    slow_s = SLOW_S if chance.random() < SLOW_SHARE else 0.0
    while True:
        out = bench.fresh(name, old=old)
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
    bench.resume(trial, name, out, told)
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


def scaled(kills: int, chosen: list[str]) -> dict[str, int]:
    """Kills of each chosen verb, in the shares of ``SHARES``."""
    shares = {name: SHARES[name] for name in chosen}
    whole = sum(shares.values())
    counts = {name: max(1, kills * share // whole) for name, share in shares.items()}
    counts[chosen[0]] += max(0, kills - sum(counts.values()))
    return counts


def begun(book: Book, seed: int) -> None:
    """Let the page's trials of this seed count where this machine has none yet."""
    told = ledger.record("kills")
    if not book.path.exists() and any(item["seed"] == seed for item in told.get("figures", ())):
        book.write({item["name"]: Trial(**item) for item in told["trials"]})


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
            trial = trials[f"{name} {number}"] = kill(bench, name, number, seed)
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
    begun(book, arguments.seed)
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
