"""Store: files on the device under the SHA-256 of their content."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Iterable

#: Most bytes that are kept from one session to the next.
KEPT_BYTES = 1 << 30
_CHUNK = 1 << 20


class StoreError(Exception):
    """A file could not be kept; ``kind`` is ``disk-full``, ``corrupt`` or ``store``."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def digest_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            if not chunk:
                return found.hexdigest()
            found.update(chunk)


def storage_error(error: OSError, folder: Path) -> StoreError:
    """What the host is told when the device's disk refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreError("disk-full", "%s (%s)" % (error.strerror, free_space(folder)))
    return StoreError("store", "%s: %s" % (error.filename or folder, error.strerror))


def free_space(folder: Path) -> str:
    """Free bytes where ``folder`` is, for people."""
    try:
        return "%d MiB free in %s" % (shutil.disk_usage(str(folder)).free >> 20, folder)
    except OSError:
        return str(folder)


class Store:
    """A folder of files named by their content.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[str, tuple[int, int, int]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder.parent) from error

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those files that are not here, or not whole."""
        return [digest for digest in digests if self.find(digest) is None]

    def find(self, digest: str) -> Path | None:
        """A file, its content checked since it last changed; a damaged one is removed."""
        path = self._path(digest)
        try:
            status = path.stat()
        except OSError:
            return None
        mark = (status.st_size, status.st_mtime_ns, status.st_ino)
        if self._checked.get(digest) != mark:
            if digest_of(path) != digest:
                path.unlink()
                return None
            os.utime(str(path))  # used now: the last to be pruned
            status = path.stat()
            self._checked[digest] = (status.st_size, status.st_mtime_ns, status.st_ino)
        return path

    def put(self, digest: str, offset: int, data: bytes, *, last: bool) -> None:
        """Add a piece of a file; with the last one the file is checked and appears.

        Raises:
            StoreError: if the disk is full, or the content is not what its name says.
        """
        part = self._path(digest).with_suffix(".part")
        try:
            with part.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.truncate()
                file.write(data)
                if last:
                    file.flush()
                    os.fsync(file.fileno())
            if not last:
                return
            found = digest_of(part)
            if found != digest:
                part.unlink()
                kind, text = "corrupt", "a file came as %s, not %s" % (found[:16], digest[:16])
                raise StoreError(kind, text)
            part.replace(self._path(digest))
        except OSError as error:
            if part.exists():
                part.unlink()
            raise storage_error(error, self.folder) from error

    def prune(self, kept_bytes: int = KEPT_BYTES) -> None:
        """Remove the files that were not used for longest, until the rest fit."""
        entries = []
        for path in self.folder.iterdir():
            status = path.stat()
            entries.append((status.st_mtime, status.st_size, path))
        total = 0
        for _, size, path in sorted(entries, reverse=True):
            total += size
            if total > kept_bytes or path.suffix == ".part":
                path.unlink()

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            text = "%r is no digest" % digest
            kind = "store"
            raise StoreError(kind, text)
        return self.folder / digest
