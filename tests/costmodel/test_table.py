"""Tables in memory and read back: a mapping, its frame, news, merging, shipped profiles."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_text import ADD, CONV, DEVICE, NAN, folder, row_text, visit, write

from costmodel.errors import (
    DeviceMismatchError,
    InvalidInputError,
)
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.op import Op, encode_op
from costmodel.table import LatencyTable
from costmodel.testing import ops

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
failures = st.sampled_from(["timeout", "crashed", "out_of_memory", "rejected", "unmeasured"])
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


# --- data frames ---------------------------------------------------------------------------------


def test_a_frame_has_one_row_a_measurement_and_plain_columns() -> None:
    line = replace(ADD, inputs=((1, 8, 5),), outputs=((1, 8, 5),))
    failed = Measurement.from_rounds(ADD, (), status="crashed", reason="it ended")
    rows = [Measurement.from_rounds(CONV, [visit(0), visit(1, 2.0)]), failed]
    frame = LatencyTable(DEVICE, [*rows, Measurement.from_rounds(line, [visit(0)])]).to_frame()
    first = frame.iloc[0].to_dict()
    assert first == {
        "kind": "conv",
        "implementation": "",
        "dtype": "float32",
        "layout": "nchw",
        "batch": 1,
        "in_channels": 16,
        "out_channels": 32,
        "height": 8,
        "width": 8,
        "kernel": "3x3",
        "stride": "1x1",
        "groups": 1,
        "epilogue": "relu",
        "macs": 294912,
        "label": "conv 3x3 16->32 @8x8 +relu",
        "latency_ms": 1.0,
        "median_ms": 2.25,
        "spread": 1.0,
        "num_runs": 2,
        "status": "noisy",
        "reason": "halves of the rounds differ by 100.0%",
        "digest": CONV.digest,
        "op_json": encode_op(CONV).decode(),
    }
    assert frame[["height", "width"]].isna().to_numpy().tolist() == [
        [False, False],
        [True, True],
        [True, False],
    ]
    assert math.isnan(frame["latency_ms"][1])
    assert (frame["status"][1], frame["kernel"][1], frame["width"][2]) == ("crashed", "", 5)


def test_a_frame_of_an_empty_table_has_the_same_columns() -> None:
    full = LatencyTable(DEVICE, [Measurement.from_rounds(CONV, [visit(0)])]).to_frame()
    empty = LatencyTable(DEVICE).to_frame()
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)


@settings(deadline=None)
@given(tables())
def test_a_frame_can_be_made_of_every_table(table: LatencyTable) -> None:
    frame = table.to_frame()
    assert list(frame["digest"]) == [op.digest for op in table]
    assert list(frame["macs"]) == [op.macs for op in table]


@settings(deadline=None)
@given(tables())
def test_a_table_made_of_its_own_frame_has_the_same_ops_and_numbers(table: LatencyTable) -> None:
    back = LatencyTable.from_frame(table.to_frame())
    assert list(back) == list(table)
    assert [asdict(replace(row, rounds=())) for row in table.values()] == [
        asdict(row) for row in back.values()
    ]
    assert replace(back.device, provenance="measured") == table.device
    assert back.device.provenance == "imported"


def test_a_frame_as_parquet_keeps_its_device(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the frames extra")
    import pandas as pd

    table = LatencyTable(DEVICE, [Measurement.from_rounds(CONV, [visit(0)])])
    table.to_parquet(tmp_path / "new" / "t.parquet")
    back = LatencyTable.from_frame(pd.read_parquet(tmp_path / "new" / "t.parquet"))
    assert (list(back), back.device.name) == ([CONV], DEVICE.name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.parquet"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"op_json": "{"}, "row 1, column 'op_json'"),
        ({"latency_ms": -1.0}, "row 1, column 'latency_ms': -1.0 is no time"),
    ],
)
def test_a_frame_that_was_edited_names_row_and_column(change: dict[str, Any], told: str) -> None:
    frame = LatencyTable(DEVICE, [Measurement.from_rounds(CONV, [visit(0)])]).to_frame()
    with pytest.raises(InvalidInputError, match=re.escape(told)):
        LatencyTable.from_frame(frame.assign(**change))


def test_a_frame_says_whose_numbers_it_holds() -> None:
    frame = LatencyTable(DEVICE, [Measurement.from_rounds(CONV, [visit(0)])]).to_frame()
    frame.attrs.clear()
    with pytest.raises(InvalidInputError, match="device=Device"):
        LatencyTable.from_frame(frame)
    assert LatencyTable.from_frame(frame, device=DEVICE).device.provenance == "imported"


# --- round trips ----------------------------------------------------------------------------------


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(tables(few_ops), tables(few_ops))
def test_merging_commutes_and_is_idempotent(a: LatencyTable, b: LatencyTable) -> None:
    both = a.merged(b)
    assert both == b.merged(a)
    assert both == both.merged(b) == both.merged(a)
    assert a == a.merged(a)


@settings(deadline=None)
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


def test_a_convolution_with_computed_filters_and_a_constant_bias_is_a_row(tmp_path: Path) -> None:
    op = Op(
        kind="conv", inputs=((1, 8, 9, 9), (4, 8, 3, 3)), outputs=((1, 4, 9, 9),), weights=((4,),),
        stride=(1, 1), pads=(1, 1, 1, 1), dilation=(1, 1),
    )  # fmt: skip
    assert op.kernel == (3, 3)
    assert op.macs == 4 * 81 * 72
    LatencyTable(DEVICE, [Measurement(op=op, latency_ms=1.0, median_ms=1.0)]).save(
        tmp_path / "table.jsonl"
    )
    assert list(LatencyTable.load(tmp_path / "table.jsonl").rows) == [op]


def test_a_network_is_known_when_all_its_kernels_are_rows() -> None:
    other = replace(CONV, groups=1, dilation=(2, 2))
    whole = model_op("whole", "0" * 16, (CONV, CONV))
    half = model_op("half", "0" * 16, (CONV, other))
    rows = [Measurement.from_rounds(op, [visit(0)]) for op in (CONV, whole, half)]
    ((row, ops),) = LatencyTable(DEVICE, rows).known_networks()
    assert (row.op, ops) == (whole, (CONV, CONV))
