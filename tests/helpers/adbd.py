"""A small adb daemon: what an Android device answers to the real ``adb`` client, on this machine.

It speaks adb's transport protocol over TCP (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE), the ``shell_v2``
service, and the first version of the ``sync`` service. Commands run in this machine's ``sh``, so
what is tested is the way to a device, not Android. Faults are attributes that a test sets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

#: Version of the protocol without checksums, and the largest payload.
_VERSION, _MAX_DATA = 0x01000001, 1 << 18
_HEADER = struct.Struct("<4sIIIII")
#: Packets of a ``shell_v2`` conversation.
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
#: AUTH messages: the device wants a token signed, and the host's answer.
_AUTH_TOKEN, _AUTH_SIGNATURE = 1, 2


class Stream:
    """One opened service on a link: its inbox, and a window of one unanswered write."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self.link = link
        self.local = local
        self.remote = remote
        self._inbox = bytearray()
        self._changed = threading.Condition()
        self._ready = True
        self.ended = False

    def deliver(self, payload: bytes) -> None:
        with self._changed:
            self._inbox += payload
            self._changed.notify_all()

    def acknowledge(self) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes, or fewer when the other side is gone."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._inbox) >= count or self.ended)
            taken = bytes(self._inbox[:count])
            del self._inbox[:count]
            return taken

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_DATA):
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self.ended)
                if self.ended:
                    raise BrokenPipeError
                self._ready = False
            self.link.send(b"WRTE", self.local, self.remote, data[start : start + _MAX_DATA])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.link.send(b"CLSE", self.local, self.remote)


class Link:
    """One connection of an adb server."""

    def __init__(self, daemon: AdbDaemon, sock: socket.socket) -> None:
        self.daemon = daemon
        self.sock = sock
        self._writing = threading.Lock()
        self._streams: dict[int, Stream] = {}

    def send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        head = _HEADER.pack(command, first, second, len(payload), 0, magic)
        with self._writing:
            self.sock.sendall(head + payload)

    def serve(self) -> None:
        try:
            while True:
                command, first, second, length, _, _ = _HEADER.unpack(self._exactly(_HEADER.size))
                self._take(command, first, second, self._exactly(length))
        except (OSError, EOFError):
            pass
        finally:
            self.drop()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for stream in list(self._streams.values()):
            stream.end()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _take(self, command: bytes, first: int, second: int, payload: bytes) -> None:
        if command == b"OPEN":
            stream = Stream(self, len(self._streams) + 1, first)
            self._streams[stream.local] = stream
            service = payload.rstrip(b"\0").decode()
            threading.Thread(target=self._open, args=(stream, service), daemon=True).start()
        elif command in {b"CNXN", b"AUTH"}:
            self._greet(command, first)
        elif second in self._streams:
            self._pass_on(self._streams[second], command, payload)

    def _greet(self, command: bytes, kind: int) -> None:
        if not self.daemon.unauthorized:
            self.send(b"CNXN", _VERSION, _MAX_DATA, self.daemon.banner)
        elif command == b"CNXN" or kind == _AUTH_SIGNATURE:  # of no key that this device knows
            self.send(b"AUTH", _AUTH_TOKEN, 0, bytes(range(20)))

    def _pass_on(self, stream: Stream, command: bytes, payload: bytes) -> None:
        if command == b"WRTE":
            stream.deliver(payload)
            self.send(b"OKAY", stream.local, stream.remote)
        elif command == b"OKAY":
            stream.acknowledge()
        else:
            stream.end()

    def _open(self, stream: Stream, service: str) -> None:
        """Serve one stream to its end."""
        name, _, argument = service.partition(":")
        serve: Callable[[Stream, str], None] | None = {
            "shell": self.daemon.shell,
            "sync": self.daemon.sync,
        }.get(name.partition(",")[0])
        try:
            if serve is None:
                self.send(b"CLSE", 0, stream.remote)
                return
            self.send(b"OKAY", stream.local, stream.remote)
            serve(stream, argument)
        except OSError:
            pass
        finally:
            stream.close()


