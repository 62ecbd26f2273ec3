"""Deploy: sees to it that the agent lies whole on the device, and finds a Python that runs it."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from costmodel.errors import RemoteError
from costmodel.remote.bundle import deploy
from costmodel.remote.pack import agent_digest, packed_agent
from costmodel.remote.transport import Finished, Transport

#: Comes before what our commands print: a login shell may greet first.
_TAG = "=costmodel="
#: Makes the folder; tells where it is, what agent lies there, and which Python there is.
_LOOK = (
    'mkdir -p "$1" && cd "$1" && pwd -P && { sha256sum "$2" 2>/dev/null || echo -; } && '
    '{ command -v "$3" || command -v "$4" || echo -; }'
)
_MOVE = 'mv -f "$1" "$2" && { sha256sum "$2" 2>/dev/null || echo -; }'
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the user says about the device's side; empty texts leave the choice to us.

    Attributes:
        folder: where everything goes on the device.
        python: program that runs the agent.
        bundle: archive here that holds a Python for the device.
    """

    folder: str = ""
    python: str = ""
    bundle: str = ""


def deploy_agent(transport: Transport, place: Place) -> tuple[str, ...]:
    """Put the agent on the device unless it lies there whole.

    Returns:
        The command that starts it.

    Raises:
        LinkLostError: if the link breaks.
        RemoteError: if the folder cannot be made, its disk is full, what arrives is not what was
            sent, or there is no Python.
    """
    folder = place.folder or transport.folder
    name = f"agent-{agent_digest()[:16]}.pyz"
    wanted = (place.python, place.python) if place.python else ("python3", "python")
    done = transport.run(["sh", "-c", f"echo {_TAG}; {_LOOK}", "sh", folder, name, *wanted])
    lines = _after_tag(done)
    if done.status or len(lines) < 3:
        message = (
            f"{transport.address}: the folder {folder!r} cannot be made there ({done.words}). "
            "Name another one: folder=PATH."
        )
        raise RemoteError(message)
    home, found, python = lines[0], "".join(lines[1].split()[:1]).lstrip("\\"), lines[-1]
    if found != agent_digest():
        _send(transport, home, name)
    if place.bundle:
        command = deploy(transport, Path(place.bundle).expanduser(), folder)
    elif python == "-":
        message = (
            f"{transport.address} has no Python (tried: {', '.join(dict.fromkeys(wanted))}). "
            "Install Python 3.8 or later with numpy and onnxruntime there, name it with "
            "python=PATH, or give one to take along: bundle=FILE."
        )
        raise RemoteError(message)
    else:
        command = (python,)
    return (*command, f"{home}/{name}")


def _send(transport: Transport, home: str, name: str) -> None:
    """Copy the agent under a name of its own, check it there, and move it into place."""
    for _ in range(_TRIES):
        part = f"{home}/{name}.{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
            source = Path(folder) / name
            source.write_bytes(packed_agent())
            transport.put(source, part)
        done = transport.run(["sh", "-c", f"echo {_TAG}; {_MOVE}", "sh", part, f"{home}/{name}"])
        arrived = " ".join(_after_tag(done)).lstrip("\\").split()[:1]
        # Where nothing can hash it the agent does so itself, and says so when it starts.
        if done.status == 0 and arrived in ([agent_digest()], ["-"]):
            return
    message = (
        f"{transport.address}: the agent did not arrive whole in {home} in {_TRIES} tries"
        f" ({done.words}). Is the disk there full or damaged?"
    )
    raise RemoteError(message)


def _after_tag(done: Finished) -> list[str]:
    """Lines that our own commands printed."""
    return done.out.decode("utf-8", "replace").rpartition(f"{_TAG}\n")[2].splitlines()
