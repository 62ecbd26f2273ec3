"""What fuzzing found a fault with is read once more: it ends in an error of ours, or in a result.

What fuzzing finds is made small and put into ``tests/data/hostile``, in the folder of its reader
(``scripts/fuzz/readers.py``).
"""

from __future__ import annotations

import contextlib
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from costmodel.errors import CostModelError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "fuzz"))

import mutation  # noqa: E402
import readers  # noqa: E402

FILES = sorted(path for path in (ROOT / "tests" / "data" / "hostile").glob("*/*"))
#: Largest file that is kept, and of all together, in bytes.
LARGEST, MOST = 16 << 10, 512 << 10
#: Damaged copies of each reader's first starts that are read besides.
COPIES = 12


def read(reader: Any, path: Path) -> None:
    if reader.name == "tflite" and find_spec("ai_edge_litert") is None:
        pytest.skip("needs the litert extra")
    with contextlib.suppress(CostModelError):
        reader.read(path)


def test_what_is_kept_is_small() -> None:
    sizes = [path.stat().st_size for path in FILES]
    assert max(sizes) <= LARGEST
    assert sum(sizes) <= MOST


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_ends_well(path: Path, tmp_path: Path) -> None:
    reader = readers.reader_of(path.parent.name)
    copy = tmp_path / f"model{reader.ending}"
    copy.write_bytes(path.read_bytes())
    read(reader, copy)


@pytest.mark.parametrize("reader", readers.READERS, ids=lambda reader: reader.name)
def test_damaged_files_end_well(reader: Any, tmp_path: Path) -> None:
    chance = random.Random(0)
    path = tmp_path / f"model{reader.ending}"
    starts = [data for _, data in zip(range(4), reader.starts(), strict=False)]
    for place, data in enumerate(starts):
        path.write_bytes(data)
        if place:
            read(reader, path)
        elif reader.name != "tflite" or find_spec("ai_edge_litert"):
            reader.read(path)  # what fuzzing starts from is whole
    for _ in range(COPIES):
        path.write_bytes(reader.mutate(chance.choice(starts), chance))
        read(reader, path)


def test_a_mutation_is_the_same_for_the_same_chance() -> None:
    for change in (mutation.mutate_bytes, mutation.mutate_json, mutation.mutate_lines):
        first, second = (change(b'{"a": [1, 2]}\n{"b": 3}', random.Random(5)) for _ in range(2))
        assert first == second
