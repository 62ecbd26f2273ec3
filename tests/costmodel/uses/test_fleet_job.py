"""Jobs of fleets: what they say gets through whole, and what they start ends with them."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import psutil
from rows import conv

from costmodel.fleets.dealing import Part
from costmodel.fleets.messages import (
    Begin,
    Bye,
    CommandOrder,
    Described,
    Event,
    Finished,
    Moved,
    ProfileOrder,
    Rows,
    decode_event,
    encode,
)
from costmodel.fleets.seat import Seat
from costmodel.runners.fake import write_model
from costmodel.uses.fleet_job import _Talk

#: Longer than anything here takes, also on a busy machine.
LONG_S = 120.0


class Narrow(io.BytesIO):
    """A pipe that takes a few bytes at a time, as one does whose write a signal has cut short."""

    def write(self, data: object) -> int:
        return super().write(memoryview(data)[:3])  # type: ignore[arg-type]


class Silent(io.BytesIO):
    """A driver that stays and says nothing: the process ends with its orders."""

    def __next__(self) -> bytes:
        threading.Event().wait()
        return b""


def test_a_line_is_written_whole_also_where_a_signal_cuts_a_write_short() -> None:
    said = Narrow()
    talk = _Talk(Silent(), said)
    event = Moved(done=3, total=9, note="a note of some length")
    talk.say(event)
    assert decode_event(said.getvalue()) == event


def profile_order(folder: Path) -> ProfileOrder:
    return ProfileOrder(
        name="a",
        owner="test",
        runner="fake://a",
        options={"realtime": True},
        folder=str(folder),
        table="",
        models=("net",),
        sizes={},
        samples=0,
        thinned=0,
        budget_s=None,
        rounds=3,
        seed=0,
    )


def test_rows_that_become_a_boards_own_while_it_measures_are_measured_after(
    tmp_path: Path,
) -> None:
    ops = [conv(width) for width in range(8, 400, 4)]
    net = str(write_model(tmp_path / "net.json", ops))
    shared = Part(boards=("a", "b", "c"), present=("a", "b", "c"))
    more = Part(boards=("a", "b", "c"), present=("a", "c"))
    seat = Seat("costmodel.uses.fleet_job", encode(profile_order(tmp_path / "job")), {"net": net})
    seen: list[Event] = []
    orders, told = b"", False
    try:
        until = time.monotonic() + LONG_S
        while not seen or not isinstance(seen[-1], Finished):
            assert time.monotonic() < until
            found = [decode_event(line) for line in seat.turn(orders, 2.0)]
            orders = b""
            if any(isinstance(event, Described) for event in found):
                orders = encode(Begin(part=shared))
            elif not told and any(isinstance(event, Rows) for event in found):
                orders, told = encode(Begin(part=more)), True
            seen += found
    finally:
        seat.close(encode(Bye()))
    finished = seen[-1]
    totals = [event.total for event in seen if isinstance(event, Moved) and event.total]
    assert finished.begun == 2
    design = finished.found["design"]
    assert design >= len(ops)
    mine = {*shared.rows_of("a", design), *more.rows_of("a", design)}
    assert len(mine) > len(shared.rows_of("a", design))
    assert len(finished.table.splitlines()) == 1 + len(mine)
    assert max(totals) > 1.2 * totals[0]  # it was told at once, not when those rows began


def test_a_program_ends_with_a_job_that_was_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "Path(sys.argv[1] + '.part').write_text(str(os.getpid()))\n"
        "os.rename(sys.argv[1] + '.part', sys.argv[1])\n"
        "time.sleep(600)"
    )
    order = CommandOrder(arguments=("-c", program, str(note)), folder=str(tmp_path))
    seat = Seat("costmodel.uses.fleet_job", encode(order), {})
    try:
        until = time.monotonic() + LONG_S
        while not note.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        child = psutil.Process(int(note.read_text()))
        job = child.parent()
        assert job is not None
        job.kill()
    finally:
        seat.close()
    _, alive = psutil.wait_procs([child], timeout=LONG_S)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
