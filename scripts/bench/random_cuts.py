"""Figure of any model: random Keras and ONNX networks, cut at random, against masked activations.

Two in five networks are Keras models (in 64 bits), the others ONNX files. Each is drawn from its
seed, cut to about 60 % of its channels, and held against the original whose removed channels are
zero wherever a layer mixes channels; kept whole, or padded, it must be the original. The share of
channels that can be cut is also counted with the packages of an older commit, for 400 of either
kind. What is done is kept in a file of JSON lines, from which an interrupted run goes on.

    python scripts/bench/random_cuts.py [--networks 2000] [--processes 2] [--anew]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ledger
import numpy as np

#: Commit whose groups the share of channels that can be cut is held against.
BEFORE = "6e2b464"
#: Largest error relative to the largest output.
ALLOWED = 1e-5
#: Seeds that one process works off.
CHUNK = 100
#: Networks of either kind whose channels are counted with both commits.
SHARED = 400
KINDS = ("keras", "onnx")
HELPERS = ledger.ROOT / "tests" / "helpers"
Row = dict[str, Any]


def share_row(kind: str, seed: int, folder: Path) -> Row:
    """Channels that the layers of one network write, and how many of them can be cut."""
    from morphnet_core.groups import NOBODY, find_groups

    if kind == "keras":
        from random_keras import RandomKeras

        from costmodel.readers.keras import read_keras

        model = RandomKeras(seed).model()
        names = ("filters", "units")
        every = [layer for layer in model._flatten_layers() if layer.weights]
        written = [getattr(layer, name, None) for layer in every for name in names]
        channels = sum(width for width in written if isinstance(width, int))
        grouping = find_groups(read_keras(model))
    else:
        import onnx
        from random_onnx import RandomOnnx

        from morphnet_core.alignment import paddable, read_source

        path = RandomOnnx(seed).save(folder / f"share{seed}.onnx")
        weights = {item.name: item.dims for item in onnx.load(path).graph.initializer}
        channels = 0
        for node in onnx.load(path).graph.node:
            if node.op_type == "Conv":
                channels += weights[node.input[1]][0]
            elif node.op_type in {"Gemm", "MatMul"} and node.input[1] in weights:
                channels += weights[node.input[1]][-1]
        grouping = paddable(read_source(path, {}))
    free = {
        layer.origin or layer.name: int((grouping.free_units(layer.outputs[0]) != NOBODY).sum())
        for layer in grouping.mixers
    }
    return {"channels": channels, "free": sum(free.values())}


def cut_row(kind: str, seed: int, folder: Path) -> Row:
    """What came of cutting one network."""
    from drawn_cuts import keras_cut, onnx_cut

    done = keras_cut(seed) if kind == "keras" else onnx_cut(seed, folder)
    groups = done.grouping.groups
    return {
        "error": done.error,
        "whole": done.whole,
        "groups": len(groups),
        "frozen": sum(bool(group.frozen) for group in groups),
        "unreasoned": done.unreasoned,
    }


def work(task: str, kind: str, seeds: range) -> None:
    """Print a JSON line for each seed."""
    sys.path.insert(0, str(HELPERS))
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            started = time.perf_counter()
            row: Row = {"task": task, "kind": kind, "seed": seed}
            try:
                row.update({"cut": cut_row}.get(task, share_row)(kind, seed, Path(folder)))
            except Exception as error:
                row["problem"] = f"{type(error).__name__}: {error}"
            row["seconds"] = round(time.perf_counter() - started, 3)
            print(json.dumps(row), flush=True)


def run_chunk(chunk: tuple[str, str, range], packages: Path, out: Path) -> None:
    """Work off some seeds in a process of their own."""
    task, kind, seeds = chunk
    command = [sys.executable, str(Path(__file__).resolve()), "--work", task, kind]
    command += [str(seeds.start), str(seeds.stop)]
    env = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
    }
    with (
        out.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
        ) as run,
    ):
        for line in run.stdout or ():
            if line.startswith("{"):
                file.write(line)
                file.flush()


def rows_of(path: Path) -> list[Row]:
    """What is done already."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def number_of(kind: str, networks: int) -> int:
    """How many networks are of a kind."""
    models = networks * 2 // 5
    return models if kind == "keras" else networks - models


