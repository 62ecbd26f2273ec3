"""Importing people's files: right or one message; units, suspect rows, a large file.

COSTMODEL_SHARED=../shared python scripts/bench/imports.py [--large]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import ledger
import numpy as np
import pandas as pd
from import_shapes import (
    BROKEN,
    COLUMNS,
    RIGHT,
    SAID,
    Case,
    Shape,
    agrees,
    one_clear_message,
)

from costmodel.errors import CostModelError
from costmodel.table import LatencyTable
from costmodel.tidy import rows as rows_module
from costmodel.tidy.rows import Rows
from costmodel.uses.importing import import_file

SEEDS = (0, 1, 2)
#: Rows of a file that a shape is made of.
ROWS = 120
#: Size of the large file.
LARGE_BYTES = 1_000_000_000
LATENCY = Path(os.environ.get("COSTMODEL_SHARED", ledger.ROOT.parent / "shared")) / "data/latency"
_LIMITED = "import sys; from imports import import_large; import_large(sys.argv[1])"


def convolutions(seed: int) -> pd.DataFrame:
    """Distinct convolutions of one phone's GPU."""
    rows = pd.read_parquet(LATENCY / "mobile_gpu_ops.parquet")
    chosen = (rows["device"] == SAID["device"]) & (rows["runtime"] == "TFLite GPU delegate")
    rows = rows[chosen & rows["op"].isin(["conv2d", "depthwise_conv2d", "group_conv2d"])]
    rows = rows[list(COLUMNS)].drop_duplicates(subset=list(COLUMNS[:-1]))
    return rows.sample(ROWS, random_state=seed).reset_index(drop=True)


def table_of(rows: pd.DataFrame) -> LatencyTable:
    """Their table, made without any file."""
    tidy = rows.rename(columns={"op": "kind", "out_size": "out_height"})
    gathered = Rows()
    gathered.add(tidy.assign(latency_ms=rows["latency_us"] / 1e3, **SAID))
    (device,) = gathered.devices
    table = LatencyTable(device, (row for _, row in gathered.measurements(device)))
    assert len(table) == len(rows)
    return table


def outcome(shape: Shape, rows: pd.DataFrame, seed: int, folder: Path) -> str:
    """What became of a shape: ``right``, ``message``, or what is wrong."""
    truth = table_of(rows)
    case: Case = shape(rows, folder, np.random.default_rng(seed))
    try:
        found = import_file(case.path, **case.options)  # type: ignore[arg-type]
    except CostModelError as error:
        told = bool(case.message) and one_clear_message(error, case)
        return "message" if told else f"{shape.__name__}: {error}"
    left: dict[str, int] = {}
    for item in found.left_out:
        left[item.column] = left.get(item.column, 0) + item.count
    if case.message or left != dict(case.left_out):
        return f"{shape.__name__}: left out {left}, not {dict(case.left_out)}"
    ops = list(truth)
    dropped: set[object] = {ops[at] for at in case.dropped}
    return "right" if agrees(found.table, truth, dropped) else f"{shape.__name__}: other rows"


def shapes() -> tuple[dict[str, list[str]], list[str]]:
    """Outcomes of every shape by seed, and what went wrong."""
    outcomes: dict[str, list[str]] = {}
    wrong = []
    for seed in SEEDS:
        rows = convolutions(seed)
        for shape in (*RIGHT, *BROKEN):
            with tempfile.TemporaryDirectory() as folder:
                found = outcome(shape, rows, seed, Path(folder))
                kept = list(Path(folder).rglob("*.jsonl"))
            wanted = "message" if shape in BROKEN and found == "message" else "right"
            if found != wanted or any(path.name == "t.jsonl" for path in kept):
                wrong.append(f"seed {seed}: {found}")
            outcomes.setdefault(shape.__name__, []).append(found)
    return outcomes, wrong


def devices_by_unit(name: str) -> Iterator[tuple[str, dict[str, bool]]]:
    """Of each device of a file: whether a mistaken unit is noticed, and a right one left alone."""
    rows = pd.read_parquet(LATENCY / f"{name}.parquet")
    if "space" not in rows:
        rows = rows[rows["op"].str.contains("conv") & ~rows["op"].str.contains("bwd")]
    for key, group in rows.groupby(["device", "runtime", "dtype"]):
        if len(group) < 15:
            continue
        times = [column for column in map(str, group) if column.startswith("latency_us")]
        some = group.sample(min(400, len(group)), random_state=0)
        yield (
            " ".join(map(str, key)),
            {
                what: _noticed(name, some.assign(**{time: some[time] * factor for time in times}))
                for what, factor in (("right", 1.0), ("ms as us", 1e-3), ("us as ms", 1e3))
            },
        )


def _noticed(name: str, rows: pd.DataFrame) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.parquet"
        rows.to_parquet(path)
        noticed = ""
        try:
            import_file(path, preset=name)
        except CostModelError as error:
            noticed = str(error)
    assert not noticed or "another unit" in noticed
    return bool(noticed)


