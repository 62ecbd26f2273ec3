from __future__ import annotations

import gzip
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from costmodel import table as table_module
from costmodel.device import Device
from costmodel.errors import (
    CostModelError,
    DeviceMismatchError,
    InvalidInputError,
    TableFormatError,
)
from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op, model_op
from costmodel.table import LatencyTable, find_profile, shipped_profiles
from costmodel.testing import ops

DEVICE = Device(name="board", runtime="fake", state={"load": "0.1"})
CONV = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3), epilogue=("relu",))
ADD = Op(kind="add", inputs=((1, 8), (1, 8)), outputs=((1, 8),))
NAN = math.nan

times = st.floats(1e-6, 1e4)
rounds = st.builds(
    Round,
    number=st.integers(0, 7),
    quiet_ms=times,
    median_ms=times,
    blocks=st.integers(1, 9),
    discarded=st.integers(0, 9),
    runs=st.integers(1, 10_000),
)
reasons = st.text(max_size=12)
failures = st.sampled_from(["timeout", "crashed", "out_of_memory", "rejected"])
few_ops = st.sampled_from([CONV, ADD, replace(ADD, kind="mul"), model_op("net", "0", (ADD, CONV))])
some_ops = st.one_of(few_ops, ops())


def measurements(keys: st.SearchStrategy[Op] = some_ops) -> st.SearchStrategy[Measurement]:
    """Rows of every sort: measured, failed with and without rounds, and imported."""
    measured = st.builds(Measurement.from_rounds, keys, st.lists(rounds, min_size=1, max_size=5))
    failed = st.builds(
        Measurement.from_rounds,
        keys,
        st.lists(rounds, max_size=3),
        status=failures,
        reason=reasons,
    )
    imported = st.builds(
        Measurement,
        op=keys,
        latency_ms=times,
        median_ms=st.one_of(times, st.just(NAN)),
    )
    return st.one_of(measured, failed, imported)


def tables(keys: st.SearchStrategy[Op] = some_ops) -> st.SearchStrategy[LatencyTable]:
    return st.builds(LatencyTable, st.just(DEVICE), st.lists(measurements(keys), max_size=6))


def visit(number: int, quiet_ms: float = 1.0) -> Round:
    return Round(number=number, quiet_ms=quiet_ms, median_ms=1.5 * quiet_ms)


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder for each hypothesis example; the ``tmp_path`` fixture is one for them all."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def write(folder: Path, *lines: str | bytes, header: str | None = None) -> Path:
    """A table file of ``lines`` as they are, behind a good header unless told otherwise."""
    path = folder / "t.jsonl"
    first = '{"format": 1, "device": {"name": "board", "runtime": "fake"}}\n'
    parts = [first if header is None else header, *lines]
    path.write_bytes(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts))
    return path


def row_text(**fields: object) -> str:
    return json.dumps({"op": {"kind": "add", "inputs": [[1, 8]], "outputs": [[1, 8]]}, **fields})


# --- as a mapping ---------------------------------------------------------------------------------


def test_a_table_is_a_mapping_in_order_of_first_appearance() -> None:
    table = LatencyTable(DEVICE)
    for op, number in ((CONV, 0), (ADD, 0), (CONV, 1)):
        table.append_round(op, visit(number, 2.0 - number))
    assert list(table) == [CONV, ADD] == list(table.rows)
    assert (len(table), CONV in table, replace(CONV, groups=2) in table) == (2, True, False)
    assert table[CONV] == Measurement.from_rounds(CONV, [visit(0, 2.0), visit(1, 1.0)])
    assert table.get(replace(CONV, groups=2)) is None
    with pytest.raises(TypeError):
        table.rows[ADD] = table[ADD]  # type: ignore[index]


def test_models_and_kernels_are_rows_with_a_number() -> None:
    net = model_op("net", "0", (ADD,))
    failed = Measurement.from_rounds(ADD, [], status="crashed", reason="signal 11")
    lost = Measurement.from_rounds(model_op("other", "1", ()), [], status="timeout")
    rows = [Measurement.from_rounds(op, [visit(0)]) for op in (net, CONV)]
    table = LatencyTable(DEVICE, [failed, lost, *rows])
    assert table.models() == (rows[0],)
    assert table.kernels() == (rows[1],)
    assert len(table) == 4


# --- round trips ----------------------------------------------------------------------------------


@given(tables())
def test_what_is_saved_is_loaded(table: LatencyTable) -> None:
    with folder() as home:
        path = home / "t.jsonl"
        table.save(path)
        loaded = LatencyTable.load(path)
    assert table == loaded
    assert list(table) == list(loaded)
    assert loaded.warnings == ()
    assert loaded.device.state == DEVICE.state


