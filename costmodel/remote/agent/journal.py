"""Journal: every event of a session on disk before it is sent, so that no cut link loses one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Iterator

#: Journals of this many sessions are kept.
KEPT = 20


class Journal:
    """Numbered events of one session, appended to one file.

    Args:
        folder: of all journals; made if it is not there.
        session: name of the session, letters and digits.

    Raises:
        OSError: if the file cannot be made or read.
    """

    def __init__(self, folder: Path, session: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in others[:-KEPT]:
            path.unlink()
        path = folder / ("%s.jsonl" % "".join(c for c in session if c.isalnum()))
        self.entries: list[dict[str, Any]] = _read(path)
        whole = sum(len(_line(entry)) for entry in self.entries)
        self._file = os.open(str(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, whole)  # a line torn by a power cut
        os.lseek(self._file, 0, os.SEEK_END)

    def add(self, event: dict[str, Any]) -> dict[str, Any]:
        """Number an event and write it down; returns it with its number ``seq``.

        Raises:
            OSError: if the disk refuses it.
        """
        entry = dict(event, seq=len(self.entries) + 1)
        self.entries.append(entry)
        data = _line(entry)
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        return entry

    def since(self, seq: int) -> Iterator[dict[str, Any]]:
        """Events after number ``seq``, in order."""
        return iter(self.entries[seq:])

    def interrupted(self) -> Any:
        """The step that was begun last if it has no end, else None."""
        for entry in reversed(self.entries):
            if entry["event"] in ("visited", "scouted", "failed", "left"):
                return None
            if entry["event"] == "started":
                return entry["step"]
        return None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _read(path: Path) -> list[dict[str, Any]]:
    """Whole events from the beginning, as far as they are numbered in order."""
    entries: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return entries
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or _line(entry) != line or entry["seq"] != len(entries) + 1:
            break
        entries.append(entry)
    return entries
