"""Transport: the plug point under every remote runner: how commands and files reach a device.

``costmodel.remote.ssh`` and ``costmodel.remote.adb`` implement it; everything above (``link``,
``runner``, ``conductor``) knows no other way to a device. A transport only carries: it decides
neither what runs there nor when to try again.

A runner of a new transport is a subclass of ``costmodel.remote.runner.RemoteRunner`` whose
``__init__`` takes ``address`` (the whole ``scheme://...`` text) and its own options, and passes a
transport and all other options on. Where the device has no usable Python, the base class calls
``costmodel.remote.bundle.deploy(transport, bundle, folder)``, which returns the command that starts
the Python of that bundle on the device, as a tuple of words.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from costmodel.errors import RemoteError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that ran on the device to its end.

    Attributes:
        status: its exit status there.
        out: what it wrote to standard output.
        err: what it wrote to standard error, bytes that are no UTF-8 replaced.
    """

    status: int
    out: bytes
    err: str

    @property
    def words(self) -> str:
        """Exit status and last words."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        last = f": {lines[-1][:300]}" if lines else ""
        return f"exit status {self.status}{last}"


class Transport(Protocol):
    """One device and one way to it.

    Every word of a command arrives at the device's program unchanged, whatever is in it: a
    transport that passes through a shell quotes each word.
    """

    @property
    def address(self) -> str:
        """How the user names the device, such as ``ssh://board`` or ``adb://0123``."""
        ...

    @property
    def folder(self) -> str:
        """Where files go on the device unless the user says otherwise; made when needed.

        Relative ones are relative to the folder that commands start in.
        """
        ...

    def run(
        self, command: Sequence[str], *, data: bytes = b"", timeout_s: float = 60.0
    ) -> Finished:
        """Run a short command to its end.

        Args:
            command: program and arguments.
            data: its standard input.
            timeout_s: longest wait.

        Raises:
            LinkLostError: if the device cannot be reached now; another try may help.
            RemoteError: if no try will help, such as a refused key.
        """
        ...

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the device; the caller checks what arrived.

        Args:
            source: file here.
            target: file there; its folder exists.

        Raises:
            LinkLostError: as ``run``.
            RemoteError: as ``run``, or if the device cannot keep it, such as a full disk.
        """
        ...

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a long command whose three streams are pipes; binary, nothing translated.

        The process is the local end. When the link breaks, it ends. Reaching the device is not
        waited for: a failure shows as the end of the process, for ``explain``.
        """
        ...

    def explain(self, status: int, err: str) -> RemoteError | None:
        """Why a process of ``start`` ended.

        Args:
            status: exit status of the local process.
            err: what it wrote to standard error.

        Returns:
            ``LinkLostError`` if the link broke or the device is away for now, another
            ``RemoteError`` if no try will help, or None if it was the command itself that ended.
        """
        ...

    def close(self) -> None:
        """End what the transport keeps running or lying around; never fails, may be repeated."""
        ...
