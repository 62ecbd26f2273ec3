"""The table of instruction sets, and how a processor's features name one of them."""

from __future__ import annotations

import pytest

from costmodel.instruction_sets import (
    INSTRUCTION_SETS,
    find_instruction_set,
    name_instruction_set,
)

BEST = "avx avx2 avx512bw avx512dq avx512f avx512vl f16c fma sse4_2"


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        (BEST, "x86_64", "avx512"),
        (BEST.replace("avx512vl", ""), "x86_64", "avx2"),
        ("avx avx2 sse4_2", "x86_64", "avx"),  # blocked kernels of AVX2 need FMA too
        ("avx sse4_2", "x86_64", "avx"),
        ("sse sse2", "x86_64", "sse"),
        ("", "AMD64", "sse"),
        ("fp asimd sve", "aarch64", "neon"),
        ("fp asimd sve sme", "aarch64", "sme"),
        ("", "arm64", "neon"),
        ("neon vfpv4", "armv7l", "armv7l"),
        ("", "riscv64", "riscv64"),
    ],
)
def test_features_name_the_best_set(flags: str, machine: str, expected: str) -> None:
    assert name_instruction_set(set(flags.split()), machine) == expected


def test_features_are_believed_before_the_machine_that_reads_them() -> None:
    """A board's features are named on the host that profiles it."""
    assert name_instruction_set({"asimd"}, "x86_64") == "neon"


def test_blocks_of_released_builds_and_of_ones_own() -> None:
    found = {name: (known.block, known.own_block) for name, known in INSTRUCTION_SETS.items()}
    assert found == {
        "avx512": (16, 16),
        "avx2": (8, 8),
        "avx": (8, 8),
        "sse": (8, 8),
        "sme": (1, 16),
        "neon": (1, 16),
    }
    unknown = find_instruction_set("riscv64")
    assert (unknown.block, unknown.own_block, unknown.float_rules) == (1, 1, True)