@given(st.lists(st.one_of(st.tuples(some_ops, rounds), measurements()), max_size=10))
def test_what_is_appended_is_loaded_and_compacting_changes_nothing(
    news: list[tuple[Op, Round] | Measurement],
) -> None:
    with folder() as home:
        path = home / "t.jsonl"
        table = LatencyTable.open(path, DEVICE)
        for item in news:
            if isinstance(item, Measurement):
                table.append(item)
            else:
                table.append_round(*item)
        loaded = LatencyTable.load(path)
        assert table == loaded
        assert len(table.warnings) == len(loaded.warnings)
        table.compact()
        compacted = LatencyTable.load(path)
        assert table == compacted
        assert list(table) == list(compacted)
        assert len(path.read_bytes().splitlines()) == 1 + len(table)
        assert [item.name for item in home.iterdir()] == ["t.jsonl"]


def test_rows_are_explicit_json_that_a_person_can_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    table = LatencyTable.open(path, DEVICE)
    table.append_round(ADD, visit(0, 1.0))
    table.append_round(ADD, visit(1, 1.25))
    shape = {"kind": "add", "inputs": [[1, 8], [1, 8]], "outputs": [[1, 8]]}
    first = {
        "number": 0, "quiet_ms": 1.0, "median_ms": 1.5, "blocks": 1, "discarded": 0, "runs": 1,
    }  # fmt: skip
    second = {**first, "number": 1, "quiet_ms": 1.25, "median_ms": 1.875}
    header, *lines = map(json.loads, path.read_text().splitlines())
    assert header["format"] == 1
    assert header["device"]["name"] == "board"
    assert lines == [{"op": shape, "round": first}, {"op": shape, "round": second}]
    table.compact()
    assert json.loads(path.read_text().splitlines()[1]) == {
        "op": shape,
        "latency_ms": 1.0,
        "median_ms": 1.6875,
        "spread": 0.25,
        "status": "noisy",
        "reason": "halves of the rounds differ by 25.0%",
        "rounds": [first, second],
    }


def test_rows_written_by_hand_may_leave_out_what_is_not_known(tmp_path: Path) -> None:
    path = write(tmp_path, row_text(latency_ms=2) + "\n")
    (row,) = LatencyTable.load(path).values()
    assert (row.latency_ms, row.status, row.rounds) == (2.0, "ok", ())
    assert math.isnan(row.median_ms)


def test_a_row_of_rounds_without_a_summary_gets_one(tmp_path: Path) -> None:
    visits = [{"number": 0, "quiet_ms": 2, "median_ms": 3}]
    (row,) = LatencyTable.load(write(tmp_path, row_text(rounds=visits))).values()
    assert (row.latency_ms, row.median_ms) == (2.0, 3.0)


def test_line_ends_byte_order_mark_and_blank_lines_of_other_systems_are_read(
    tmp_path: Path,
) -> None:
    header = '\ufeff{"format": 1, "device": {"name": "board", "runtime": "fake"}}\r\n'
    path = write(tmp_path, row_text(latency_ms=2) + "\r\n", "\r\n", "  \n", header=header)
    table = LatencyTable.load(path)
    assert (len(table), table.warnings) == (1, ())


# --- news about a known Op ------------------------------------------------------------------------


def test_a_repeated_round_is_kept_once_with_a_warning_and_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    table = LatencyTable.open(path, DEVICE)
    for quiet_ms in (2.0, 1.0):
        table.append_round(ADD, visit(3, quiet_ms))
    assert LatencyTable.load(path)[ADD].rounds == (visit(3, 2.0),)
    (warning,) = LatencyTable.load(path).warnings
    assert "line 3" in warning
    assert "round 3" in warning
    assert len(table.warnings) == 1


def test_a_later_failure_hides_the_number_and_a_later_round_lifts_the_failure() -> None:
    table = LatencyTable(DEVICE)
    table.append_round(ADD, visit(0))
    table.append(Measurement.from_rounds(ADD, [], status="crashed", reason="signal 11"))
    assert (table[ADD].status, table[ADD].rounds) == ("crashed", (visit(0),))
    table.append_round(ADD, visit(1))
    assert (table[ADD].status, table[ADD].rounds) == ("ok", (visit(0), visit(1)))
    assert table.warnings == ()


def test_measured_rounds_replace_an_imported_number_and_a_second_import_does_not() -> None:
    imported = Measurement(op=ADD, latency_ms=9.0, median_ms=NAN)
    table = LatencyTable(DEVICE, [imported])
    table.append(replace(imported, latency_ms=8.0))
    assert table[ADD].latency_ms == 9.0
    table.append_round(ADD, visit(0, 2.0))
    assert table[ADD].latency_ms == 2.0
    assert len(table.warnings) == 2


# --- merging --------------------------------------------------------------------------------------


