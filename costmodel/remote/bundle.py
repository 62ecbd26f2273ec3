"""Bundle: a Python with numpy and ONNX Runtime for devices that have none, put there and checked.

A bundle is one archive that ``costmodel.remote.bundle_build`` makes: the C library and its loader,
a Python, the two packages, and a manifest with the SHA-256 of every file. On the device it lies in
a folder named by the archive's own SHA-256, so that it is sent once, two versions lie beside each
other, and nothing else is touched. Nothing is installed; removing the folder removes it.

Started through its own loader, it needs no library of the device: only a Linux kernel, as Android
has one, a shell, ``tar`` and ``sha256sum``.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from costmodel.errors import MISFORMED, InvalidInputError, RemoteError
from costmodel.remote.transport import Finished, Transport

#: Version of the manifest.
FORMAT = 1
#: First member of the archive.
MANIFEST = "manifest.json"
#: Stand for the bundle's folder and that of temporary files in the words that start its Python.
ROOT, TEMPORARY = "{root}", "{tmp}"
#: Bytes of a manifest that are read: a bundle of ten thousand files has a tenth of it.
_LARGEST_MANIFEST = 16 << 20
_MARKED = re.compile("|".join(map(re.escape, (ROOT, TEMPORARY))))
#: Longest time that unpacking or checking takes; a first-generation board needs a minute.
_SLOW_S = 900.0
#: Space that must be free beside the files: the archive lies there too while it is unpacked.
_SPARE_BYTES = 16 << 20
#: Names of the same processor.
_ALIASES = {"arm64": "aarch64", "armv8l": "aarch64", "amd64": "x86_64"}

#: Runs on the device in the bundle's own Python: hashes every file of the manifest.
_CHECK = """
import hashlib, json, os, sys
root = sys.argv[1]
data = open(os.path.join(root, "manifest.json"), "rb").read()
wrong = []
for name, (digest, size) in json.loads(data)["files"].items():
    try:
        content = open(os.path.join(root, name), "rb").read()
    except OSError as error:
        wrong.append("%s: %s" % (name, error.strerror))
        continue
    if hashlib.sha256(content).hexdigest() != digest:
        wrong.append("%s: %d bytes, not the %d that were sent" % (name, len(content), size))
print(json.dumps([hashlib.sha256(data).hexdigest(), len(wrong), wrong[:3]]))
"""
#: Makes the folder of all bundles and tells where it is, and which folder for temporary files all
#: users share: locks lie there. Android has no /tmp, and not every Android names another one.
_PREPARE = """
mkdir -p "$1" && cd "$1" || exit 1
for d in "$TMPDIR" /tmp /data/local/tmp "$PWD"; do
  if [ -d "$d" ] && [ -w "$d" ]; then echo "$d"; break; fi
