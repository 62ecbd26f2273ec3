"""Jobs of fleets: what they say gets through whole, and what they start ends with them."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import psutil

from costmodel.fleets.messages import CommandOrder, Moved, decode_event, encode
from costmodel.fleets.seat import Seat
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
