"""Boards over SSH: the transport, and the runner for ``ssh://`` addresses.

Uses the system's ``ssh`` with the user's own configuration, keys and agent; nothing is asked at a
prompt and no check of host keys is ever switched off. One connection carries everything: a master
that ``ssh`` itself keeps, whose socket lies in a folder that only this user can enter.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costmodel.errors import InvalidInputError, LinkLostError, RemoteError
from costmodel.remote.runner import RemoteRunner
from costmodel.remote.transport import Finished

SCHEME = "ssh"
#: Where files go on the device, from the user's home there.
FOLDER = ".cache/costmodel"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@\\-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]")
#: A dead link is noticed after this many unanswered questions, so many seconds apart.
_ALIVE_S, _ALIVE_COUNT = 5, 3
_CONNECT_S = 10
#: The master stays this long after its last use; so it also ends when we are killed.
_PERSIST_S = 30
#: Longest path of a socket that every system takes, with room for what ssh adds to it.
_LONGEST_SOCKET = 80
#: Exit status by which ssh tells of its own troubles.
_OWN_STATUS = 255
_SLOW_BYTES_PER_S = 100_000.0

#: What ssh says when no further try will help, and what to do about it.
_FINAL = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": (
        "Its host key is not the one that is known. If the device was set up anew, remove the old "
        "key with 'ssh-keygen -R'; if not, somebody may stand in between."
    ),
    "Host key verification failed": (
        "Its host key is not known here. Connect once by hand with ssh and compare the "
        "fingerprint, or name the file that holds the key: known_hosts=FILE."
    ),
    "Permission denied": (
        "It refuses the key. Put the public key there (ssh-copy-id), name the private one "
        "(identity=FILE), or load it into ssh-agent; passwords are not asked for."
    ),
    "Too many authentication failures": "Name the key that it knows: identity=FILE.",
    "Bad configuration option": "Mend the ssh configuration.",
    "Bad owner or permissions": "Mend the permissions of the ssh configuration.",
    "Can't open user config file": "Give an existing file: ssh_config=FILE.",
    "no matching": "The two sides have no common cipher or key type.",
}
_UNKNOWN_NAME = "Could not resolve hostname"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a board is.

    Attributes:
        host: name, address, or alias in the ssh configuration.
        user: who logs in; empty for ssh's own choice.
        port: empty for ssh's own choice.
    """

    host: str
    user: str = ""
    port: str = ""

    @property
    def destination(self) -> str:
        """As ssh takes it: one word that never begins with a hyphen."""
        host = self.host.strip("[]")
        return f"{self.user}@{host}" if self.user else host


def parse_address(text: str) -> Address:
    """Parts of ``ssh://[USER@]HOST[:PORT]``.

    Raises:
        InvalidInputError: for anything else, and for names that ssh or a shell could take for
            something else than a name.

    >>> parse_address("ssh://pi@board:2222").destination
    'pi@board'
    """
    scheme, colon, rest = text.partition("://")
    user, at, place = rest.rpartition("@")
    host, port = place, ""
    if match := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([^:]*)", place):
        host, port = match[1], match[2]
    good = bool(colon) and scheme == SCHEME and _HOST.fullmatch(host) is not None
    good = good and (_USER.fullmatch(user) is not None if at else not user)
    if port or place.endswith(":"):
        good = good and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535
    if not good:
        message = (
            f"{text!r} is no address of a board. Expected ssh://HOST, with user and port where "
            "needed: ssh://USER" + "@HOST:PORT. Names may hold letters, digits, dots, hyphens and "
            "underscores and never begin with a hyphen; a password is not part of an address."
        )
        raise InvalidInputError(message)
    return Address(host=host, user=user, port=port)


