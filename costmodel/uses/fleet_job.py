"""A job of a fleet: a process that profiles, compares or runs a program for a driver elsewhere.

Started by a ``Seat`` as ``python -m costmodel.uses.fleet_job``; talks JSON lines over what were its
standard input and output. It ends when nobody holds its input any more.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from costmodel.device import Device
from costmodel.errors import CostModelError, DeviceAwayError, LinkLostError, LockedError
from costmodel.fleets.keeper import united
from costmodel.fleets.messages import (
    Begin,
    Broke,
    Bye,
    CommandOrder,
    CompareOrder,
    Described,
    Event,
    Finished,
    Moved,
    Order,
    ProfileOrder,
    Rows,
    decode_files,
    decode_order,
    encode,
)
from costmodel.fleets.seat import cleared
from costmodel.profiler import Job
from costmodel.registry import Option, load_runner
from costmodel.remote.board import OWNER
from costmodel.streams import follow, take_streams
from costmodel.table import LatencyTable
from costmodel.table_format import encode_header
from costmodel.timing.mishaps import one_line

#: Errors after which another try may help.
_AGAIN = (DeviceAwayError, LinkLostError, LockedError)
#: Seconds between two words on how far it is.
_TELL_EVERY_S = 0.5
#: Counts of a profile's report that the driver is told.
_COUNTS = ("rows", "ok", "noisy", "failed", "unmeasured", "out_of_budget")


class _NothingToDo(Exception):  # noqa: N818 - no error: the board's share is empty
    """Other boards measure all rows."""


class _Talk:
    """The conversation with the driver."""

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._events = events
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.folder: Path | None = None
        self.child: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._listen, args=(orders,), daemon=True).start()

    def say(self, event: Event) -> None:
        """Tell the driver."""
        left = memoryview(encode(event))
        with self._lock:
            while left:  # a signal may end a write to a full pipe before all of it is written
                left = left[self._events.write(left) :]

    def begin(self) -> Begin:
        """Wait for the driver to say which rows are meant."""
        while True:
            # With a timeout, so that a signal is noticed meanwhile.
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=0.2)
                if isinstance(order, Begin):
                    return order

    def begun_again(self) -> list[Begin]:
        """What the driver has said since about which rows are meant."""
        found: list[Begin] = []
        with contextlib.suppress(queue.Empty):
            while True:
                order = self._orders.get_nowait()
                if isinstance(order, Begin):
                    found.append(order)
        return found

    def _listen(self, orders: BinaryIO) -> None:
        for line in orders:
            order = decode_order(line)
            if isinstance(order, Bye):
                if self.folder is not None:
                    cleared(self.folder)
                break
            self._orders.put(order)
        if self.child is not None:
            with contextlib.suppress(OSError):
                self.child.kill()
        os._exit(0)


class _Hand:
    """The rows that are this board's, by what the driver said last.

    Attributes:
        design: how many rows the boards share; 0 before they are known.
        begun: how often the driver had said it, when those rows were dealt that are measured now.
    """

    def __init__(self, name: str, talk: _Talk) -> None:
        self._name = name
        self._talk = talk
        self._told = [talk.begin().part]
        self._count = 0
        self.design = 0
        self.begun = 0

    def dealt(self, design: int) -> list[int]:
        """Places in the design of the rows that are to be measured now."""
        self.design, self.begun = design, len(self._told)
        found = self._told[-1].rows_of(self._name, design)
        self._count = len(found)
        return found

    @property
    def grown(self) -> float:
        """Rows that have come to it since they were dealt, as a share of those."""
        if more := self._talk.begun_again():
            self._told += [item.part for item in more]
        if self.begun == len(self._told):
            return 0.0
        dealt = self._told[self.begun - 1]
        gained = self._told[-1].gained(dealt, self._name, self.design)
        if not gained:
            self.begun = len(self._told)
        return len(gained) / max(1, self._count)


class _Tail:
    """Tells the driver of rows as they come to be; a ``Progress``."""

    def __init__(self, talk: _Talk, copy: Path, hand: _Hand) -> None:
        self._talk = talk
        self._hand = hand
        self._copy = copy
        self._begun_s = time.monotonic()
        self._told_s = 0.0
        self._offset = copy.stat().st_size if copy.exists() else 0
        self._headed = self._offset > 0

    def start(self, total: int) -> None:
        self._talk.say(Moved(total=total, spent_s=self.spent_s))

    @property
    def spent_s(self) -> float:
        """What the budget has paid for by now, as ``profile`` counts it."""
        return time.monotonic() - self._begun_s

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        self._rows()
        now = time.monotonic()
        if now - self._told_s >= _TELL_EVERY_S:
            self._told_s = now
            grown = self._hand.grown
            self._talk.say(
                Moved(
                    done=done,
                    total=round(total * (1.0 + grown)),
                    seconds_left=seconds_left * (1.0 + grown * total / max(1, total - done)),
                    spent_s=self.spent_s,
                    note=note,
                )
            )

    def stop(self) -> None:
        self._rows()
        self._talk.say(Moved(spent_s=self.spent_s))

    def _rows(self) -> None:
        if not self._copy.exists():  # Ops are estimated before there is a table
            return
        with self._copy.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        lines = data.decode("utf-8").splitlines(keepends=True)
        if lines and not self._headed:
            self._headed = True
            lines = lines[1:]
        if lines:
            self._talk.say(Rows(lines=tuple(lines)))


def _profile(order: ProfileOrder, models: Sequence[Path], talk: _Talk) -> Finished:
    from costmodel.uses.profiling import profile

    folder = Path(order.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    talk.folder = folder
    copy = folder / "table.jsonl"
    device = _device(order.runner, order.options)
    talk.say(Described(header=encode_header(device).decode()))
    hand = _Hand(order.name, talk)
    if missing := united(copy, order.table, device):
        talk.say(Rows(lines=tuple(missing)))

    tail = _Tail(talk, copy, hand)

    def deal(jobs: list[Job]) -> list[Job]:
        mine = hand.dealt(len(jobs))
        talk.say(Moved(spent_s=tail.spent_s))  # choosing takes part of the budget
        if not mine:
            raise _NothingToDo
        return [jobs[place] for place in mine]

    counts: dict[str, int] = {}
    budget_s, interrupted = order.budget_s, False
    with contextlib.suppress(_NothingToDo):
        while True:
            report = profile(
                copy,
                runner=order.runner,
                models=list(models),
                budget=budget_s,
                samples=order.samples,
                thinned=order.thinned,
                rounds=order.rounds,
                seed=order.seed,
                options=order.options,
                sizes=order.sizes,
                progress=tail,
                deal=deal,
            )
            counts = {name: getattr(report, name) for name in _COUNTS}
            interrupted = report.interrupted
            if order.budget_s is not None:
                budget_s = order.budget_s - tail.spent_s
            if interrupted or not hand.grown or (budget_s is not None and budget_s <= 0.0):
                break
    return Finished(
        table=copy.read_text(encoding="utf-8") if counts else "",
        found=counts | {"design": hand.design},
        interrupted=interrupted,
        begun=hand.begun,
    )


def _device(runner: str, options: dict[str, Option]) -> Device:
    """The device, asked by a runner that then lets go of it."""
    found = load_runner(runner, options)
    device = found.device
    with contextlib.suppress(AttributeError):
        found.close()  # type: ignore[attr-defined]
    return device


def _compare(order: CompareOrder, models: Sequence[Path], talk: _Talk) -> Finished:
    from costmodel.uses.comparing import compare

    folder = Path(order.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    talk.folder = folder
    table = folder / "table.jsonl"
    table.write_text(order.table, encoding="utf-8")
    found = compare(
        list(models),
        LatencyTable.load(table),
        cost=order.cost,
        runner=order.runner,
        options=order.options,
        sizes=order.sizes,
        rounds=order.rounds,
        seed=order.seed,
    )
    return Finished(found=[item.to_json() for item in found])


def _command(order: CommandOrder, talk: _Talk) -> Finished | Broke:
    """Run a program; its last line of standard error says why it failed."""
    said: list[str] = []

    def note(line: bytes) -> None:
        if text := line.decode("utf-8", "replace").strip():
            said[:] = [text]
            talk.say(Moved(note=text))

    with subprocess.Popen(
        [sys.executable, *order.arguments],
        cwd=order.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # in the job's own session: who ends that ends whatever the program started
        talk.child = child
        reader = follow(child.stderr, note)
        assert child.stdout is not None
        try:
            out = child.stdout.read()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            child.stdout.read()
            child.wait()
            raise
        status = child.wait()
        reader.join()
    if status:
        words = said[0].removeprefix("Error: ") if said else "it said nothing"
        return Broke(text=f"exit status {status}: {words}", again=status < 0)
    return Finished(found=out.decode("utf-8"))


def _do(order: Order, files: dict[str, str], talk: _Talk) -> Finished | Broke:
    if isinstance(order, ProfileOrder | CompareOrder):
        os.environ[OWNER] = order.owner
    match order:
        case ProfileOrder():
            return _profile(order, [Path(files[key]) for key in order.models], talk)
        case CompareOrder():
            return _compare(order, [Path(files[key]) for key in order.models], talk)
        case CommandOrder():
            return _command(order, talk)
    return Broke(text=f"its first order was {type(order).__name__}")


def main() -> int:
    """Serve one driver; returns the exit status."""
    orders, events = take_streams()
    files, first = orders.readline(), orders.readline()
    if not first:
        return 0
    talk = _Talk(orders, events)
    try:
        found = _do(decode_order(first), decode_files(files), talk)
    except KeyboardInterrupt:
        found = Broke(text="it was interrupted", again=True)
    except _AGAIN as error:
        found = Broke(text=one_line(error, named=False).rstrip("."), again=True)
    except CostModelError as error:
        found = Broke(text=str(error))
    except (MemoryError, OSError) as error:
        found = Broke(text=one_line(error, named=True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    talk.say(found)
    while True:  # until the driver has it
        time.sleep(3600.0)


if __name__ == "__main__":
    sys.exit(main())