@given(tables(few_ops), tables(few_ops))
def test_merging_commutes_and_is_idempotent(a: LatencyTable, b: LatencyTable) -> None:
    both = a.merged(b)
    assert both == b.merged(a)
    assert both == both.merged(b) == both.merged(a)
    assert a == a.merged(a)


@given(tables(few_ops), tables(few_ops), tables(few_ops))
def test_merging_is_associative(a: LatencyTable, b: LatencyTable, c: LatencyTable) -> None:
    assert a.merged(b).merged(c) == a.merged(b.merged(c))


def test_merging_unites_rounds_and_keeps_the_quieter_of_two_with_one_number() -> None:
    a = LatencyTable(DEVICE, [Measurement.from_rounds(ADD, [visit(0, 1.0), visit(1, 3.0)])])
    b = LatencyTable(DEVICE, [Measurement.from_rounds(ADD, [visit(1, 2.0), visit(4, 5.0)])])
    assert a.merged(b)[ADD].rounds == (visit(0, 1.0), visit(1, 2.0), visit(4, 5.0))


def test_merging_two_devices_is_refused_by_field() -> None:
    other = LatencyTable(replace(DEVICE, threads=4))
    with pytest.raises(DeviceMismatchError, match=r"'threads': 1 against 4"):
        LatencyTable(DEVICE).merged(other)


# --- torn lines and resuming ----------------------------------------------------------------------


def test_a_line_torn_at_any_byte_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    table = LatencyTable.open(path, DEVICE)
    table.append_round(CONV, visit(0))
    before = path.read_bytes()
    short = LatencyTable.load(path)
    table.append_round(ADD, visit(0, 0.00012))
    whole = path.read_bytes()
    for end in range(len(before), len(whole) + 1):
        path.write_bytes(whole[:end])
        loaded = LatencyTable.load(path)
        complete = end >= len(whole) - 1  # only the line end is missing
        assert (table if complete else short) == loaded
        assert bool(loaded.warnings) == (len(before) < end and not complete)
        resumed = LatencyTable.open(path, DEVICE)
        resumed.append_round(ADD, visit(1))
        again = LatencyTable.load(path)
        assert resumed == again
        assert again.warnings == ()


def test_zeros_that_a_power_cut_leaves_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    path = write(tmp_path, row_text(latency_ms=1) + "\n", b"\0" * 4096)
    assert len(LatencyTable.open(path, DEVICE)) == 1
    assert b"\0" not in path.read_bytes()


def test_a_whole_line_that_is_wrong_is_no_torn_line(tmp_path: Path) -> None:
    path = write(tmp_path, row_text(latency_ms=-1))
    with pytest.raises(TableFormatError, match="line 2"):
        LatencyTable.load(path)


def test_killing_the_writer_loses_no_finished_round(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from costmodel.device import Device\n"
        "from costmodel.measurement import Round\n"
        "from costmodel.op import Op\n"
        "from costmodel.table import LatencyTable\n"
        "table = LatencyTable.open(Path(sys.argv[1]), Device(name='board', runtime='fake'))\n"
        "op = Op(kind='add', inputs=((1, 8), (1, 8)), outputs=((1, 8),))\n"
        "for number in range(int(sys.argv[2]), 10**9):\n"
        "    table.append_round(op, Round(number=number, quiet_ms=1.0, median_ms=1.0))\n"
        "    print(number, flush=True)\n"
    )
    finished = -1
    for lines in (1, 7, 40):
        command = [sys.executable, "-c", program, str(path), str(finished + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().splitlines()
        finished = int(rest[-1]) if rest else finished + lines
        table = LatencyTable.open(path, DEVICE)
        numbers = [item.number for item in table[ADD].rounds]
        # The round that was being added may be there without having been reported.
        assert numbers in (list(range(finished + 1)), list(range(finished + 2)))
        finished = numbers[-1]


def test_resuming_keeps_the_header_and_accepts_another_state(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "t.jsonl"
    LatencyTable.open(path, DEVICE).append_round(ADD, visit(0))
    resumed = LatencyTable.open(path, replace(DEVICE, state={"load": "3"}))
    resumed.append_round(ADD, visit(1))
    loaded = LatencyTable.load(path)
    assert loaded.device.state == {"load": "0.1"}
    assert loaded[ADD].rounds == (visit(0), visit(1))


def test_resuming_for_another_device_is_refused_and_leaves_the_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path, row_text(latency_ms=1) + "\n", '{"op": {"ki')
    before = path.read_bytes()
    with pytest.raises(DeviceMismatchError, match="'dtype': 'float32' against 'int8'"):
        LatencyTable.open(path, replace(DEVICE, dtype="int8"))
    assert before == path.read_bytes()


def test_an_empty_file_can_be_opened_and_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch()
    assert LatencyTable.open(path, DEVICE) == LatencyTable.load(path)
    path.write_text("precious notes")
    with pytest.raises(TableFormatError, match="line 1"):
        LatencyTable.open(path, DEVICE)
    assert path.read_text() == "precious notes"


# --- malformed files ------------------------------------------------------------------------------

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


@given(st.binary(max_size=200))
@example(b"\n")
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    reads_or_refuses(content)


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


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (visit(0, 0.0), r"`\$.round.quiet_ms`"),
        (visit(0, -1.0), r"`\$.round.quiet_ms`"),
        (visit(0, NAN), r"`\$.round.quiet_ms`"),
        (visit(0, math.inf), r"`\$.round.quiet_ms`"),
        (replace(visit(0), runs=-1), r"`\$.round.runs`"),
    ],
)
def test_a_round_that_no_reader_accepts_is_not_written(
    tmp_path: Path, item: Round, problem: str
) -> None:
    path = tmp_path / "t.jsonl"
    table = LatencyTable.open(path, DEVICE)
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=problem):
        table.append_round(ADD, item)
    assert (len(table), path.read_bytes()) == (0, before)