def suspects(name: str, device: str) -> dict[str, int]:
    """Rows left out against those that the file itself calls suspect, which is not read."""
    rows = pd.read_parquet(LATENCY / f"{name}.parquet")
    rows = rows[rows["device"].str.startswith(device)].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.parquet"
        rows.drop(columns=["suspect", "tflops"]).to_parquet(path)
        found = import_file(path, preset=name)
    left = {row - 1 for item in found.left_out for row in item.rows}
    assert len(left) == sum(item.count for item in found.left_out)
    # A window larger than the image is no kernel; the files do not look for that.
    shapeless = {row - 1 for item in found.left_out if item.column == "kernel" for row in item.rows}
    flagged = set(np.flatnonzero(rows["suspect"].to_numpy(bool)).tolist())
    return {
        "rows": len(rows),
        "suspect": len(flagged),
        "left_out": len(left),
        "both": len(left & flagged),
        "no kernel": len(shapeless),
        "no kernel, suspect": len(shapeless & flagged),
    }


def large() -> tuple[float, float]:
    """The processor's seconds, and megabytes at most, that a large file takes."""
    rows = convolutions(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        several = pd.concat([rows.assign(latency_us=rows["latency_us"] * f) for f in
                             np.linspace(0.95, 1.05, 400)])  # fmt: skip
        head, _, body = several.to_csv(index=False).partition("\n")
        with path.open("w", encoding="utf-8") as handle:
            handle.write(head + "\n")
            for _ in range(LARGE_BYTES // len(body) + 1):
                handle.write(body)
        command = [sys.executable, "-c", _LIMITED, str(path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def import_large(path: str) -> None:
    """Import a file and print the processor's seconds and the most megabytes that it took.

    In a process of its own: what ``getrusage`` says of memory would be its parent's.
    """
    found = import_file(path, constants=SAID)
    assert len(found.table) == ROWS
    (most,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(time.process_time(), int(most) / 1024)


#: Devices by which the rules for suspect rows were chosen, and those that they are held against.
CHOSEN_BY = {"nvidia_gpu_conv": ["NVIDIA K80"], "amd_gpu_conv": []}
HELD = {
    "nvidia_gpu_conv": ["NVIDIA GTX 1080 Ti", "NVIDIA M60"],
    "amd_gpu_conv": ["AMD MI25", "AMD MI50", "AMD MI100"],
}


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--large", action="store_true", help="also a file of 1 GB: minutes")
    options = parser.parse_args()
    ledger.require_clean_tree()
    outcomes, wrong = shapes()
    total = len(SEEDS) * (len(RIGHT) + len(BROKEN))
    figures = [
        ledger.figure(
            "h",
            f"shapes of people's files ({len(RIGHT)} as people have them, {len(BROKEN)} broken) "
            f"that are imported right, or refused by one clear message, {len(SEEDS)} seeds",
            total - len(wrong),
            "files",
            exactly=total,
            reason="; ".join(wrong),
        )
    ]
    units = {
        f"{name}: {device}": found
        for name in ("mobile_gpu_ops", "nvidia_gpu_conv", "amd_gpu_conv", "deepbench_conv")
        for device, found in devices_by_unit(name)
    }
    for what, target in (("ms as us", True), ("us as ms", True), ("right", False)):
        count = sum(found[what] is target for found in units.values())
        said = "refused" if target else "left alone"
        figures.append(
            ledger.figure(
                f"h-{what.replace(' ', '-')}",
                f"devices of four files whose times are {said}: {what}",
                count,
                "devices",
                exactly=len(units) if what == "right" else None,
                reason="; ".join(
                    name for name, found in units.items() if found[what] is not target
                ),
            )
        )
    rows_module.NAMED = 10**9  # every row that is left out is named
    found: dict[str, Mapping[str, int]] = {}
    for name, held in HELD.items():
        for device in (*CHOSEN_BY[name], *held):
            found[device] = suspects(name, device)
        parts = [found[device] for device in held]
        both, left, flagged, none, none_both = (
            sum(part[key] for part in parts)
            for key in ("both", "left_out", "suspect", "no kernel", "no kernel, suspect")
        )
        for id_, what, value in (
            ("precision", "rows left out that the file calls suspect", (both, left)),
            ("precision-kernels", "the same among rows that are kernels",
             (both - none_both, left - none)),
            ("recall", "rows that the file calls suspect and are left out", (both, flagged)),
        ):  # fmt: skip
            part, whole = value
            figures.append(
                ledger.figure(
                    f"c-{name.partition('_')[0]}-{id_}",
                    f"{name}, {', '.join(held)}: {what}, of {whole}",
                    round(part / whole, 3) if whole else None,
                    "share",
                    reason="" if whole else "there is none",
                )
            )
    seconds, megabytes = (round(item) for item in large()) if options.large else (None, None)
    reason = "" if options.large else "asked for with --large"
    what = f"memory at most while a CSV of 1 GB, rows of {ROWS} kernels, is imported"
    figures += [
        ledger.figure("h-large", what, megabytes, "MB", at_most=600, reason=reason),
        ledger.figure(
            "h-large-time", "the same: the processor's time", seconds, "s", reason=reason
        ),
    ]
    lines = [f"{name} | {', '.join(sorted(set(each)))}" for name, each in outcomes.items()]
    by_device = [
        f"{device} | {part['rows']} | {part['suspect']} | {part['left_out']} | {part['both']} | "
        f"{part['no kernel']}"
        for device, part in found.items()
    ]
    ledger.write(
        "imports",
        topic="other-devices",
        figures=figures,
        detail={"outcomes": outcomes, "units": units, "suspects": found},
        notes=[
            ledger.table("shape | outcome", lines),
            "Rules for suspect rows were chosen on the K80 alone; the files' own flags were not "
            "read by them.",
            ledger.table("device | rows | suspect | left out | both | no kernel", by_device),
        ],
    )


if __name__ == "__main__":
    main()
