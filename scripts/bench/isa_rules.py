"""Rules against runtimes: ONNX Runtime and LiteRT on every instruction set, emulated where need be.

    python scripts/bench/isa_rules.py                # everything; goes on where it stopped
    python scripts/bench/isa_rules.py avx2 neon      # these sets only, nothing written down
    python scripts/bench/isa_rules.py --record       # and tests/data/instruction_sets anew

Random networks are lowered by the runtime under such a processor, by the code that ``lower`` runs,
and anticipated by rule for it. What a runtime answered is kept in the benchmarks' folder, so that
mended rules are held against it within a minute. Needs Debian's ``qemu-user``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ledger
import place
from isa_emulator import PROCESSORS, Emulated, EmulatedExecutor, delegated_there

from costmodel.anticipation import anticipate
from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.instruction_sets import INSTRUCTION_SETS, find_instruction_set
from costmodel.lite_model.write import write_model
from costmodel.network import Network
from costmodel.op import Op, decode_op, encode_op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.litert import delegated as litert
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
#: Where networks that were recorded for the tests lie, and how many of each kind.
FACTS = place.ROOT / "tests" / "data" / "instruction_sets"
_RECORDED = 16


class Cell:
    """One instruction set, runtime and element type: lowered networks, kept in a file.

    Args:
        isa: an instruction set, or another processor of ``PROCESSORS``.
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

    def written(self, seed: int) -> list[str]:
        """Digests of a random network's layers."""
        with TemporaryDirectory(prefix="isa-") as name:
            return [op.digest for op in self.draw(seed, Path(name))[1].ops]

    def fill(self, count: int, processor: str) -> None:
        """Have the runtime lower networks until it took so many."""
        with TemporaryDirectory(prefix="isa-") as name, Emulated(processor) as emulated:
            for seed in self.seeds(count):
                path, written = self.draw(seed, Path(name))
                entry: dict[str, Any] = {"seed": seed, "written": digest(written)}
                try:
                    self._lower(entry, emulated, path)
                except ModelFormatError as error:
                    entry["refused"] = str(error).replace(str(path), path.name)
                if entry == self.known.get(seed):
                    continue
                self.known[seed] = entry
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def _lower(self, entry: dict[str, Any], emulated: Emulated, path: Path) -> None:
        """Add what the runtime there executes, unless it is known."""
        before = self.known.get(entry["seed"], {})
        if self.runtime == "litert":
            model = litert.open_model(path, {}, self.dtype)
            entry["model"] = hashlib.sha256(write_model(model)).hexdigest()
        if "ops" in before and {**entry, "ops": before["ops"]} == before:
            entry["ops"] = before["ops"]
            return
        if self.runtime == "litert":
            lowered = litert.lower(model, "net", lambda m: delegated_there(emulated, m)).ops
        else:
            block = find_instruction_set(self.rules_isa).own_block
            runner = OrtRunner(dtype=self.dtype)
            lowered = runner.lower_by(path, {}, EmulatedExecutor(emulated), block).ops
        entry["ops"] = [encode_op(op).decode() for op in lowered]

    def seeds(self, count: int) -> Iterator[int]:
        """Numbers of the networks, until ``count`` of them were not refused."""
        seed = 0
        while count:
            yield seed
            count -= "refused" not in self.known.get(seed, {})
            seed += 1

    def taken(self, count: int) -> list[int]:
        """Numbers of the first networks that were not refused."""
        return [seed for seed in self.seeds(count) if "refused" not in self.known[seed]]

    def differences(self, count: int) -> dict[int, list[list[str]]]:
        """By seed, the kernels that only the runtime has and those that only the rules have.

        Raises:
            InvalidInputError: if there are no rules for this.
        """
        found = {}
        with TemporaryDirectory(prefix="isa-") as name:
            for seed in self.taken(count):
                _, written = self.draw(seed, Path(name))
                lowered = Counter(map(decode_op, self.known[seed]["ops"]))
                anticipated = Counter(anticipate(written, self.device).ops)
                if lowered != anticipated:
                    rests = (lowered - anticipated, anticipated - lowered)
                    found[seed] = [sorted(map(shown, rest.elements())) for rest in rests]
        return found


def digest(network: Network) -> str:
    """Name of a network as written."""
    text = "\n".join(op.digest for op in network.ops)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def shown(op: Op) -> str:
    """A kernel in one line."""
    return f"{op.implementation} {op.label}".strip()