@pytest.mark.parametrize(
    "op",
    [
        replace(ADD, constants=((math.inf,),)),
        replace(ADD, attributes=(("text", "\ud800"),)),
        replace(ADD, inputs=((1, -1),)),
    ],
    ids=["infinity", "surrogate", "negative size"],
)
def test_an_op_that_json_cannot_hold_is_not_written(tmp_path: Path, op: Op) -> None:
    table = LatencyTable.open(tmp_path / "t.jsonl", DEVICE)
    with pytest.raises(InvalidInputError, match="cannot be kept in a table"):
        table.append_round(op, visit(0))
    assert len(table) == 0


def test_a_full_disk_costs_only_the_line_that_did_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    table = LatencyTable.open(path, DEVICE)
    table.append_round(ADD, visit(0))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(InvalidInputError, match="Everything measured before is kept"):
            table.append_round(ADD, visit(1))
        with pytest.raises(InvalidInputError, match="cannot be written"):
            LatencyTable(DEVICE, BASE_ROWS).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert before == path.read_bytes()
    assert [item.name for item in tmp_path.iterdir()] == ["t.jsonl"]
    assert table[ADD].rounds == (visit(0),)
    table.append_round(ADD, visit(1))
    assert LatencyTable.load(path) == table


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(CostModelError, match="file"):
        LatencyTable.open(blocker / "t.jsonl", DEVICE)
    with pytest.raises(InvalidInputError, match="cannot be written"):
        LatencyTable(DEVICE).save(blocker / "t.jsonl")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        LatencyTable(DEVICE).save(tmp_path)
    with pytest.raises(InvalidInputError, match="no file to compact"):
        LatencyTable(DEVICE).compact()
    table = LatencyTable.open(tmp_path / "t.jsonl", DEVICE)
    (tmp_path / "t.jsonl").unlink()
    with pytest.raises(InvalidInputError, match="cannot be added to"):
        table.append_round(ADD, visit(0))


def test_compacting_keeps_the_file_mode_and_follows_links(tmp_path: Path) -> None:
    path, link = tmp_path / "t.jsonl", tmp_path / "link.jsonl"
    LatencyTable.open(path, DEVICE)
    path.chmod(0o640)
    link.symlink_to(path)
    LatencyTable.load(link).compact()
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()


# --- shipped profiles -----------------------------------------------------------------------------


def test_every_shipped_profile_is_a_table_under_its_own_name() -> None:
    if not shipped_profiles():
        pytest.skip("no profile is shipped yet")
    for name in shipped_profiles():
        table = LatencyTable.load(name)
        assert table.warnings == ()
        assert len(table) > 0


def test_a_profile_is_found_by_name_and_an_unknown_name_lists_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "costmodel").mkdir()
    monkeypatch.setattr(table_module, "__file__", str(tmp_path / "costmodel" / "table.py"))
    path = tmp_path / "costmodel" / "profiles" / "board" / "fake-float32-t2.jsonl"
    LatencyTable(DEVICE, BASE_ROWS).save(path)
    assert find_profile("board/fake-float32-t2") == path
    assert LatencyTable.load("board/fake-float32-t2") == LatencyTable(DEVICE, BASE_ROWS)
    with pytest.raises(InvalidInputError, match="Shipped: board/fake-float32-t2"):
        LatencyTable.load("board/fake-int8")
    # In a checkout they lie beside the package.
    (tmp_path / "pyproject.toml").touch()
    LatencyTable(DEVICE).save(tmp_path / "profiles" / "chip" / "fake-int8.jsonl")
    assert sorted(shipped_profiles()) == ["board/fake-float32-t2", "chip/fake-int8"]
