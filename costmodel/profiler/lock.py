"""Locks: one profiler per table and one per device, and a refusal that names the other one."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from costmodel.device import Device
from costmodel.errors import InvalidInputError, LockedError
from costmodel.timing.lock import lock_path, note_path, read_note, write_note

#: Seconds between two looks at a lock that is waited for.
_POLL_S = 0.5


def table_lock(table: Path) -> Path:
    """The lock file of a table: beside it."""
    return table.with_name(table.name + ".lock")


def device_lock(device: Device) -> Path:
    """The lock file of a device, by hardware name: two runtimes on it exclude each other.

    A remote device goes by its address, as there may be several of a kind; the lock by its hardware
    name is held on the device itself.
    """
    return lock_path(device.state.get("address") or device.name)


@contextlib.contextmanager
def hold(
    path: Path,
    what: str,
    *,
    who: str = "profiler",
    why: str = "Two at once would disturb each other's timings.",
) -> Iterator[None]:
    """Hold a lock while the body runs; never waits.

    Args:
        path: the lock file. Beside it, ``.json`` added, lies a note of who holds it.
        what: what is locked, for the message, e.g. ``the table t.jsonl``.
        who: what sort of process holds such a lock.
        why: it is held.

    Raises:
        LockedError: if another process holds it, naming that process.
        InvalidInputError: if the lock file cannot be made.
    """
    note = note_path(path)
    lock = FileLock(path, timeout=0, mode=0o666)
    try:
        lock.acquire()
    except Timeout as error:
        short = f"Another {who} holds {what}: {_holder(note)}."
        message = (
            f"{short} {why} Wait for it to end, or stop it, then run the same command again: it "
            "resumes."
        )
        raise LockedError(message, lock=path, short=short) from error
    except OSError as error:
        message = (
            f"Cannot lock {what}: {path}: {error.strerror}. "
            "This lock file must be one that you may make or write to."
        )
        raise InvalidInputError(message) from error
    try:
        write_note(
            note,
            {
                "pid": os.getpid(),
                "command": shlex.join(sys.argv) or "python",
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def wait_for(error: LockedError, tell: Callable[[str], None], *, every_s: float = 30.0) -> None:
    """Wait until what was locked may be free; the lock is not held then.

    Args:
        error: the refusal.
        tell: who is told that, and for how long, now and again.
        every_s: seconds between two messages. A lock on another machine is not looked at: it is
            tried again after each.
    """
    begin = time.monotonic()
    while True:
        tell(f"{error.short} Waiting for it, {time.monotonic() - begin:.0f} s so far.")
        if error.lock is None:
            time.sleep(every_s)
            return
        lock = FileLock(error.lock, mode=0o666)
        try:
            lock.acquire(timeout=every_s, poll_interval=min(_POLL_S, every_s))
        except Timeout:
            continue
        except OSError:
            return  # who tries to hold it says what is wrong
        lock.release()
        return


def _holder(note: Path) -> str:
    holder = read_note(note)
    if not holder.keys() >= {"pid", "command", "since"}:
        return f"a process that left no note in {note}"
    return f"process {holder['pid']} ({holder['command']}), since {holder['since']}"
