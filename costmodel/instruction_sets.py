"""Instruction sets: which there are, how a processor's flags name one, what each decides.

The one table that rules, runners and prices share. Each line was seen by letting the runtime lower
random networks on such a processor, most of them emulated (``docs/decisions/instruction-sets.md``).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSet:
    """What an instruction set decides about the kernels that ONNX Runtime chooses.

    Attributes:
        flags: what a system must list among its processor's features; none for the least of a
            family.
        block: channels per block of the NCHWc layout in released builds; 1 where these have no
            such kernels.
        own_block: the same in builds of one's own, which may have kernels that released ones lack.
        float_rules: whether it is known which kernels float networks run as.
    """

    flags: frozenset[str] = frozenset()
    block: int = 1
    own_block: int = 1
    float_rules: bool = True


#: By name, of two that a processor has the better first. Released wheels for ARM have no blocked
#: kernels; where they were built in (``onnxruntime_USE_ARM_NEON_NCHWC``), a block is 16.
INSTRUCTION_SETS = MappingProxyType(
    {
        "avx512": InstructionSet(
            flags=frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}), block=16, own_block=16
        ),
        "avx2": InstructionSet(flags=frozenset({"avx2", "fma"}), block=8, own_block=8),
        "avx": InstructionSet(flags=frozenset({"avx"}), block=8, own_block=8),
        "sse": InstructionSet(block=8, own_block=8),
        # Some of its float convolutions ask for channels last, which no rule follows.
        "sme": InstructionSet(flags=frozenset({"asimd", "sme"}), own_block=16, float_rules=False),
        "neon": InstructionSet(flags=frozenset({"asimd"}), own_block=16),
    }
)
#: What every processor of a family has, by what ``platform.machine`` calls the family.
_LEAST = {"aarch64": "neon", "amd64": "sse", "arm64": "neon", "x86_64": "sse"}
_UNKNOWN = InstructionSet()


def find_instruction_set(isa: str) -> InstructionSet:
    """What is known of an instruction set; plain kernels where nothing is.

    >>> find_instruction_set("avx").block, find_instruction_set("neon").block
    (8, 1)
    """
    return INSTRUCTION_SETS.get(isa, _UNKNOWN)


def name_instruction_set(flags: Set[str], machine: str) -> str:
    """The best instruction set of a processor.

    Args:
        flags: its features in Linux's words; empty where the system does not tell.
        machine: its family, as ``platform.machine`` calls it.

    Returns:
        A key of ``INSTRUCTION_SETS``, or ``machine`` for a family that has none of them.

    >>> name_instruction_set({"sse2", "avx"}, "x86_64"), name_instruction_set(set(), "riscv64")
    ('avx', 'riscv64')
    """
    for name, known in INSTRUCTION_SETS.items():
        if known.flags and known.flags <= flags:
            return name
    return _LEAST.get(machine.lower(), machine)