done
pwd -P
"""
#: Moves a folder to where a damaged one, or by now a whole one, may lie; ``mv`` would go inside.
_MOVE = 'rm -rf "$2" && mv "$1" "$2" && rm -rf "$2/${1##*/}"'
#: What a link that broke left behind more than an hour ago.
_LEFT_BEHIND = (
    *("-maxdepth", "1", "-name", "part-*", "-mmin", "+60"),
    *("-exec", "rm", "-rf", "{}", "+"),
)
#: Proves that the packages load on this processor and kernel.
_TRY = "import numpy, onnxruntime; print(onnxruntime.__version__)"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds.

    Attributes:
        format: ``FORMAT``.
        machine: processor that its programs are for, such as ``aarch64``.
        emulator: words of the program that runs it on another processor; empty for none.
        start: words that start its Python, ``{root}`` standing for its folder, ``{tmp}`` for that
            of temporary files.
        packages: version of every package in it.
        files: SHA-256 and size in bytes of every file but the manifest, by path.
    """

    format: int
    machine: str
    emulator: tuple[str, ...] = ()
    start: tuple[str, ...]
    packages: dict[str, str]
    files: dict[str, tuple[str, int]]

    @property
    def num_bytes(self) -> int:
        """Size of the unpacked files."""
        return sum(size for _, size in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An archive on this machine.

    Attributes:
        path: the file.
        digest: its SHA-256.
        manifest: what it holds.
        manifest_digest: SHA-256 of the manifest as it is written in the archive.
    """

    path: Path
    digest: str
    manifest: Manifest
    manifest_digest: str

    def command(self, root: str, temporary: str) -> tuple[str, ...]:
        """Words that start its Python.

        Args:
            root: where it lies unpacked on the device.
            temporary: the device's folder for temporary files.
        """
        values = {ROOT: root, TEMPORARY: temporary}
        return tuple(
            _MARKED.sub(lambda mark: values[mark[0]], word) for word in self.manifest.start
        )


def read_bundle(path: Path) -> Bundle:
    """Read an archive's manifest.

    Raises:
        InvalidInputError: if there is no such file, or it is no bundle.
    """
    how = "Make one with scripts/arm64_bundle.py."
    if not path.is_file():
        message = f"There is no bundle {path}. {how}"
        raise InvalidInputError(message)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with tarfile.open(path, "r:gz") as archive:
            first = archive.next()
            inside = archive.extractfile(first) if first and first.name == MANIFEST else None
            data = inside.read(_LARGEST_MANIFEST) if inside else b""
        manifest = msgspec.json.decode(data, type=Manifest)
    except (OSError, EOFError, tarfile.TarError, zlib.error, *MISFORMED) as error:
        message = f"{path} is no bundle, or a damaged one: {error}. {how}"
        raise InvalidInputError(message) from error
    if manifest.format != FORMAT:
        message = f"{path} is a bundle of format {manifest.format}, not {FORMAT}. {how}"
        raise InvalidInputError(message)
    return Bundle(
        path=path,
        digest=digest,
        manifest=manifest,
        manifest_digest=hashlib.sha256(data).hexdigest(),
    )


def deploy(transport: Transport, bundle: Path, folder: str) -> tuple[str, ...]:
    """See to it that a bundle lies whole on the device.

    Args:
        transport: the way there.
        bundle: archive on this machine.
        folder: on the device, for all bundles; made if it is not there.

    Returns:
        The command that starts the bundle's Python on the device; arguments may follow.

    Raises:
        InvalidInputError: if ``bundle`` is no bundle.
        LinkLostError: if the link breaks; another try goes on from what is whole.
        RemoteError: if the device has another processor, no room or no ``tar``, if what arrived is
            not what was sent, or if the packages do not load there.
    """
    return _Deployment(transport, read_bundle(bundle)).deploy(folder)


class _Deployment:
    """One bundle and one device."""

    def __init__(self, transport: Transport, bundle: Bundle) -> None:
        self._transport = transport
        self._bundle = bundle
        self._name = f"{transport.address}: the bundle {bundle.path.name}"
        self._temporary = ""

    def deploy(self, folder: str) -> tuple[str, ...]:
        told = self._require("sh", "-c", _PREPARE, "sh", folder)
        self._temporary, _, home = told.removesuffix("\n").partition("\n")
        root = f"{home}/bundle-{self._bundle.digest[:16]}"
        if not self._is_whole(root):
            self._deploy_into(home, root)
        return self._command(root)

    def _deploy_into(self, home: str, root: str) -> None:
        self._require_machine()
        self._run("find", home, *_LEFT_BEHIND)  # not every find can do it, and that is no matter
        self._require_room(home)
        # Under a name of its own until it is whole: another user may be sending the same bundle.
        part = f"{home}/part-{uuid.uuid4().hex[:12]}"
        try:
            self._send(part)
            self._unpack(part)
            if wrong := self._wrong(f"{part}.d"):
                message = f"{self._name} did not arrive as it was sent: {wrong}. Try again."
                raise RemoteError(message)
            self._try(self._command(f"{part}.d"))
            if not self._is_whole(root):  # else another user was quicker, and may be running it
                self._require("sh", "-c", _MOVE, "sh", f"{part}.d", root, timeout_s=_SLOW_S)
        finally:
            self._clean(part)

    def _is_whole(self, root: str) -> bool:
        return self._run("test", "-e", f"{root}/{MANIFEST}").status == 0 and not self._wrong(root)

    def _command(self, root: str) -> tuple[str, ...]:
        return self._bundle.command(root, self._temporary)

    def _run(self, *command: str, timeout_s: float = 60.0) -> Finished:
        return self._transport.run(command, timeout_s=timeout_s)

    def _require(self, *command: str, timeout_s: float = 60.0) -> str:
        done = self._run(*command, timeout_s=timeout_s)
        if done.status:
            message = f"{self._name} cannot be put there: {done.words}{_hint(done.err)}"
            raise RemoteError(message)
        return done.out.decode("utf-8", "replace")

    def _require_machine(self) -> None:
        manifest = self._bundle.manifest
        machine = self._require("uname", "-m").strip()
        if manifest.emulator:
            program = manifest.emulator[0]
            if self._run("sh", "-c", 'command -v "$1"', "sh", program).status:
                message = (
                    f"{self._name} runs under {program}, which is not installed there ({machine}). "
                    "Install it there, or make the bundle without --emulated."
                )
                raise RemoteError(message)
        elif _ALIASES.get(machine, machine) != manifest.machine:
            message = (
                f"{self._name} holds programs for {manifest.machine}, but the device's processor "
                f"is {machine}. Give a bundle for that one, or install Python, numpy and "
                "onnxruntime there."
            )
            raise RemoteError(message)

    def _require_room(self, home: str) -> None:
        done = self._run("df", "-Pk", home)
        numbers = done.out.decode("utf-8", "replace").split("\n")[-2:-1]
        fields = numbers[0].split() if numbers and done.status == 0 else []
        if len(fields) < 4 or not fields[-3].isdecimal():
            return  # then the disk itself will say so
        free = int(fields[-3]) << 10
        needed = self._bundle.manifest.num_bytes + self._bundle.path.stat().st_size + _SPARE_BYTES
        if free < needed:
            message = (
                f"{self._name} needs {needed >> 20} MiB in {home}, where {free >> 20} MiB are "
                "free. Remove files there, or name another folder."
            )
            raise RemoteError(message)

    def _send(self, part: str) -> None:
        self._transport.put(self._bundle.path, f"{part}.tgz")
        arrived = self._require("sha256sum", f"{part}.tgz", timeout_s=_SLOW_S).split()[:1]
        if arrived != [self._bundle.digest]:
            message = (
                f"{self._name} did not arrive as it was sent: its SHA-256 is {arrived} there, "
                f"{self._bundle.digest} here. Try again."
            )
            raise RemoteError(message)

    def _unpack(self, part: str) -> None:
        self._require("mkdir", f"{part}.d")
        self._require("tar", "-xzf", f"{part}.tgz", "-C", f"{part}.d", timeout_s=_SLOW_S)

    def _wrong(self, root: str) -> str:
        """What is wrong with the files in ``root``; empty if nothing is."""
        command = [*self._command(root), "-c", _CHECK, root]
        done = self._run(*command, timeout_s=_SLOW_S)
        if done.status:
            return f"its Python does not start ({done.words})"
        try:
            digest, count, examples = msgspec.json.decode(done.out, type=tuple[str, int, list[str]])
        except ValueError:
            return f"its Python says {done.out[:200]!r}"
        if digest != self._bundle.manifest_digest:
            return f"its {MANIFEST} is another one"
        return f"{count} files are wrong ({'; '.join(examples)})" if count else ""

    def _try(self, command: Sequence[str]) -> None:
        done = self._run(*command, "-c", _TRY, timeout_s=_SLOW_S)
        if done.status:
            message = f"{self._name} lies there whole, but does not work: {done.words}"
            raise RemoteError(message)

    def _clean(self, part: str) -> None:
        try:
            self._run("rm", "-rf", f"{part}.tgz", f"{part}.d", timeout_s=_SLOW_S)
        except RemoteError:
            return  # the error on its way says more


def _hint(err: str) -> str:
    """How to mend what a command complained of; empty when that is plain."""
    if "No space left" in err or "quota" in err.lower():
        return ". Remove files there, or name another folder."
    if "Permission denied" in err or "Read-only" in err:
        return ". Name a folder that this user may write to."
    return "."
