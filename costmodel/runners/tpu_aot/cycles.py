"""What a compiled TPU program executes and for how many cycles, from its optimised HLO."""

from __future__ import annotations

import re
from collections.abc import Iterator

from costmodel.hlo_model.module import Instruction, Module

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
#: Names of values, and transfers that run beside the work, for which there is no estimate.
_FREE = frozenset(
    {
        "after-all", "async-done", "async-start", "async-update", "bitcast", "constant",
        "copy-done", "copy-start", "get-tuple-element", "opt-barrier", "parameter", "partition-id",
        "replica-id", "slice-done", "slice-start", "tuple",
    }
)  # fmt: skip
#: Custom calls that only give a name to memory.
_FREE_TARGETS = frozenset({"AllocateBuffer", "ConcatBitcast"})
#: Work whose time depends on data, or that is a library's own: a sum without it would be wrong.
_OPAQUE = frozenset({"call", "conditional", "custom-call", "fusion", "sort", "while"})


def cycles_of(item: Instruction) -> int | None:
    """The compiler's estimate for one executed instruction; None where it gives none."""
    found = _CYCLES.search(item.attributes.get("backend_config", ""))
    return int(found[1]) if found else None


def working(module: Module) -> list[Instruction]:
    """Instructions of the entry computation that do work of their own, in order."""
    return [item for item in module.entry.instructions.values() if not is_free(item)]


def is_free(item: Instruction) -> bool:
    """Whether an instruction does no work of its own, or work beside that of others."""
    return item.opcode in _FREE or item.target in _FREE_TARGETS


def total_cycles(module: Module) -> int:
    """Sum of the estimates over the entry computation."""
    return sum(cycles_of(item) or 0 for item in working(module))


def without_estimate(module: Module) -> tuple[str, ...]:
    """Opcodes in the entry of work that is missing from the sum, sorted."""
    missing = {item.opcode for item in working(module) if cycles_of(item) is None}
    return tuple(sorted(missing & _OPAQUE))


def inside(module: Module, item: Instruction) -> Iterator[Instruction]:
    """An instruction and all in the computations that it runs."""
    yield item
    for name in item.called:
        for inner in module.computations[name].instructions.values():
            yield from inside(module, inner)
