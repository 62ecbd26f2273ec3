"""Files that are no table, or hold what no table may: refused by file, line and field."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from table_text import ADD, CONV, DEVICE, NAN, folder, row_text, visit, write

from costmodel.errors import (
    InvalidInputError,
    TableFormatError,
)
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.table import LatencyTable

GOOD_ROUND = {"number": 0, "quiet_ms": 1, "median_ms": 1}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        (row_text(), "missing required field `latency_ms`"),
        (row_text(latency_ms="1"), r"`\$.latency_ms`"),
        (row_text(latency_ms=-1), r"`\$.latency_ms`"),
        (row_text(latency_ms=0), r"`\$.latency_ms`"),
        (row_text(latency_ms=None), r"`\$.latency_ms`"),
        (row_text(latency_ms=NAN), "malformed"),
        (row_text(latency_ms=math.inf), "malformed"),
        (row_text(latency_ms=1).replace("1}", "1e999}"), "out of range"),
        (row_text(latency_ms=1e13), r"`\$.latency_ms`"),
        (row_text(latency_ms=1, spread=-1), r"`\$.spread`"),
        (row_text(latency=1), "unknown field `latency`"),
        (row_text(latency_ms=1, status="fine"), r"`\$.status`"),
        (row_text(latency_ms=1, status="crashed"), "'crashed' has no latency"),
        (row_text(round=GOOD_ROUND, latency_ms=1), r"`\$.round`"),
        (row_text(round={**GOOD_ROUND, "quiet_ms": 0}), r"`\$.round.quiet_ms`"),
        (row_text(rounds=[GOOD_ROUND, {**GOOD_ROUND, "runs": -1}]), r"`\$.rounds\[1\].runs`"),
        (row_text(rounds=[GOOD_ROUND, GOOD_ROUND]), r"`\$.rounds`"),
        ('{"latency_ms": 1}', "missing required field `op`"),
        ('{"ref": "0123456789abcdef", "latency_ms": 1}', "unknown field `ref`"),
        ('{"op": {"kind": "add", "inputs": [[1, -8]]}}', r"`\$.op.inputs\[0\]\[1\]`"),
        ('{"op": {"kind": "conv"}, "latency_ms": 1}', "has inputs, outputs and weights"),
        ('{"op": {"kind": "gemm"}, "latency_ms": 1}', "has operands and an output"),
        (
            '{"op": {"kind": "model", "attributes": [["ops", "?"]]}, "latency_ms": 1}',
            r"digest\*count",
        ),
        (
            '{"op": {"kind": "conv", "inputs": [[1, 3, 8, 8]], "outputs": [[1, 4, 8]], '
            '"weights": [[4, 3, 1, 1]]}, "latency_ms": 1}',
            "do not fit",
        ),
        ('{"op": {"kind": "add"}, "latency_ms": 1, "zz": ' + "[" * 100_000, "unknown field"),
        ('{"format": 1, "device": {"name": "board", "runtime": "fake"}}', "second header"),
        (b'{"op": {"kind": "\xff"}}', "utf-8"),
        (b"\0\1\2", "malformed"),
        (b"x" * (17 * 2**20), "longer than 16 MiB"),
    ],
    ids=range(31),
)
def test_a_malformed_row_is_refused_by_file_line_and_field(
    tmp_path: Path, line: str | bytes, problem: str
) -> None:
    good = row_text(latency_ms=1) + "\n"
    path = write(tmp_path, good, line, "\n", good)
    before = path.read_bytes()
    with pytest.raises(TableFormatError, match=rf"t\.jsonl, line 3: .*{problem}"):
        LatencyTable.load(path)
    with pytest.raises(TableFormatError):
        LatencyTable.open(path, DEVICE)
    assert before == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b"{}"), "compressed, which is not supported: unpack it with gunzip"),
        (b"\x89PNG\0\0", "binary, not text"),
        (b"x" * (17 * 2**20), "line 1 is longer than 16 MiB"),
        (b"\xff\xfe{", "line 1: "),
        (b"model,latency\nconv,1\n", "line 1: JSON is malformed"),
        (row_text(latency_ms=1).encode(), "line 1: the header is missing"),
        (b'{"format": 2, "device": {}}', "format 2; .* reads format 1. .*upgrade"),
        (b'{"format": "1"}', r"`\$.format`"),
        (b'{"format": 1}', "missing required field `device`"),
        (b'{"format": 1, "device": {"name": "board"}}', "missing required field `runtime`"),
        (b'{"format": 1, "device": {"name": "b", "runtime": 3}}', r"`\$.device.runtime`"),
        (b'{"format": 1, "device": {"name": "b", "runtime": "r"}, "x": 1}', "unknown field `x`"),
    ],
    ids=range(13),
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(TableFormatError, match=rf"t\.jsonl.*{problem}"):
        LatencyTable.load(path)


def test_folders_devices_and_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(TableFormatError, match="is not a file"):
            LatencyTable.load(path)
        with pytest.raises(TableFormatError, match="is not a file"):
            LatencyTable.open(path, DEVICE)
    for name in ("nothing.jsonl", "x" * 5000, "nul\0nul"):
        with pytest.raises(InvalidInputError, match="neither a file nor a shipped profile"):
            LatencyTable.load(name)


BASE_ROWS = [
    Measurement.from_rounds(CONV, [visit(0), visit(1)]),
    Measurement.from_rounds(ADD, [], status="crashed", reason="signal 11"),
    Measurement.from_rounds(model_op("net", "0", (ADD, CONV)), [visit(0)]),
    Measurement(op=replace(ADD, kind="mul"), latency_ms=0.25, median_ms=NAN),
]


def valid_bytes() -> bytes:
    with folder() as home:
        LatencyTable(DEVICE, BASE_ROWS).save(home / "t.jsonl")
        return (home / "t.jsonl").read_bytes()


VALID = valid_bytes()
TOKENS = [b"", b"-", b"0", b"1e400", b"null", b"{", b"]", b'"', b"\n", b"\0", b"\xff", b"9" * 30]


def reads_or_refuses(content: bytes) -> None:
    """A table comes out, or a TableFormatError; and what came out can be saved and read again."""
    with folder() as home:
        path = home / "t.jsonl"
        path.write_bytes(content)
        try:
            table = LatencyTable.load(path)
        except TableFormatError:
            return
        for row in table.values():
            assert row.op.macs >= 0
            assert row.op.label
            assert row.latency_ms > 0 or not row.has_number
        table.save(path)
        assert table == LatencyTable.load(path)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\n")
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    reads_or_refuses(content)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_tables_are_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    content = VALID
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(content))
        end = start + rng.choice([0, 1, 1, 2, 8, 40])
        other = content[rng.randrange(len(content)) :][: rng.choice([1, 5, 30])]
        content = content[:start] + rng.choice([*TOKENS, other]) + content[end:]
    reads_or_refuses(content)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_subnormal=False),  # runtimes switch them off for the whole process
        st.text(max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.data())
def test_tables_with_any_field_replaced_are_read_or_refused(data: st.DataObject) -> None:
    lines = [json.loads(line) for line in VALID.splitlines()]
    node, key = lines, data.draw(st.integers(0, len(lines) - 1))
    while isinstance(node[key], list | dict) and node[key] and data.draw(st.booleans()):
        node = node[key]
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
    node[key] = data.draw(json_values)
    reads_or_refuses("\n".join(map(json.dumps, lines)).encode())
