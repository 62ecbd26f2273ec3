"""Pack: the agent's modules as one file that a bare Python runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

#: What the agent has of its own, and what it shares with this host, from this package's folder.
_ROOT = Path(__file__).parents[1]
_PARTS = ("remote/agent/*.py", "timing/*.py", "runners/ort/bound.py")
#: Every entry gets this date, so that equal sources make equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@cache
def packed_agent() -> bytes:
    """The agent as a zip file with a ``__main__``, the same bytes for the same sources."""
    entries: dict[str, bytes] = {}
    for path in (path for part in _PARTS for path in sorted(_ROOT.glob(part))):
        inside = path.relative_to(_ROOT.parent)
        for folder in inside.parents[:-1]:
            entries.setdefault(f"{folder.as_posix()}/__init__.py", b"")
        name = path.name if path.name == "__main__.py" else inside.as_posix()
        entries[name] = path.read_bytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def agent_digest() -> str:
    """SHA-256 of the packed agent."""
    return hashlib.sha256(packed_agent()).hexdigest()
