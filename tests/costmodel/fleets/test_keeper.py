"""The driver's file of a table, and the copy of a job whose driver was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rows import conv, row

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.fleets.keeper import TableFile, united
from costmodel.measurement import Measurement, Round
from costmodel.op import Op
from costmodel.table import LatencyTable
from costmodel.table_format import encode_header, encode_measurement, encode_round

DEVICE = Device(name="board", runtime="fake")
HEADER = encode_header(DEVICE).decode()
OPS = [conv(width) for width in (8, 16, 24)]


def visit(op: Op, number: int, ms: float = 1.0) -> str:
    return encode_round(op, Round(number=number, quiet_ms=ms, median_ms=ms)).decode()


def test_rows_are_added_counted_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "t.jsonl"
    file = TableFile(path)
    assert (file.rows, file.device, file.content()) == (0, None, "")
    file.begin(HEADER)
    file.begin(HEADER)
    file.add([visit(OPS[0], 0), visit(OPS[1], 0)])
    file.add([visit(OPS[0], 1)])
    assert (file.rows, file.device) == (2, DEVICE)
    again = TableFile(path)
    assert (again.rows, again.device) == (2, DEVICE)
    assert again.content() == path.read_text()
    assert [len(item.rounds) for item in LatencyTable.load(path).values()] == [2, 1]


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(HEADER + visit(OPS[0], 0) + visit(OPS[1], 0)[:40])
    file = TableFile(path)
    assert file.content() == HEADER + visit(OPS[0], 0) == path.read_text()
    file.add([visit(OPS[1], 0)])
    assert len(LatencyTable.load(path)) == 2
    path.write_text(HEADER[:30])
    assert TableFile(path).content() == path.read_text() == ""


def test_a_file_that_is_no_table_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("hello\n")
    with pytest.raises(InvalidInputError, match="no latency table"):
        TableFile(path)
    assert path.read_text() == "hello\n"


def test_a_full_disk_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.jsonl"
    file = TableFile(path)
    file.begin(HEADER)
    file.add([visit(OPS[0], 0)])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(InvalidInputError, match=r"No space left.*same command again"):
            file.add([visit(OPS[1], 0)])
    assert path.read_bytes() == before
    file.add([visit(OPS[1], 0)])
    assert file.rows == 2


def test_a_last_word_replaces_the_lines_but_never_loses_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    file = TableFile(path)
    file.begin(HEADER)
    file.add([visit(OPS[0], 0), visit(OPS[0], 1)])
    whole = HEADER + encode_measurement(row(OPS[0], 1.0, 1.0)).decode()
    file.replace(whole + encode_measurement(row(OPS[2], 2.0)).decode())
    assert file.rows == len(path.read_text().splitlines()) - 1 == 2
    with pytest.raises(InvalidInputError, match="lacks 1 rows"):
        file.replace(whole)
    assert file.rows == 2


def test_a_copy_gives_back_what_the_driver_did_not_see(tmp_path: Path) -> None:
    copy = tmp_path / "table.jsonl"
    theirs = HEADER + visit(OPS[0], 0) + visit(OPS[1], 0)
    copy.write_text(theirs + visit(OPS[0], 1) + visit(OPS[2], 0) + visit(OPS[1], 1)[:30])
    missing = united(copy, theirs, DEVICE)
    assert copy.read_text() == theirs + "".join(missing)
    table = LatencyTable.load(copy)
    assert {op: len(item.rounds) for op, item in table.items()} == {
        OPS[0]: 2, OPS[1]: 1, OPS[2]: 1,
    }  # fmt: skip
    assert (
        united(copy, copy.read_text(), DEVICE) == []
    )  # once the driver has it, nothing is missing
    assert united(copy, theirs, DEVICE) == missing


def test_a_number_that_was_given_twice_is_given_anew(tmp_path: Path) -> None:
    copy = tmp_path / "table.jsonl"
    copy.write_text(HEADER + visit(OPS[0], 0) + visit(OPS[0], 1, 1.5))
    theirs = HEADER + visit(OPS[0], 0) + visit(OPS[0], 1, 1.25)  # of another host
    (line,) = united(copy, theirs, DEVICE)
    assert line == visit(OPS[0], 2, 1.5)
    table = LatencyTable.load(copy)
    assert [item.quiet_ms for item in table[OPS[0]].rounds] == [1.0, 1.25, 1.5]
    assert table.warnings == ()


def test_a_copy_of_another_device_or_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    theirs = HEADER + visit(OPS[0], 0)
    copy = tmp_path / "table.jsonl"
    other = encode_header(Device(name="other", runtime="fake")).decode()
    for text in (other + visit(OPS[1], 0), "damaged\n", "damaged\n" + visit(OPS[1], 0)):
        copy.write_text(text)
        assert united(copy, theirs, DEVICE) == []
        assert copy.read_text() == theirs
    copy.write_text("damaged\n")
    assert united(copy, "", DEVICE) == []
    assert not copy.exists()


def test_a_copy_of_another_device_is_not_taken_for_a_table_that_was_moved_away(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "table.jsonl"
    copy.write_text(HEADER + visit(OPS[0], 0))
    assert united(copy, "", Device(name="other", runtime="fake")) == []
    assert not copy.exists()


def test_a_table_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    file = TableFile(path)
    file.begin(HEADER)
    file.add([visit(OPS[0], 0)])
    path.unlink()
    assert (file.content(), file.rows, file.device) == ("", 0, None)
    file.begin(HEADER)
    file.add([visit(OPS[1], 0)])
    assert list(LatencyTable.load(path)) == [OPS[1]]


def test_without_a_copy_the_drivers_table_is_the_copy(tmp_path: Path) -> None:
    copy = tmp_path / "table.jsonl"
    assert united(copy, "", DEVICE) == []
    assert not copy.exists()
    theirs = (
        HEADER
        + encode_measurement(
            Measurement.from_rounds(OPS[0], (), status="rejected", reason="no")
        ).decode()
    )
    assert united(copy, theirs, DEVICE) == []
    assert copy.read_text() == theirs
    assert united(copy, "", DEVICE) == theirs.splitlines(keepends=True)[1:]