class AdbDaemon:
    """A device on a free port of this machine; use it as a context manager.

    Attributes:
        unauthorized: the device has not been told to trust this computer.
        room: bytes that files sent to it may still take.
        away: connections are dropped as they come, as by a device that is starting.
        cut_after: the link breaks once commands have written so many bytes more; None for never.
        commands: every shell command that arrived.
    """

    def __init__(self, environ: Mapping[str, str], *, features: str = "shell_v2,cmd") -> None:
        self._environ = dict(environ)
        self.banner = f"device::ro.product.name=stand-in;features={features}".encode()
        self.unauthorized = False
        self.away = False
        self.room = 1 << 40
        self.cut_after: int | None = None
        self.commands: list[str] = []
        self._links: list[Link] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._socket = _listener()
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> AdbDaemon:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a waiting accept would keep it open
        self._socket.close()
        self.reboot()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every link, as a pulled cable does; what runs finds its input at an end."""
        for link in self._links:
            link.drop()
        self._links.clear()

    def reboot(self) -> None:
        """Break every link and end every process."""
        self.cut()
        for process in self._processes:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            if self.away:
                sock.close()
                continue
            link = Link(self, sock)
            self._links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()

    def shell(self, stream: Stream, command: str) -> None:
        """The ``shell_v2`` service: three streams and an exit status in one."""
        self.commands.append(command)
        process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            start_new_session=True,
        )
        self._processes.append(process)
        assert process.stdout
        assert process.stderr
        threading.Thread(target=_feed, args=(stream, process), daemon=True).start()
        pumps = [
            threading.Thread(target=self._pump, args=(stream, kind, pipe.fileno()), daemon=True)
            for kind, pipe in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        status = process.wait()
        process.stdout.close()
        process.stderr.close()
        stream.write(_packet(_EXIT, bytes([status if status >= 0 else 128 - status])))

    def _pump(self, stream: Stream, kind: int, source: int) -> None:
        while data := os.read(source, 1 << 16):
            if self.cut_after is not None:
                self.cut_after -= len(data)
                if self.cut_after < 0:
                    self.cut_after = None
                    self.cut()
            with contextlib.suppress(OSError):
                stream.write(_packet(kind, data))

    def sync(self, stream: Stream, _: str) -> None:
        """The ``sync`` service: files to and from the device."""
        while len(head := stream.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            name = stream.read(length).decode()
            match kind:
                case b"STAT":
                    stream.write(b"STAT" + _stat(Path(name)))
                case b"SEND":
                    self._receive(stream, Path(name.rpartition(",")[0]))
                case b"RECV":
                    _send(stream, Path(name))
                case _:
                    return

    def _receive(self, stream: Stream, path: Path) -> None:
        """Take a file; what is wrong is told once all of it has come."""
        wrong = ""
        content = bytearray()
        while True:
            kind, length = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            content += stream.read(length)
        if len(content) > self.room:
            wrong = "couldn't write file: No space left on device"
            content = content[: self.room]
        self.room -= len(content)
        try:
            path.write_bytes(content)
        except OSError as error:
            wrong = f"couldn't create file: {error.strerror}"
        if wrong:
            stream.write(struct.pack("<4sI", b"FAIL", len(wrong)) + wrong.encode())
        else:
            stream.write(struct.pack("<4sI", b"OKAY", 0))


def _listener() -> socket.socket:
    """A listening socket on a port where adb looks for no emulators of its own accord."""
    while True:
        sock = socket.create_server(("127.0.0.1", 0))
        if not 5550 <= sock.getsockname()[1] <= 5690:
            return sock
        sock.close()


def _packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


def _feed(stream: Stream, process: subprocess.Popen[bytes]) -> None:
    """Hand input to a process until either is at an end."""
    assert process.stdin
    with contextlib.suppress(OSError), process.stdin as stdin:
        while len(head := stream.read(5)) == 5:
            kind, length = struct.unpack("<BI", head)
            data = stream.read(length)
            if kind == _CLOSE_STDIN:
                return
            if kind == _STDIN:
                stdin.write(data)
                stdin.flush()


def _stat(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return struct.pack("<III", 0, 0, 0)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))


def _send(stream: Stream, path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = str(error.strerror).encode()
        stream.write(struct.pack("<4sI", b"FAIL", len(reason)) + reason)
        return
    for start in range(0, len(content), 1 << 16):
        piece = content[start : start + (1 << 16)]
        stream.write(struct.pack("<4sI", b"DATA", len(piece)) + piece)
    stream.write(struct.pack("<4sI", b"DONE", 0))
