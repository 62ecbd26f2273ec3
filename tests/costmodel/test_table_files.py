"""Files while they are written: torn lines, resuming, full disks, places that refuse."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from quota import file_quota
from table_text import ADD, CONV, DEVICE, NAN, row_text, visit, write

from costmodel.errors import (
    CostModelError,
    DeviceMismatchError,
    InvalidInputError,
    TableFormatError,
)
from costmodel.measurement import Measurement, Round
from costmodel.op import Op
from costmodel.table import LatencyTable

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
    with file_quota(len(before) + 20):
        with pytest.raises(InvalidInputError, match="Everything measured before is kept"):
            table.append_round(ADD, visit(1))
        with pytest.raises(InvalidInputError, match="cannot be written"):
            LatencyTable(DEVICE, [Measurement.from_rounds(CONV, [visit(0)])]).save(path)
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
