"""The real adb client with a server of its own: another port, another home, ended afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from adbd import AdbDaemon

ROOT = Path(__file__).parents[2]


def find_adb() -> str | None:
    """The installed client, else one that was unpacked under ``build/tools``."""
    unpacked = sorted((ROOT / "build" / "tools").glob("**/bin/adb"))
    return shutil.which("adb") or (str(unpacked[0]) if unpacked else None)


class AdbServer:
    """adb's server for tests; a context manager.

    Args:
        adb: the client.
        home: folder for its key and log.
    """

    def __init__(self, adb: str, home: Path) -> None:
        self.adb = adb
        self.port = _free_port()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ADB_", "ANDROID_"))},
            "HOME": str(home),
            "TMPDIR": str(home),
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",  # look for no emulators
        }

    def __enter__(self) -> AdbServer:
        self.call("start-server")
        return self

    def __exit__(self, *exc: object) -> None:
        self.call("kill-server")

    def call(self, *arguments: str) -> str:
        """What the client prints."""
        done = subprocess.run(
            [self.adb, *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout + done.stderr

    def connect(self, device: AdbDaemon) -> None:
        self.call("connect", device.serial)

    def forget(self, device: AdbDaemon) -> None:
        self.call("disconnect", device.serial)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
