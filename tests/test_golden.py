"""Files of every format, as each release wrote them, are read by today's code; later ones are not.

Tests of single formats lie with their readers; here is what holds for all of them.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import costmodel
from costmodel.errors import CostModelError, InvalidInputError
from costmodel.table import LatencyTable
from morphnet_core.morphing.statefile import State, read_state, write_state
from morphnet_core.structure import Structure

RELEASES = sorted(path.name for path in golden.FOLDER.iterdir())
FILES = [
    pytest.param(release, name, id=f"{release}-{name}")
    for release in RELEASES
    for name in golden.SUMMARIES
    if (golden.FOLDER / release / name).exists()
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)  # fmt: skip
NAMES = st.text("abcdefgh/0123456789", min_size=1, max_size=8)
DTYPES = st.sampled_from(["?", "u1", "i8", "f2", "f4", "f8", "c8"])


@pytest.mark.parametrize(("release", "name"), FILES)
def test_what_a_release_wrote_is_read_as_it_was_meant(release: str, name: str) -> None:
    folder = golden.FOLDER / release
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    found = golden.SUMMARIES[name](folder / name)
    assert json.loads(json.dumps(found)) == expected[name]


def test_this_release_has_golden_files_of_every_format() -> None:
    assert costmodel.__version__ in RELEASES, "run: python scripts/write_golden.py"
    there = {name for name in golden.SUMMARIES if (golden.FOLDER / RELEASES[-1] / name).exists()}
    assert there == golden.SUMMARIES.keys()


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_read_and_written_again_is_the_same(release: str, tmp_path: Path) -> None:
    folder = golden.FOLDER / release
    table = LatencyTable.load(folder / "table.jsonl")
    table.save(tmp_path / "table.jsonl")
    assert golden.of_table(tmp_path / "table.jsonl") == golden.of_table(folder / "table.jsonl")
    assert table.merged(LatencyTable.load(tmp_path / "table.jsonl")) == table
    kept = Structure.load(folder / "structure.json")
    kept.save(tmp_path / "structure.json")
    assert Structure.load(tmp_path / "structure.json") == kept


@settings(deadline=None, max_examples=25)
@given(
    st.dictionaries(NAMES, PLAIN, max_size=3),
    st.dictionaries(NAMES, PLAIN, max_size=3),
    st.dictionaries(NAMES, arrays(DTYPES, st.tuples(st.integers(0, 2), st.integers(0, 3)))),
)
def test_a_state_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, belongs: Any, values: Any, held: Any
) -> None:
    path = tmp_path_factory.mktemp("state") / "s.npz"
    write_state(path, belongs, State(values=values, arrays=held))
    found = read_state(path, belongs)
    assert found.values == values
    assert found.arrays.keys() == held.keys()
    for name, array in held.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def later_json(path: Path, *keys: str) -> None:
    """Raise the version that a JSON file names."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for item in content if isinstance(content, list) else [content]:
        for key in keys[:-1]:
            item = item[key]
        item[keys[-1]] = 2
    path.write_text(json.dumps(content), encoding="utf-8")


def later_table(path: Path) -> None:
    head, rest = path.read_text(encoding="utf-8").split("\n", 1)
    path.write_text(json.dumps({**json.loads(head), "format": 2, "new": 1}) + "\n" + rest)


def later_state(path: Path) -> None:
    with np.load(path) as found:
        held = dict(found)
    text = json.dumps({**json.loads(str(held["head"])), "format": 2})
    held |= {"head": np.array(text), "head_sum": np.array(zlib.crc32(text.encode()))}
    with path.open("wb") as handle:
        np.savez(handle, **held)


@pytest.mark.parametrize(
    ("name", "raised", "words"),
    [
        ("table.jsonl", later_table, r"table\.jsonl, line 1: the table has format 2; .* upgrade"),
        (
            "structure.json",
            lambda path: later_json(path, "morphnet", "format"),
            r"structure\.json, 'morphnet', 'format': it is 2, not 1; update",
        ),
        (
            "prediction.json",
            lambda path: later_json(path, "schema_version"),
            r"prediction\.json: it has schema_version 2, .* reads 1; update",
        ),
        (
            "comparison.json",
            lambda path: later_json(path, "schema_version"),
            r"comparison\.json: it has schema_version 2, .* reads 1; update",
        ),
        (
            "morph/morph.json",
            lambda path: later_json(path, "schema_version"),
            r"morph\.json: it has schema_version 2, .* reads 1; update",
        ),
        ("state.npz", later_state, r"state\.npz is of format 2, and this version reads 1"),
        (
            "fleets/fleet.json",
            lambda path: later_json(path, "format"),
            r"fleet\.json is of format 2; this version reads 1\. Update",
        ),
        (
            "plan.json",
            lambda path: later_json(path, "morphnet", "format"),
            r"plan\.json, 'morphnet', 'format': it is 2, not 1; update",
        ),
        (
            "calibration.json",
            lambda path: later_json(path, "format"),
            r"calibration\.json has format 2; this version reads 1\. Update",
        ),
    ],
)
def test_what_a_later_version_wrote_is_refused_by_its_version(
    name: str, raised: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(golden.FOLDER / RELEASES[-1] / name, path)
    raised(path)
    with pytest.raises(CostModelError, match=re.compile(words, re.DOTALL)):
        golden.SUMMARIES[name](path)


def test_a_baseline_of_a_later_version_is_refused_by_its_version(tmp_path: Path) -> None:
    from costmodel.baseline import read_baseline

    path = tmp_path / "comparison.json"
    shutil.copy(golden.FOLDER / RELEASES[-1] / path.name, path)
    later_json(path, "schema_version")
    with pytest.raises(InvalidInputError, match=r"comparison\.json: it has schema_version 2"):
        read_baseline(path)
