"""Pack: the agent's modules as one file that a bare Python runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

_AGENT = Path(__file__).with_name("agent")
_PACKAGE = "costmodel/remote/agent"
#: Every entry gets this date, so that equal sources make equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@cache
def packed_agent() -> bytes:
    """The agent as a zip file with a ``__main__``, the same bytes for the same sources."""
    entries = {"costmodel/__init__.py": b"", "costmodel/remote/__init__.py": b""}
    for path in sorted(_AGENT.glob("*.py")):
        name = path.name if path.name == "__main__.py" else f"{_PACKAGE}/{path.name}"
        entries[name] = path.read_bytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def agent_digest() -> str:
    """SHA-256 of the packed agent."""
    return hashlib.sha256(packed_agent()).hexdigest()
