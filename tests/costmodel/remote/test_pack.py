"""The agent as one file: complete, equal for equal sources, and without need of anything else."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

from costmodel.remote import agent
from costmodel.remote.pack import agent_digest, packed_agent


def test_it_holds_every_module_of_the_agent() -> None:
    folder = Path(agent.__file__).parent
    with zipfile.ZipFile(io.BytesIO(packed_agent())) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for path in folder.glob("*.py"):
        name = path.name if path.name == "__main__.py" else f"costmodel/remote/agent/{path.name}"
        assert held[name] == path.read_bytes()


def test_equal_sources_make_equal_files() -> None:
    first = packed_agent()
    packed_agent.cache_clear()
    assert packed_agent() == first
    assert agent_digest() == hashlib.sha256(first).hexdigest()


def test_its_modules_are_found_in_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(packed_agent())
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r})\n"
        "from costmodel.remote.agent import journal\n"
        "print(journal.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(path / "costmodel" / "remote" / "agent" / "journal.py")
