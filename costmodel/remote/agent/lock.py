"""Lock: one profiler per device, whoever and from wherever."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any

from costmodel.timing.lock import note_path, read_note, write_note

#: Longest wait for an earlier agent of the same owner to end its visit, in seconds.
PATIENCE_S = 10.0
_LOOK_S = 0.05


class HeldError(Exception):
    """Somebody else holds the device; the text says who, and since when."""


class DeviceLock:
    """An exclusive lock that the system drops when its holder dies.

    Args:
        path: the lock file; beside it, ``.json`` added, lies a note of who holds it.
        owner: token of the run on the host: its agents give way to each other.
        who: the owner for people.
    """

    def __init__(self, path: Path, owner: str, who: str) -> None:
        self._note = note_path(path)
        self._owner = owner
        self._who = who
        self._since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._file = _open(path)
        self.displaced = False

    def acquire(self) -> None:
        """Take the lock; an earlier agent of the same owner is told to leave, then made to.

        Raises:
            HeldError: if another owner holds it.
        """
        begin = time.monotonic()
        told: int | None = None
        while not self._try():
            note = read_note(self._note)
            if note.get("owner") != self._owner or "agent" not in note:
                os.close(self._file)
                raise HeldError(_describe(note))
            late = time.monotonic() - begin > PATIENCE_S
            if told != note["agent"] or late:
                self.displaced = self.displaced or late
                _signal(note["agent"], signal.SIGKILL if late else signal.SIGTERM)
                told = note["agent"]
            if time.monotonic() - begin > 2 * PATIENCE_S:
                os.close(self._file)
                raise HeldError(_describe(note))
            time.sleep(_LOOK_S)
        self.beat()

    def beat(self) -> None:
        """Note who holds it, and that it is alive."""
        note = {
            "owner": self._owner,
            "agent": os.getpid(),
            "pid": os.getpid(),
            "command": self._who,
            "since": self._since,
            "alive": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_note(self._note, note)

    def release(self) -> None:
        """Give it back."""
        with contextlib.suppress(OSError):
            self._note.unlink()
        os.close(self._file)

    def close_copy(self) -> None:
        """Forget the lock in a child process, which must not keep it alive."""
        os.close(self._file)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _open(path: Path) -> int:
    """The lock file, which may be another user's: then it can be locked but not written."""
    try:
        return os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        try:
            return os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HeldError("%s: %s" % (path, error.strerror)) from error
    except OSError as error:
        raise HeldError("%s: %s" % (path, error.strerror)) from error


def _describe(note: dict[str, Any]) -> str:
    if "command" not in note:
        return "a process that left no note"
    alive = ", last heard at %s" % note["alive"] if "alive" in note else ""
    return "%s, process %s there, since %s%s" % (
        note["command"],
        note.get("pid"),
        note.get("since"),
        alive,
    )


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
