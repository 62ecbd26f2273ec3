"""Android over adb: the transport, and the runner for ``adb://SERIAL``.

It drives the real ``adb`` client, which knows about keys, cables and its server. The client tells a
lost link from a command that ended well by nothing: both are exit status 0 without a word (tried
with 29.0.6). So every command's exit status is moved out of the way of the client's own.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from costmodel.errors import InvalidInputError, LinkLostError, RemoteError
from costmodel.remote.runner import RemoteRunner
from costmodel.remote.transport import Finished

SCHEME = "adb://"
#: Where a user of ``adb shell`` may write and run programs on every Android.
FOLDER = "/data/local/tmp/costmodel"
_SERVER_PORT = 5037
#: Exit status that stands for 0 of a command on the device, and the next for 1.
_MOVED = 250
_MOVE_STATUS = f"s=$?; case $s in 0|1) s=$((s+{_MOVED}));; 25[01]) s=252;; esac; exit $s"
#: Longest waits: for the server on this machine, for a device to answer, for a slow cable.
_ASK_S, _CONNECT_S, _BYTES_PER_S = 2.0, 20.0, 500_000.0
_TCP = re.compile(r".+:\d{1,5}")


class AdbTransport:
    """One Android device behind ``adb``; a ``Transport``.

    Args:
        serial: as ``adb devices`` shows it, or ``HOST:PORT``; empty for the only one attached.
        adb: the client, a path or a name to find.
        server_port: port of adb's server on this machine; None for the client's own choice.
        environ: environment of the client; None for this process's.

    Raises:
        RemoteError: if there is no such client.
    """

    def __init__(
        self,
        serial: str,
        *,
        adb: str = "adb",
        server_port: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        program = shutil.which(adb)
        if program is None:
            message = (
                f"The program {adb!r} was not found. Install Android's platform tools (Debian and "
                "Ubuntu: apt install adb), or name the program: adb=PATH."
            )
            raise RemoteError(message)
        self._environ = dict(os.environ if environ is None else environ)
        self._serial = serial or self._environ.get("ANDROID_SERIAL", "")
        port = [] if server_port is None else ["-P", str(server_port)]
        self._client = [program, *port]
        self._reached = False

    @property
    def address(self) -> str:
        """``adb://`` and the serial."""
        return f"{SCHEME}{self._serial}"

    @property
    def folder(self) -> str:
        """Where files go on Android unless the user says otherwise."""
        return FOLDER

    def run(
        self, command: Sequence[str], *, data: bytes = b"", timeout_s: float = 60.0
    ) -> Finished:
        """Run a short command to its end; see ``Transport.run``."""
        self._reach()
        done = self._call(self._shell(command), data=data, timeout_s=timeout_s)
        err = done.stderr.decode("utf-8", "replace")
        if trouble := self.explain(done.returncode, err):
            raise trouble
        status = done.returncode
        status = status - _MOVED if status in {_MOVED, _MOVED + 1} else status
        return Finished(status=status, out=done.stdout, err=err)

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the device; see ``Transport.put``."""
        self._reach()
        timeout_s = _CONNECT_S + source.stat().st_size / _BYTES_PER_S
        done = self._call([*self._device, "push", str(source), target], timeout_s=timeout_s)
        if done.returncode == 0:
            return
        words = _complaint(done)
        if "couldn't" in words or "secure_mkdirs" in words:
            message = f"{self.address}: {words}. {_storage_hint(words)}"
            raise RemoteError(message)
        raise self._trouble(words)

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a long command; see ``Transport.start``.

        An exit status of 0 or 1 on the device shows as 250 or 251 here.
        """
        return subprocess.Popen(
            [*self._client, *self._shell(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            start_new_session=True,  # the terminal's ctrl-C is for the parent alone
        )

    def explain(self, status: int, err: str) -> RemoteError | None:
        """Why a process of ``start`` ended; see ``Transport.explain``."""
        if status < 0:
            return LinkLostError(f"{self.address}: the adb client was ended by signal {-status}.")
        if status > 1:
            return None
        words = _words(err)
        if status == 0 or not words:
            return LinkLostError(f"{self.address}: the link broke in the middle of a command.")
        return self._trouble(words)

    def close(self) -> None:
        """Nothing to end: adb's server is the user's."""

    @property
    def _device(self) -> list[str]:
        return ["-s", self._serial]

    def _shell(self, command: Sequence[str]) -> list[str]:
        """Arguments of the client that run a command through the device's ``sh``."""
        return [*self._device, "shell", "-T", f"{shlex.join(command)}; {_MOVE_STATUS}"]

    def _call(
        self, arguments: Sequence[str], *, data: bytes = b"", timeout_s: float = _CONNECT_S
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*self._client, *arguments],
                input=data,
                capture_output=True,
                check=False,
                env=self._environ,
                timeout=timeout_s,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            message = (
                f"{self.address}: no answer from adb within {timeout_s:g} s. If 'adb devices' "
                "hangs too, try 'adb kill-server'."
            )
            raise LinkLostError(message) from error

    def _reach(self) -> None:
        """Make sure once that the device is there and speaks as is needed.

        Raises:
            RemoteError: if it is not there, or too old.
        """
        if self._reached:
            return
        if not self._serial:
            self._serial = self._only_one()
        done = self._features()
        if done.returncode and _TCP.fullmatch(self._serial) and _is_unknown(_complaint(done)):
            self._connect()
            done = self._features()
        if done.returncode:
            raise self._trouble(_complaint(done))
        if b"shell_v2" not in done.stdout.split():
            message = (
                f"{self.address}: its adb daemon tells no exit status of commands. "
                "Android 7 or later is needed."
            )
            raise RemoteError(message)
        self._reached = True

    def _features(self) -> subprocess.CompletedProcess[bytes]:
        return self._call([*self._device, "features"])

    def _only_one(self) -> str:
        found = parse_devices(self._listing())
        if len(found) == 1:
            return next(iter(found))
        if found:
            message = f"More than one device is attached: {_named(found)}. Give one: adb://SERIAL."
        else:
            message = f"No Android device is attached. {_ATTACH}"
        raise RemoteError(message)

    def _listing(self) -> str:
        done = self._call(["devices"])
        if done.returncode:
            raise self._trouble(_complaint(done))
        return done.stdout.decode("utf-8", "replace")

    def _connect(self) -> None:
        """Ask adb's server to open a link over the network."""
        done = self._call(["connect", self._serial])
        words = done.stdout.decode("utf-8", "replace").strip()
        if not words.startswith(("connected", "already", "failed to authenticate")):
            message = f"{self.address}: {words or 'adb connect failed'}. Is it on and listening?"
            raise LinkLostError(message)

    def _trouble(self, words: str) -> RemoteError:
        """What the client's words mean."""
        text = words.lower()
        if _is_unknown(text):
            return self._absent()
        for sign, advice in _ADVICE.items():
            if sign in text:
                return RemoteError(f"{self.address}: {words}. {advice}")
        return LinkLostError(f"{self.address}: adb says: {words or 'nothing'}.")

    def _absent(self) -> RemoteError:
        """The server does not know the device, so it is away, or was never there."""
        try:
            if _TCP.fullmatch(self._serial):
                self._connect()
                return LinkLostError(f"{self.address}: the link had to be opened anew.")
            found = parse_devices(self._listing())
        except RemoteError as error:
            return error
        there = f"Attached: {_named(found)}." if found else "None is attached."
        return LinkLostError(f"{self.address}: there is no such device. {there} {_ATTACH}")


_ATTACH = (
    "Switch on USB debugging in its developer options, plug it in, and see that 'adb devices' "
    "lists it; over the network, give adb://HOST:PORT."
)
_ADVICE = {
    "unauthorized": (
        "Unlock the device and allow USB debugging from this computer in the dialog on its screen."
    ),
    "permissions": (
        "This user may not use the USB device: add udev rules for it (Debian and Ubuntu: apt "
        "install android-sdk-platform-tools-common), join the group plugdev, and plug it in again."
    ),
    "daemon": (
        "adb's server does not start on this machine. See what 'adb start-server' says; is its "
        "port taken? Another one: server_port=N."
    ),
    "smartsocket": "adb's server does not start on this machine: its port is taken.",
}


def _is_unknown(words: str) -> bool:
    return "not found" in words or "no devices" in words or "no such device" in words


def parse_devices(listing: str) -> dict[str, str]:
    r"""State of every device in the output of ``adb devices``, by serial.

    >>> parse_devices("List of devices attached\n0123\tdevice\nx:5555\toffline\n\n")
    {'0123': 'device', 'x:5555': 'offline'}
    """
    pairs = (line.partition("\t") for line in listing.splitlines())
    return {serial: state.strip() for serial, tab, state in pairs if tab}


def attached(server_port: int = 0) -> dict[str, str] | None:
    """Devices that a running adb server knows, by serial; None if there is no server.

    Starts none and waits two seconds at most, so that it can be asked in passing.

    Args:
        server_port: of the server on this machine; 0 for the environment's or adb's own.
    """
    try:
        port = server_port or int(os.environ.get("ANDROID_ADB_SERVER_PORT") or _SERVER_PORT)
        with socket.create_connection(("127.0.0.1", port), timeout=_ASK_S) as sock:
            sock.sendall(b"000Chost:devices")
            with sock.makefile("rb") as answer:
                if answer.read(4) != b"OKAY":
                    return None
                return parse_devices(answer.read(int(answer.read(4), 16)).decode("utf-8"))
    except (OSError, OverflowError, ValueError):
        return None


def _named(found: Mapping[str, str]) -> str:
    return ", ".join(f"{serial} ({state})" for serial, state in found.items())


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """What the client complains of; some versions do so on standard output."""
    return _words((done.stdout + b"\n" + done.stderr).decode("utf-8", "replace"))


def _words(err: str) -> str:
    """The client's own complaint in what it wrote: its first line that begins like one."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("* daemon")]
    own = [line for line in lines if line.startswith(("error:", "adb:", "* "))]
    words = (own or lines or [""])[0]
    for start in ("adb: ", "error: "):
        words = words.removeprefix(start)
    return words.rstrip(".")


def _storage_hint(words: str) -> str:
    if "No space" in words or "quota" in words.lower():
        return "Remove files there, or name another folder."
    return "Name a folder that the user of 'adb shell' may write to."


class AdbRunner(RemoteRunner):
    """ONNX Runtime's CPU provider on an Android device; a ``Runner``.

    Args:
        address: ``adb://SERIAL`` as ``adb devices`` shows it, ``adb://HOST:PORT``, or ``adb://``
            for the only device that is attached; what ``--runner`` got.
        adb: the client, a path or a name to find.
        server_port: port of adb's server on this machine; 0 for the client's own choice.
        options: as for ``RemoteRunner``; Android has no Python, so give a ``bundle``.

    Raises:
        InvalidInputError: if a value cannot be used.
        RemoteError: if there is no such client.
    """

    def __init__(
        self,
        *,
        address: str = "",
        adb: str = "adb",
        server_port: int = 0,
        **options: str | int | float | bool,
    ) -> None:
        if not 0 <= server_port <= 65535:
            message = f"server_port must be between 0 and 65535. Received: {server_port}."
            raise InvalidInputError(message)
        if not address.startswith(SCHEME):
            found = attached(server_port)
            there = f" Attached: {_named(found)}." if found else ""
            message = f"This runner needs a device: --runner adb://SERIAL.{there}"
            raise InvalidInputError(message)
        transport = AdbTransport(
            address.removeprefix(SCHEME), adb=adb, server_port=server_port or None
        )
        super().__init__(transport, **options)  # type: ignore[arg-type]
