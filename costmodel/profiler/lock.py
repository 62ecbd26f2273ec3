"""Locks: one profiler per table and one per device, and a refusal that names the other one."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from costmodel.device import Device
from costmodel.errors import InvalidInputError, LockedError
from costmodel.timing.lock import lock_path, note_path, read_note, write_note


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
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold a lock while the body runs; never waits.

    Args:
        path: the lock file. Beside it, ``.json`` added, lies a note of who holds it.
        what: what is locked, for the message, e.g. ``the table t.jsonl``.

    Raises:
        LockedError: if another process holds it, naming that process.
        InvalidInputError: if the lock file cannot be made.
    """
    note = note_path(path)
    lock = FileLock(path, timeout=0, mode=0o666)
    try:
        lock.acquire()
    except Timeout as error:
        message = (
            f"Another profiler holds {what}: {_holder(note)}. Two at once would disturb each "
            "other's timings. Wait for it to end, or stop it, then run the same command again: "
            "it resumes."
        )
        raise LockedError(message) from error
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


def _holder(note: Path) -> str:
    holder = read_note(note)
    if not holder.keys() >= {"pid", "command", "since"}:
        return f"a process that left no note in {note}"
    return f"process {holder['pid']} ({holder['command']}), since {holder['since']}"
