"""The lock of a device: which file it is, and the note beside it of who holds it."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def lock_path(name: str) -> Path:
    """Where the lock of a device lies, the same for whoever profiles on it, from wherever.

    Args:
        name: of the hardware, or the address by which it is reached.
    """
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in name.lower()).split()
    return Path(tempfile.gettempdir()) / f"costmodel-{'-'.join(words) or 'device'}.lock"


def note_path(lock: Path) -> Path:
    """The note that lies beside a lock."""
    return lock.with_name(f"{lock.name}.json")


def write_note(note: Path, holder: dict[str, Any]) -> None:
    """Say who holds a lock, whole or not at all.

    The note is a courtesy, the lock is what counts: nothing happens where it cannot be written.
    """
    part = note.with_name(f"{note.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            part.write_text(json.dumps(holder), encoding="utf-8")
            part.replace(note)
        finally:
            with suppress(OSError):
                part.unlink()


def read_note(note: Path) -> dict[str, Any]:
    """Who holds a lock; empty where that cannot be read."""
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
