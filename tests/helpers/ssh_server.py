"""A real sshd on the loopback, with keys, configuration and temporary files of its own."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "build" / "tools"
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(TOOLS / "bin")])


def require_program(name: str) -> str:
    """Path of a program of OpenSSH: the installed one, else the one that scripts/tools got."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        message = f"needs {name}: run scripts/tools, or install OpenSSH's server and client"
        (pytest.fail if shutil.which("apt-get") else pytest.skip)(message)
    return path


class SshServer:
    """One sshd for this user alone; a context manager.

    Args:
        folder: for keys, configuration, and the device's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sshd, self._keygen, self.ssh = map(require_program, ("sshd", "ssh-keygen", "ssh"))
        self._process: subprocess.Popen[bytes] | None = None
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.device = folder / "device"
        self.host_key, self.user_key = self.make_key("host"), self.make_key("user")
        (folder / "authorized").write_bytes(self.user_key.with_suffix(".pub").read_bytes())
        (folder / "authorized").chmod(0o600)
        (folder / "ssh_config").write_text("")
        self.port = _free_port()
        self.known = folder / "known_hosts"
        self.know(self.host_key)

    def make_key(self, name: str) -> Path:
        """A new key pair; returns the private half."""
        path = self.folder / name
        command = [self._keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def know(self, key: Path) -> None:
        """Make ``key`` the server's known host key."""
        kind, value = key.with_suffix(".pub").read_text().split()[:2]
        self.known.write_text(f"[127.0.0.1]:{self.port} {kind} {value}\n")

    @property
    def address(self) -> str:
        """As a user gives it."""
        return f"ssh://{getpass.getuser()}" + f"@127.0.0.1:{self.port}"

    @property
    def reach(self) -> dict[str, Any]:
        """Options of a transport that gets in."""
        return {
            "identity": str(self.user_key),
            "known_hosts": str(self.known),
            "ssh_config": str(self.folder / "ssh_config"),
            "ssh": self.ssh,
        }

    @property
    def options(self) -> dict[str, str | int | float | bool]:
        """Options of a runner that gets in and finds what it needs."""
        return {**self.reach, "python": sys.executable, "folder": str(self.device)}

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": self.folder / "authorized",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "SetEnv": f"TMPDIR={self.temporary} OPENBLAS_NUM_THREADS=1",
        }
        session = TOOLS / "root" / "usr" / "lib" / "openssh" / "sshd-session"
        if session.is_file() and self._sshd.startswith(str(TOOLS)):
            settings["SshdSessionPath"] = session
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        (self.folder / "sshd_config").write_text(text)
        if os.getuid() == 0:
            _require_separation()
        log = (self.folder / "log").open("ab")
        command = [self._sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with log:
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop listening and cut every link, as a switched-off board does."""
        if self._process is not None:
            self._process.terminate()
            self.cut()
            self._process.wait()
            self._process = None

    def cut(self) -> int:
        """Kill the server's end of every link; the commands in them live on. Returns how many."""
        assert self._process is not None
        victims = [
            child
            for child in psutil.Process(self._process.pid).children(recursive=True)
            if "sshd" in _name(child)
        ]
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        return len(victims)

    def agent(self) -> int | None:
        """Process of the agent that holds the device; None if nobody does."""
        for note in self.temporary.glob("costmodel-*.lock.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = json.loads(note.read_text())["agent"]
                if psutil.pid_exists(pid):
                    return int(pid)
        return None

    def kill_agent(self) -> bool:
        """End the agent at once; returns whether there was one."""
        pid = self.agent()
        if pid is not None:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return pid is not None

    def wait_until_free(self) -> None:
        """Wait for the last agent to be gone."""
        until = time.monotonic() + 20.0
        while self.agent() is not None and time.monotonic() < until:
            time.sleep(0.02)
        assert self.agent() is None


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def _require_separation() -> None:
    """What sshd wants of a system when root starts it."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        pytest.fail("root's sshd needs the user 'sshd': run scripts/tools, or useradd -r sshd")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
