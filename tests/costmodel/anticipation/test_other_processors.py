"""The rules for processors that this machine has not got, against what was recorded of them.

Written by ``scripts/bench/isa_rules.py --record``, which asked each runtime under each processor.
On the processor at hand the other tests of this folder ask the installed runtime.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from random_networks import Builder, QuantisableNet, RandomNet

from costmodel.anticipation import anticipate
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.instruction_sets import INSTRUCTION_SETS
from costmodel.network import Network
from costmodel.op import Op
from costmodel.readers.onnx import read_onnx

DATA = Path(__file__).parents[2] / "data" / "instruction_sets"
KINDS = {
    ("onnxruntime", "float32"): RandomNet,
    ("onnxruntime", "int8"): QuantisableNet,
    ("litert", "float32"): RandomNet,
    ("litert", "int8"): RandomNet,
}
#: What no rule is made for: see ``test_float_networks_on_sme_are_refused``.
REFUSED = {("onnxruntime", "float32", "sme")}
MARKS = frozenset({"number", "operator"})
CELLS = [(*kind, isa) for kind in KINDS for isa in INSTRUCTION_SETS if (*kind, isa) not in REFUSED]


@pytest.fixture(scope="module")
def recorded() -> dict[tuple[str, str], Any]:
    return {
        (runtime, dtype): json.loads((DATA / f"{runtime}-{dtype}.json").read_text(encoding="utf-8"))
        for runtime, dtype in KINDS
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random network of a kind by its seed, as it is read."""
    folder = tmp_path_factory.mktemp("networks")
    known: dict[tuple[type, int], Network] = {}

    def read(draw: type, seed: int) -> Network:
        if (draw, seed) not in known:
            path = draw(seed).save(folder / f"{draw.__name__}{seed}.onnx")
            known[draw, seed] = read_onnx(path)
        return known[draw, seed]

    return read


def _unmarked(op: Op) -> Op:
    """As it was recorded: readers have noted for ONNX Runtime's rules since what is no work."""
    return replace(op, attributes=tuple(pair for pair in op.attributes if pair[0] not in MARKS))


@pytest.mark.parametrize(("runtime", "dtype", "isa"), CELLS)
def test_rules_say_what_was_recorded(
    recorded: dict[tuple[str, str], Any], written: Any, runtime: str, dtype: str, isa: str
) -> None:
    facts = recorded[runtime, dtype]
    assert len(facts["networks"]) >= 16
    device = Device(name=isa, runtime=runtime, isa=isa, dtype=dtype)
    for entry in facts["networks"]:
        network = written(KINDS[runtime, dtype], entry["seed"])
        assert [_unmarked(op).digest for op in network.ops] == entry["written"], (
            "random_networks.py draws other networks than were recorded: record them anew"
        )
        (executed,) = (ops for isas, ops in entry["executed"].items() if isa in isas.split())
        anticipated = anticipate(network, device).ops
        labels = facts["kernels"] | {op.digest: op.label for op in anticipated}
        apart = Counter(executed), Counter(op.digest for op in anticipated)
        only = [[labels[name] for name in (a - b).elements()] for a, b in (apart, apart[::-1])]
        assert only == [[], []], f"seed {entry['seed']}: only executed, only anticipated"


def test_every_set_was_recorded_in_every_kind(recorded: dict[tuple[str, str], Any]) -> None:
    for facts in recorded.values():
        for entry in facts["networks"]:
            assert {isa for isas in entry["executed"] for isa in isas.split()} >= {
                *INSTRUCTION_SETS
            }


def test_blocks_differ_between_sets_and_integers_do_not(
    recorded: dict[tuple[str, str], Any],
) -> None:
    """The recorded networks tell instruction sets apart, so that the test above can fail."""
    floats = recorded["onnxruntime", "float32"]["networks"]
    apart = [{*isas.split()} for entry in floats for isas in entry["executed"]]
    assert {"sse", "avx", "avx2"} in apart
    assert {"avx512"} in apart
    assert any("neon" in isas and "sme" not in isas for isas in apart)
    assert all(len(entry["executed"]) == 1 for entry in recorded["litert", "int8"]["networks"])


def test_float_networks_on_sme_are_refused(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    network = read_onnx(build.save(tmp_path / "net.onnx", build.conv("x", 8, 8)))
    device = Device(name="board", runtime="onnxruntime", isa="sme")
    with pytest.raises(InvalidInputError, match=r"no rules for float32 .* with sme .*asked itself"):
        anticipate(network, device)
