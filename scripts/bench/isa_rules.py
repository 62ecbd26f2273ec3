"""Rules against runtimes: ONNX Runtime and LiteRT on every instruction set, emulated where need be.

    python scripts/bench/isa_rules.py               # everything; restarts where it stopped
    python scripts/bench/isa_rules.py avx2 neon     # these sets only, nothing written down

Random networks are lowered by the runtime under that processor and anticipated by rule for it.
What a runtime answered is kept under the benchmarks' folder, so that mended rules are held against
it in a minute. With ``--record`` the first networks also go into tests/data, for machines that have
neither the processor nor the emulator.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ledger
import place
from isa_emulator import FURTHER, PROCESSORS, Emulated, EmulatedExecutor, delegated_there

from costmodel.device import Device
from costmodel.errors import ModelFormatError
from costmodel.fusion import anticipate
from costmodel.instruction_sets import INSTRUCTION_SETS, find_instruction_set
from costmodel.network import Network
from costmodel.op import Op, decode_op, encode_op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.litert import lower as litert
from costmodel.runners.ort.device import own_instruction_set
from costmodel.runners.ort.runner import OrtRunner

sys.path.insert(0, str(place.ROOT / "tests" / "helpers"))
_networks = importlib.import_module("random_networks")
#: Runtime and element type, and what draws the networks.
KINDS = {
    ("onnxruntime", "float32"): _networks.RandomNet,
    ("onnxruntime", "int8"): _networks.QuantisableNet,
    ("litert", "float32"): _networks.RandomNet,
    ("litert", "int8"): _networks.RandomNet,
}
ISAS = (*INSTRUCTION_SETS, *(name for name in FURTHER if name not in INSTRUCTION_SETS))
FACTS = place.ROOT / "tests" / "data" / "instruction_sets"
_RECORDED = 24


class Cell:
    """One instruction set, runtime and element type: lowered networks, kept in a file.

    Args:
        isa: a name of ``ISAS``.
        runtime: ``onnxruntime`` or ``litert``.
        dtype: element type.
    """

    def __init__(self, isa: str, runtime: str, dtype: str) -> None:
        self.name = f"{isa} {runtime} {dtype}"
        self.isa, self.runtime, self.dtype = isa, runtime, dtype
        self.rules_isa = isa if isa in INSTRUCTION_SETS else isa.partition("-")[0]
        self.path = place.WORK / "isa" / f"{self.name.replace(' ', '-')}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.known = {entry["seed"]: entry for entry in map(json.loads, lines)}

    @property
    def device(self) -> Device:
        """The device that the rules are told about."""
        return Device(name=self.name, runtime=self.runtime, isa=self.rules_isa, dtype=self.dtype)

    def draw(self, seed: int, folder: Path) -> tuple[Path, Network]:
        """A random network by its number, as a file and as it is read."""
        path: Path = KINDS[self.runtime, self.dtype](seed).save(folder / f"{seed}.onnx")
        return path, read_onnx(path)

    def fill(self, count: int, processor: str) -> None:
        """Have the runtime lower networks until so many are known, or refused for good."""
        with TemporaryDirectory(prefix="isa-") as name, Emulated(processor) as emulated:
            for seed in self.seeds(count):
                path, written = self.draw(seed, Path(name))
                if self.known.get(seed, {}).get("written") == digest(written):
                    continue
                entry = {"seed": seed, "written": digest(written)}
                try:
                    entry["ops"] = [encode_op(op).decode() for op in self.lower(emulated, path)]
                except ModelFormatError as error:
                    entry["refused"] = str(error).replace(str(path), path.name)
                self.known[seed] = entry
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def lower(self, emulated: Emulated, path: Path) -> tuple[Op, ...]:
        """What the runtime there executes."""
        if self.runtime == "litert":
            model = litert.open_model(path, {}, self.dtype)
            return litert.lower(model, path.stem, lambda m: delegated_there(emulated, m)).ops
        executor, block = EmulatedExecutor(emulated), find_instruction_set(self.rules_isa).own_block
        return OrtRunner(dtype=self.dtype).lower_by(path, {}, executor, block).ops

    def seeds(self, count: int) -> Iterator[int]:
        """Numbers of the networks, until ``count`` of them were not refused."""
        seed = 0
        while count:
            yield seed
            count -= "refused" not in self.known.get(seed, {})
            seed += 1

    def differences(self, count: int) -> dict[int, tuple[list[str], list[str]]]:
        """By seed, the kernels that only the runtime has and those that only the rules have."""
        found = {}
        with TemporaryDirectory(prefix="isa-") as name:
            for seed in self.seeds(count):
                if "refused" in self.known[seed]:
                    continue
                _, written = self.draw(seed, Path(name))
                lowered = Counter(map(decode_op, self.known[seed]["ops"]))
                anticipated = Counter(anticipate(written, self.device).ops)
                if lowered != anticipated:
                    found[seed] = tuple(
                        sorted(f"{op.implementation} {op.label}" for op in rest.elements())
                        for rest in (lowered - anticipated, anticipated - lowered)
                    )
        return found


def digest(network: Network) -> str:
    """Name of a network as written."""
    text = "\n".join(op.digest for op in network.ops)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def processor_for(isa: str) -> str:
    """What to run under; empty where this machine cannot."""
    if isa == own_instruction_set():
        return "native"
    return isa if isa in {*PROCESSORS, *FURTHER} else ""


def measure(cell: Cell, count: int) -> tuple[ledger.Figure, dict[str, Any]]:
    """One line of the ledger and its detail."""
    begun = time.perf_counter()
    what = f"networks of {count} whose kernels the rules say exactly, {cell.name}"
    processor = processor_for(cell.isa)
    fields: dict[str, Any] = {
        "id": f"c-{cell.name.replace(' ', '-')}", "what": what, "target": str(count),
        "unit": "networks", "seed": 0,
    }  # fmt: skip
    if not processor:
        reason = "this machine has no such processor, and no emulator has it"
        return ledger.figure(**fields, reached=None, passed=None, reason=reason), {}
    cell.fill(count, processor)
    apart = cell.differences(count)
    detail = {
        "processor": {**PROCESSORS, **FURTHER}.get(processor, "as it is"),
        "refused by the conversion": [s for s, e in cell.known.items() if "refused" in e],
        "differ": apart,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(f"{cell.name}: {count - len(apart)} of {count}, {detail['seconds']} s", flush=True)
    reached = count - len(apart)
    return ledger.figure(**fields, reached=reached, passed=reached == count), detail


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("isa", nargs="*", choices=[[], *ISAS], default=[])
    parser.add_argument("--runtime", choices=sorted({runtime for runtime, _ in KINDS}))
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--show", action="store_true", help="print every difference")
    given = parser.parse_args()
    started = time.perf_counter()
    cells = [
        Cell(isa, runtime, dtype)
        for isa in given.isa or ISAS
        for runtime, dtype in KINDS
        if given.runtime in {None, runtime}
    ]
    work: Callable[[Cell], tuple[ledger.Figure, dict[str, Any]]] = lambda cell: measure(
        cell, given.networks
    )
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = list(pool.map(work, cells))
    if given.show:
        for cell, (_, detail) in zip(cells, found, strict=True):
            for seed, (lowered, anticipated) in detail.get("differ", {}).items():
                print(f"{cell.name} {seed}\n  runtime {lowered}\n  rules   {anticipated}")
    if given.isa or given.runtime:
        return
    ledger.write(
        "isa-rules",
        figures=[figure for figure, _ in found],
        started=started,
        detail={
            "cells": {cell.name: detail for cell, (_, detail) in zip(cells, found, strict=True)}
        },
        issue="house",
    )


if __name__ == "__main__":
    main()
