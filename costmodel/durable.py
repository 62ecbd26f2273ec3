"""Writes to files that a killed process or a full disk cannot leave half done."""

from __future__ import annotations

import os
import platform
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from costmodel.errors import InvalidInputError

#: In the name of every file that is being written.
_UNDER_WAY = ".tmp"
#: Tells this machine from others that write into the same folder.
_HERE = f"{zlib.crc32(platform.node().encode()):08x}"


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a whole file so that a reader sees the old one or the new one, never a part.

    Args:
        path: the file, replaced if it exists; missing folders are made.
        lines: what to write, line ends included.

    Raises:
        InvalidInputError: if it cannot be written; an old file is then untouched.
    """
    with written_whole(path) as temporary, temporary.open("wb") as handle:
        handle.writelines(lines)


@contextmanager
def written_whole(path: Path, suffix: str = "") -> Iterator[Path]:
    """A name to write a file under, which takes the file's place when the body has written it.

    Nothing of it stays when the body fails; after ``kill -9`` it does, until the same file is
    written again on this machine, and ``left_behind`` finds it.

    Args:
        path: the file, replaced if it exists; missing folders are made.
        suffix: that the name has to end in.

    Raises:
        InvalidInputError: if it cannot be written; an old file is then untouched.
    """
    target = _place_of(path)
    begin = f".{target.name}.{_HERE}-"
    temporary = target.with_name(f"{begin}{os.getpid()}{_UNDER_WAY}{suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_away(target.parent, begin)
        yield temporary
        with temporary.open("r+b") as handle:
            os.fsync(handle.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        message = (
            f"{path} cannot be written: {error.strerror or error}. Free some space, or give a path "
            "in a folder that you may write to."
        )
        raise InvalidInputError(message) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _place_of(path: Path) -> Path:
    """Where a file is to be, links followed.

    Raises:
        InvalidInputError: for a loop of links, and for a pipe or a device, which a rename would
            put a file in the place of.
    """
    try:
        target = path.resolve()
        taken = target.exists() and not target.is_file() and not target.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a loop; a name too long, or no name
        why = getattr(error, "strerror", None) or error
        message = f"{path} cannot be written: {why}. Give another path."
        raise InvalidInputError(message) from error
    if taken:
        message = f"{path} cannot be written: it is a pipe or a device. Give the path of a file."
        raise InvalidInputError(message)
    return target


def _clear_away(folder: Path, begin: str) -> None:
    """Remove what killed processes of this machine had begun to write in a file's place."""
    for path in left_behind(folder):
        pid = path.name.removeprefix(begin).partition(".")[0]
        if path.name.startswith(begin) and pid.isdecimal():
            import psutil  # here, because there is hardly ever anything to clear away

            if not psutil.pid_exists(int(pid)):
                with suppress(OSError):  # another process was quicker
                    path.unlink()


def left_behind(folder: Path) -> list[Path]:
    """Unfinished files of ``written_whole`` in a folder: of processes that were killed, or run."""
    return sorted(folder.glob(f".*{_UNDER_WAY}*"))


def append_line(path: Path, line: bytes, *, sync: bool) -> None:
    """Add a line in one write, which survives ``kill -9``; with ``sync``, a power cut too.

    Raises:
        InvalidInputError: if it cannot be written whole; nothing of it is then left in the file.
    """
    try:
        with path.open("r+b", buffering=0) as handle:
            end = handle.seek(0, os.SEEK_END)
            try:
                _write_whole(handle.fileno(), line)
            except OSError:
                handle.truncate(end)
                raise
            if sync:
                os.fsync(handle.fileno())
    except OSError as error:
        message = (
            f"{path} cannot be added to: {error.strerror or error}. "
            "Everything measured before is kept; run the same command again to go on."
        )
        raise InvalidInputError(message) from error


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write all of ``line``; a nearly full disk takes a part first and refuses the rest after."""
    view = memoryview(line)
    while view:
        view = view[os.write(descriptor, view) :]


def mend_end(path: Path, *, torn_bytes: int, ends_open: bool) -> None:
    """Make a file ready for another line.

    Args:
        path: the file.
        torn_bytes: length of a torn last line, which is cut off.
        ends_open: whether the last line is whole but lacks its line end, which is then added.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    try:
        with path.open("r+b") as handle:
            end = handle.seek(0, os.SEEK_END)
            if torn_bytes:
                handle.truncate(end - torn_bytes)
            elif ends_open:
                handle.write(b"\n")
    except OSError as error:
        message = (
            f"{path} cannot be added to: {error.strerror or error}. Free some space, or copy it to "
            "a folder that you may write to."
        )
        raise InvalidInputError(message) from error