def processor_for(isa: str) -> str:
    """What to run under; empty where this machine cannot."""
    if isa == own_instruction_set():
        return "native"
    return isa if isa in PROCESSORS else ""


def measure(cell: Cell, count: int) -> tuple[ledger.Figure, dict[str, Any]]:
    """One line of the ledger and its detail."""
    begun = time.perf_counter()
    fields: dict[str, Any] = {
        "id": f"c-{cell.name.replace(' ', '-')}",
        "what": f"networks of {count} whose kernels the rules say exactly, {cell.name}",
        "target": str(count),
        "unit": "networks",
        "seed": 0,
    }
    processor = processor_for(cell.isa)
    if not processor:
        reason = "this machine has no such processor, and no emulator has it"
        return ledger.figure(**fields, reached=None, passed=None, reason=reason), {}
    cell.fill(count, processor)
    detail: dict[str, Any] = {
        "processor": PROCESSORS.get(processor, "as it is"),
        "refused by the conversion": [s for s, e in cell.known.items() if "refused" in e],
    }
    try:
        apart = cell.differences(count)
    except InvalidInputError as error:
        print(f"{cell.name}: {error}", flush=True)
        return ledger.figure(**fields, reached=None, passed=None, reason=str(error)), detail
    detail |= {"differ": apart, "seconds": round(time.perf_counter() - begun, 1)}
    reached = count - len(apart)
    print(f"{cell.name}: {reached} of {count}, {detail['seconds']} s", flush=True)
    for seed, (lowered, anticipated) in apart.items():
        print(f"  {seed}\n    runtime {lowered}\n    rules   {anticipated}")
    return ledger.figure(**fields, reached=reached, passed=not apart), detail


def record(cells: list[Cell]) -> None:
    """Write the first networks of each kind down, with what is executed on each set."""
    FACTS.mkdir(parents=True, exist_ok=True)
    for runtime, dtype in KINDS:
        same = [c for c in cells if (c.runtime, c.dtype) == (runtime, dtype) and c.known]
        kernels: dict[str, str] = {}
        networks = []
        for seed in same[0].taken(_RECORDED):
            executed: dict[tuple[str, ...], list[str]] = {}
            for cell in same:
                ops = [decode_op(text) for text in cell.known[seed]["ops"]]
                kernels |= {op.digest: shown(op) for op in ops}
                executed.setdefault(tuple(sorted(op.digest for op in ops)), []).append(cell.isa)
            networks.append(
                {
                    "seed": seed,
                    "written": same[0].written(seed),
                    "executed": {" ".join(isas): list(key) for key, isas in executed.items()},
                }
            )
        content = {"networks": networks, "kernels": dict(sorted(kernels.items()))}
        path = FACTS / f"{runtime}-{dtype}.json"
        path.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")


def main() -> None:
    parser = ledger.parser(__doc__)
    sets = list(dict.fromkeys([*INSTRUCTION_SETS, *PROCESSORS]))
    parser.add_argument("isa", nargs="*", help=f"of {', '.join(sets)}; all unless given")
    parser.add_argument("--runtime", choices=sorted({runtime for runtime, _ in KINDS}))
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--record", action="store_true", help="write tests/data anew")
    given = parser.parse_args()
    cells = [
        Cell(isa, runtime, dtype)
        for isa in given.isa or sets
        for runtime, dtype in KINDS
        if given.runtime in {None, runtime}
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = list(pool.map(lambda cell: measure(cell, given.networks), cells))
    if given.isa or given.runtime:
        return
    if given.record:
        record(cells)
    details = {cell.name: detail for cell, (_, detail) in zip(cells, found, strict=True)}
    lines = []
    for cell, (figure, detail) in zip(cells, found, strict=True):
        reached = figure["reached"]
        count = f"{reached} of {given.networks}" if reached is not None else figure["reason"]
        runtime = f"{cell.runtime} {cell.dtype}"
        lines.append(f"{cell.isa} | {detail.get('processor', '-')} | {runtime} | {count}")
    columns = "instruction set | processor | runtime | networks that agree"
    ledger.write(
        "isa-rules",
        topic="house",
        figures=[figure for figure, _ in found],
        detail={"cells": details},
        notes=[ledger.table(columns, lines)],
    )


if __name__ == "__main__":
    main()