def chunks_left(networks: int, rows: list[Row]) -> list[tuple[str, str, range]]:
    """What is to do, the seeds of a chunk one after the other."""
    done = {(row["task"], row["kind"], row["seed"]) for row in rows}
    found = []
    for task in ("cut", "after", "before"):
        for kind in KINDS:
            most = number_of(kind, networks)
            seeds = range(most if task == "cut" else min(most, SHARED))
            left = [seed for seed in seeds if (task, kind, seed) not in done]
            while left:
                run = [seed for place, seed in enumerate(left[:CHUNK]) if seed == left[0] + place]
                found.append((task, kind, range(run[0], run[-1] + 1)))
                left = left[len(run) :]
    return found


def figures(networks: int, rows: list[Row]) -> list[ledger.Figure]:
    """The lines of the ledger."""
    cuts = [row for row in rows if row["task"] == "cut"]
    good = [row for row in cuts if "error" in row]
    found = []
    for kind, what in (("keras", "Keras models"), ("onnx", "ONNX files")):
        mine = [row for row in good if row["kind"] == kind]
        for key, text in (
            ("error", "cut"),
            ("whole", "kept whole" if kind == "keras" else "padded"),
        ):
            found.append(
                ledger.figure(
                    f"{kind}_{key}",
                    f"largest error of {len(mine)} random {what} {text}, of the largest output",
                    max((row[key] for row in mine), default=1.0),
                    at_most=ALLOWED,
                    sound=len(mine) == number_of(kind, networks),
                    seed=0,
                )
            )
    frozen = sum(row["frozen"] for row in good)
    unreasoned = sum(row["unreasoned"] for row in good)
    found += [
        ledger.figure(
            "not_cut", "networks that could not be cut", len(cuts) - len(good), exactly=0
        ),
        ledger.figure(
            "unreasoned", f"of {frozen} frozen groups, without a reason", unreasoned, exactly=0
        ),
    ]
    return found + [share(rows, task, kind) for task in ("before", "after") for kind in KINDS]


def share(rows: list[Row], task: str, kind: str) -> ledger.Figure:
    """Channels that one of the commits can cut, of all that the layers write."""
    mine = [row for row in rows if (row["task"], row["kind"]) == (task, kind)]
    every = [row for row in rows if (row["task"], row["kind"]) == ("after", kind)]
    channels = sum(row.get("channels", 0) for row in every)
    failed = sum("problem" in row for row in mine)
    return ledger.figure(
        f"{kind}_share_{task}",
        f"channels of {len(mine)} networks that can be cut, "
        f"{BEFORE if task == 'before' else 'now'}; {failed} could not be grouped",
        round(100 * sum(row.get("free", 0) for row in mine) / max(1, channels), 2),
        "%",
    )


def main() -> None:
    """Cut, compare and write."""
    parser = ledger.parser(__doc__)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "random_cuts")
    parser.add_argument("--dry", action="store_true", help="print figures, write none")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        task, kind, first, last = options.work
        work(task, kind, range(int(first), int(last)))
        return
    if not options.dry:
        ledger.require_clean_tree()
    options.keep.mkdir(parents=True, exist_ok=True)
    out = options.keep / f"{ledger.commit()}.jsonl"
    if options.anew:
        out.unlink(missing_ok=True)
    older = options.keep / BEFORE
    if not older.exists():
        older.mkdir()
        archive = subprocess.run(
            [
                "git",
                "-C",
                str(ledger.ROOT),
                "archive",
                BEFORE,
                "costmodel",
                "morphnet_core",
                "profiles",
            ],
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "-x", "-C", str(older)], input=archive.stdout, check=True)
    chunks = chunks_left(options.networks, rows_of(out))
    with ThreadPoolExecutor(options.processes) as pool:
        list(
            pool.map(
                lambda chunk: run_chunk(chunk, older if chunk[0] == "before" else ledger.ROOT, out),
                chunks,
            )
        )
    rows = rows_of(out)
    found = figures(options.networks, rows)
    problems = [row for row in rows if "problem" in row and row["task"] == "cut"]
    seconds = float(np.sum([row["seconds"] for row in rows]))
    if options.dry:
        print(json.dumps(found, indent=1), problems[:20], seconds)
        return
    ledger.write(
        "random_cuts",
        topic="any-model",
        figures=found,
        detail={"problems": problems, "process_seconds": seconds},
        notes=[
            "Keras models run in 64 bits, but for poolings in 3-D; ONNX files in 32 bits with "
            "positive weights, and in 64 by onnx's reference where 32 differ by more than 1e-6. "
            "Layers that have no rule keep their channels and are part of the share.",
        ],
    )


if __name__ == "__main__":
    main()
