"""The profiles of phones' and other people's GPUs that are shipped, from public lists.

Only numbers under the MIT or Apache-2.0 licence are passed on. Of long lists a part is taken at
random, so that a profile stays small; rows that ``costmodel check`` finds fault with are left out.

    COSTMODEL_SHARED=../shared python scripts/import_profiles.py
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from costmodel.audit import audit, repeatability
from costmodel.device import Device
from costmodel.imports.imported import Imported
from costmodel.imports.presets import PRESETS
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.table import LatencyTable
from costmodel.tidy.rows import Rows
from costmodel.uses.importing import import_file

ROOT = Path(__file__).resolve().parents[1]
LATENCY = Path(os.environ.get("COSTMODEL_SHARED", ROOT.parent / "shared")) / "data" / "latency"
#: Most rows of a profile.
MOST_ROWS = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A public list.

    Attributes:
        file: its name.
        repository: where it was published.
        licence: of the repository, whose notice says whose the numbers are.
        measured: what was timed, and how.
        repeats: what is known of how well it repeats.
        providers: back ends that are shipped.
        networks: list of whole networks whose kernels these are; empty without one.
    """

    file: str
    repository: str
    licence: str
    measured: str
    repeats: str
    providers: tuple[str, ...] = ("",)
    networks: str = ""


SOURCES = (
    Source(
        file="mobile_gpu_ops.parquet",
        repository="https://github.com/qed-usc/mobile-ml-benchmark",
        licence="MIT",
        measured="every kernel of 102 image networks, one by one, batch 1, by the runtime's own "
        "profiler on the phone",
        repeats="the same kernel in several networks",
        networks="mobile_networks.parquet",
    ),
    Source(
        file="nvidia_gpu_conv.parquet",
        repository="https://github.com/CDECatapult/ml-performance-prediction",
        licence="Apache-2.0",
        measured="random convolutions with bias and activation, forward, in TensorFlow 1 with "
        "cuDNN; the median of several runs of each",
        repeats="standard deviation over the runs of each",
    ),
    Source(
        file="amd_gpu_conv.parquet",
        repository="https://github.com/ROCm/MIOpen",
        licence="MIT",
        measured="forward convolutions of MIOpen's find-db, batch 1 to 4096, each with the fastest "
        "of its solvers",
        repeats="not known: each has one number",
        providers=("hip",),
    ),
)


def chosen(table: LatencyTable) -> list[Measurement]:
    """Rows without fault, a part of them at random where there are many."""
    faults = {item.op for item in audit(table) if item.op is not None and not item.is_information}
    rows = [row for op, row in table.items() if op not in faults]
    if len(rows) <= MOST_ROWS:
        return rows
    places = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]
    return [rows[at] for at in sorted(places)]


@cache
def whole_networks(file: str) -> Imported:
    """A list of networks, read once."""
    return import_file(LATENCY / file)


def networks(device: Device, source: Source) -> list[Measurement]:
    """Networks that were timed whole on the device, each with the kernels that it runs.

    Those with a kernel that is in no row are left out: their sum would lack it.
    """
    whole = whole_networks(source.networks)
    times = {
        row.op.attribute("name", ""): row
        for table in whole.tables
        if table.device == device
        for row in table.models()
    }
    frame = pd.read_parquet(LATENCY / source.file)
    tidy = PRESETS[Path(source.file).stem].tidy(frame).assign(model=frame["model"])
    own = tidy[(tidy["device"] == device.name) & (tidy["runtime"] == device.runtime)]
    found = []
    for name, kernels in ((str(key), part) for key, part in own.groupby("model", sort=False)):
        rows = Rows()
        rows.add(kernels.drop(columns="model").reset_index(drop=True))
        if rows.left_out or name not in times:
            continue
        counts = rows.counts(device)
        ops = tuple(op for op, count in counts.items() for _ in range(count))
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        found.append(replace(times[name], op=model_op(name, digest, ops)))
    return found


def profiles(source: Source) -> Iterator[tuple[LatencyTable, LatencyTable, Imported]]:
    """What is shipped, what it was chosen from, and the import of it all."""
    found = import_file(LATENCY / source.file)
    for whole in found.tables:
        if whole.device.provider in source.providers:
            state = {"source": source.repository, "licence": source.licence}
            rows = chosen(whole)
            if source.networks:
                rows += networks(whole.device, source)
            part = LatencyTable(replace(whole.device, state=state), rows)
            yield part, whole, found


def card(table: LatencyTable, whole: LatencyTable, source: Source, found: Imported) -> str:
    """Where a profile is from, and how far to trust it."""
    device = table.device
    repeats = repeatability(table)
    agree = (
        f"{repeats.within_5:.0%} of {repeats.rows} kernels within 5 %, {repeats.within_10:.0%} "
        f"within 10 % ({source.repeats})"
        if repeats.rows
        else source.repeats
    )
    left = "; ".join(
        f"{item.count} ({item.column} {item.problem})"
        for item in found.left_out
        if item.problem != "is missing"
    )
    nets = f", and {len(table.models())} whole networks" if table.models() else ""
    rows = [
        ("device", device.name),
        (
            "runtime",
            " ".join(filter(None, (device.runtime, device.runtime_version, device.provider))),
        ),
        ("element type", device.dtype),
        ("provenance", "imported: timed by others, not by this project"),
        ("source", f"{source.repository}, as published in November 2026"),
        ("what was measured", source.measured),
        ("rows", f"{len(table.kernels())} of {len(whole)} kernels{nets}"),
        ("left out of the list", f"{left} of {found.rows} rows of all its devices"),
        ("repeatability", agree),
        ("made", "`scripts/import_profiles.py`"),
        ("licence", f"{source.licence}, with the notice of the source"),
    ]
    lines = [f"# {device.slug}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", *(f"- {note}" for note in found.notes), ""] if found.notes else [""]
    lines += [f"    costmodel show {device.slug}", f"    costmodel score {device.slug}", ""]
    return "\n".join(lines)


def main() -> None:
    for source in SOURCES:
        for table, whole, found in profiles(source):
            target = ROOT / "profiles" / f"{table.device.slug}.jsonl"
            table.save(target)
            text = card(table, whole, source, found)
            target.with_suffix(".md").write_text(text, encoding="utf-8")
            size = target.stat().st_size
            print(f"{target.relative_to(ROOT)}: {len(table)} rows, {size:,} bytes")


if __name__ == "__main__":
    main()