class SshTransport:
    """One board behind ``ssh``; a ``Transport``.

    Args:
        address: ``ssh://[USER@]HOST[:PORT]``.
        port: instead of the address's.
        identity: file of the private key.
        ssh_config: file used instead of the user's own configuration.
        known_hosts: file of known host keys used instead of the user's own.
        ssh: the program, a path or a name to find.

    Raises:
        InvalidInputError: if the address or a file cannot be used.
        RemoteError: if there is no such program.
    """

    def __init__(
        self,
        address: str,
        *,
        port: int | None = None,
        identity: str = "",
        ssh_config: str = "",
        known_hosts: str = "",
        ssh: str = "ssh",
    ) -> None:
        where = parse_address(address)
        if port is not None and not 1 <= port <= 65535:
            message = f"port must be between 1 and 65535. Received: {port}."
            raise InvalidInputError(message)
        program = shutil.which(ssh)
        if program is None:
            message = (
                f"The program {ssh!r} was not found. Install OpenSSH's client (Debian and Ubuntu: "
                "apt install openssh-client), or name the program: ssh=PATH."
            )
            raise RemoteError(message)
        self._address = address
        self._destination = where.destination
        self._folder: str | None = None
        self._options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"]
        self._options += ["-o", f"ServerAliveInterval={_ALIVE_S}"]
        self._options += ["-o", f"ServerAliveCountMax={_ALIVE_COUNT}", "-o", "EscapeChar=none"]
        if chosen := (str(port) if port else where.port):
            self._options += ["-p", chosen]
        if ssh_config:
            self._options += ["-F", str(_file("ssh_config", ssh_config))]
        if identity:
            self._options += ["-i", _escaped(_file("identity", identity))]
            self._options += ["-o", "IdentitiesOnly=yes"]
        if known_hosts:
            known = _escaped(_file("known_hosts", known_hosts))
            self._options += ["-o", f'UserKnownHostsFile="{known}"']
        self._program = program
        self._reached = False

    @property
    def address(self) -> str:
        """As the user gave it."""
        return self._address

    @property
    def folder(self) -> str:
        """Where files go unless the user says otherwise."""
        return FOLDER

    def arguments(self, command: Sequence[str]) -> list[str]:
        """Everything that ``ssh`` is started with, the command quoted word by word."""
        words = shlex.join(command)
        return [self._program, *self._options, *self._sharing(), "--", self._destination, words]

    def run(
        self, command: Sequence[str], *, data: bytes = b"", timeout_s: float = 60.0
    ) -> Finished:
        """Run a short command to its end; see ``Transport.run``."""
        try:
            done = subprocess.run(
                self.arguments(command),
                input=data,
                capture_output=True,
                check=False,
                timeout=timeout_s,
                start_new_session=True,  # the terminal's ctrl-C is for the parent alone
            )
        except subprocess.TimeoutExpired as error:
            self._forget_master()
            message = f"{self._address}: no answer within {timeout_s:g} s."
            raise LinkLostError(message) from error
        err = done.stderr.decode("utf-8", "replace")
        if trouble := self.explain(done.returncode, err):
            raise trouble
        self._reached = True
        return Finished(status=done.returncode, out=done.stdout, err=err)

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the device; see ``Transport.put``."""
        data = source.read_bytes()
        timeout_s = 60.0 + len(data) / _SLOW_BYTES_PER_S
        done = self.run(["sh", "-c", 'cat > "$1"', "sh", target], data=data, timeout_s=timeout_s)
        if done.status:
            lines = done.err.strip().splitlines() or ["it does not say why"]
            message = (
                f"{self._address}: {target} cannot be written there: {lines[-1]}. Free some space "
                "or name another folder: folder=PATH."
            )
            raise RemoteError(message)

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a long command; see ``Transport.start``."""
        return subprocess.Popen(
            self.arguments(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def explain(self, status: int, err: str) -> RemoteError | None:
        """Why a process of ``start`` ended; see ``Transport.explain``."""
        if 0 <= status < _OWN_STATUS:
            return None
        self._forget_master()
        lines = [line.strip() for line in err.splitlines() if line.strip()]
        words = (lines[-1] if lines else "the connection ended").rstrip(".")
        if status < 0:
            words = f"ssh was ended by signal {-status}"
        for sign, advice in _FINAL.items():
            if sign in err:
                line = next((line for line in lines if sign in line), words)
                return RemoteError(f"{self._address}: {line.strip('@ ').rstrip('.')}. {advice}")
        if _UNKNOWN_NAME in err and not self._reached:
            message = f"{self._address}: {words}. Check the name of the host."
            return RemoteError(message)
        return LinkLostError(f"{self._address}: {words}.")

    def close(self) -> None:
        """End the shared connection."""
        if self._folder is not None:
            self._forget_master()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _sharing(self) -> list[str]:
        """Options by which all commands share one connection, where the socket has a short path."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="costmodel-")
        if len(self._folder) > _LONGEST_SOCKET:
            return []
        path = _escaped(Path(self._folder) / "s")
        sharing = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}"]
        return [*sharing, "-o", f"ControlPersist={_PERSIST_S}"]

    def _forget_master(self) -> None:
        """End the shared connection, so that the next command makes a new one."""
        sharing = self._sharing()
        if not sharing:
            return
        command = [self._program, *self._options, *sharing, "-O", "exit", "--", self._destination]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, check=False, timeout=_CONNECT_S)
        with contextlib.suppress(OSError):
            (Path(str(self._folder)) / "s").unlink()


def _file(option: str, text: str) -> Path:
    """A file that an option names.

    Raises:
        InvalidInputError: if there is none, or ssh could misread its name.
    """
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        message = f"{option}={text!r}: there is no such file."
        raise InvalidInputError(message)
    if any(ord(char) < 32 or char in "\"'\\" for char in str(path)):
        message = f"{option}={text!r}: quotes, backslashes and control characters confuse ssh."
        raise InvalidInputError(message)
    return path


def _escaped(path: Path) -> str:
    """A path in which ssh replaces nothing."""
    return str(path).replace("%", "%%")


class SshRunner(RemoteRunner):
    """ONNX Runtime's CPU provider on a board over SSH; a ``Runner``.

    Args:
        address: ``ssh://[USER@]HOST[:PORT]``; what ``--runner`` got.
        port: instead of the address's.
        identity: file of the private key.
        ssh_config: file used instead of the user's own configuration.
        known_hosts: file of known host keys used instead of the user's own.
        ssh: the program, a path or a name to find.
        options: as for ``RemoteRunner``.

    Raises:
        InvalidInputError: if a value cannot be used.
        RemoteError: if there is no ``ssh`` here.
    """

    def __init__(
        self,
        *,
        address: str = "",
        port: int | None = None,
        identity: str = "",
        ssh_config: str = "",
        known_hosts: str = "",
        ssh: str = "ssh",
        **options: str | int | float | bool,
    ) -> None:
        if not address:
            message = "This runner needs a board's address: --runner ssh://HOST"
            raise InvalidInputError(message)
        transport = SshTransport(
            address,
            port=port,
            identity=identity,
            ssh_config=ssh_config,
            known_hosts=known_hosts,
            ssh=ssh,
        )
        super().__init__(transport, **options)  # type: ignore[arg-type]
