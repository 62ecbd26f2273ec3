"""Bundles: packed from packages, put on a device, checked there, and mended where damaged."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError, LinkLostError, RemoteError
from costmodel.remote.bundle import MANIFEST, deploy, read_bundle
from costmodel.remote.bundle_build import write_bundle
from costmodel.remote.transport import Finished

#: In a loader's place: this machine's Python after the loader's own arguments; it makes believe to
#: have loaded the packages, which takes most of a second.
_LOADER = f"""#!/bin/sh
shift 4
case "$4" in "import numpy, onnxruntime;"*) exit 0;; esac
exec "{sys.executable}" -S "$@"
"""
Answer = Callable[[Sequence[str]], Finished | None]


class LocalDevice:
    """A transport to this machine, whose programs a test may answer for."""

    address = "test://here"
    folder = "unused"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.ran: list[tuple[str, ...]] = []
        self.answers: dict[str, Finished] = {}
        self.damage: Callable[[Path], object] = lambda _: None

    def run(
        self, command: Sequence[str], *, data: bytes = b"", timeout_s: float = 60.0
    ) -> Finished:
        self.ran.append(tuple(command))
        if command[0] in self.answers:
            return self.answers[command[0]]
        done = subprocess.run(list(command), input=data, capture_output=True, check=False)
        return Finished(status=done.returncode, out=done.stdout, err=done.stderr.decode())

    def put(self, source: Path, target: str) -> None:
        self.sent.append(target)
        shutil.copy(source, target)
        self.damage(Path(target))

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def explain(self, status: int, err: str) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


def contents(folder: Path) -> Path:
    """What a bundle is packed from, with this machine's Python in it."""
    for name, text in {
        "bin/python3": "never run: the loader takes another\n",
        "lib/ld-linux-aarch64.so.1": _LOADER,
        "lib/python3.11/it's a module.py": "x = 1\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A bundle that runs here: ``env`` stands for an emulator."""
    out = tmp_path / "small.tgz"
    write_bundle(contents(tmp_path / "in"), out, packages={"numpy": "1"}, emulator=("env",))
    return out


@pytest.fixture
def device() -> LocalDevice:
    return LocalDevice()


def root_of(home: Path) -> Path:
    (found,) = home.glob("bundle-*")
    return found


def test_a_deployed_bundle_runs(archive: Path, device: LocalDevice, tmp_path: Path) -> None:
    home = tmp_path / "a folder's name"
    command = deploy(device, archive, str(home))
    done = device.run(
        [*command, "-c", "import os, sys; print(sys.argv[1], os.environ['TMPDIR'])", "x"]
    )
    assert done.out.decode() == f"x {tempfile.gettempdir()}\n"
    assert os.access(root_of(home) / "bin" / "python3", os.X_OK)
    assert [path.name for path in home.iterdir()] == [root_of(home).name]


def test_it_is_sent_once(archive: Path, device: LocalDevice, tmp_path: Path) -> None:
    first = deploy(device, archive, str(tmp_path / "home"))
    assert deploy(device, archive, str(tmp_path / "home")) == first
    assert len(device.sent) == 1


def test_a_relative_folder_gives_words_that_work_anywhere(
    archive: Path, device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "home") in " ".join(deploy(device, archive, "home"))


@pytest.mark.parametrize("known", ["", "/not/there"])
def test_locks_lie_where_every_user_finds_them(
    archive: Path,
    device: LocalDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: str,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert f"TMPDIR={tmp_path}" in deploy(device, archive, str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", known)
    assert "TMPDIR=/tmp" in deploy(device, archive, str(tmp_path / "home"))


@pytest.mark.parametrize("name", ["bin/python3", "lib/python3.11/it's a module.py", MANIFEST])
@pytest.mark.parametrize("damage", ["gone", "changed", "empty"])
def test_a_damaged_file_is_mended(
    archive: Path, device: LocalDevice, tmp_path: Path, name: str, damage: str
) -> None:
    home = tmp_path / "home"
    deploy(device, archive, str(home))
    path = root_of(home) / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else whole[:-1] + b"?")
    deploy(device, archive, str(home))
    assert path.read_bytes() == whole
    assert len(device.sent) == 2


def test_what_is_not_ours_does_not_matter(
    archive: Path, device: LocalDevice, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    deploy(device, archive, str(home))
    (root_of(home) / "lib" / "python3.11" / "cached.pyc").write_bytes(b"by Python")
    deploy(device, archive, str(home))
    assert len(device.sent) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    ],
)
def test_what_arrives_otherwise_is_refused(
    archive: Path, device: LocalDevice, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    device.damage = damage
    with pytest.raises(RemoteError, match=r"small\.tgz did not arrive as it was sent: its SHA-256"):
        deploy(device, archive, str(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_a_file_that_unpacks_otherwise_is_refused(
    archive: Path, device: LocalDevice, tmp_path: Path
) -> None:
    bundle = read_bundle(archive)
    device.answers["env"] = Finished(
        status=0,
        out=json.dumps([bundle.manifest_digest, 2, ["a: 1 bytes", "b: gone"]]).encode(),
        err="",
    )
    with pytest.raises(RemoteError, match=r"2 files are wrong \(a: 1 bytes; b: gone\)"):
        deploy(device, archive, str(tmp_path / "home"))


def test_a_link_that_breaks_leaves_nothing_half_done(
    archive: Path, device: LocalDevice, tmp_path: Path
) -> None:
    def cut(path: Path) -> None:
        path.write_bytes(b"half")
        message = "cut"
        raise LinkLostError(message)

    device.damage = cut
    with pytest.raises(LinkLostError):
        deploy(device, archive, str(tmp_path / "home"))
    device.damage = lambda _: None
    deploy(device, archive, str(tmp_path / "home"))
    assert len(list((tmp_path / "home").iterdir())) == 1


def test_what_a_dead_host_left_behind_is_removed(
    archive: Path, device: LocalDevice, tmp_path: Path
) -> None:
    old, fresh = tmp_path / "home" / "part-1.tgz", tmp_path / "home" / "part-2.d"
    fresh.mkdir(parents=True)
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    deploy(device, archive, str(tmp_path / "home"))
    assert not old.exists()
    assert fresh.exists()


def test_two_users_at_once(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    failed: list[Exception] = []

    def user() -> None:
        try:
            deploy(LocalDevice(), archive, str(home))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=user) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in home.iterdir()] == [root_of(home).name]
    last = LocalDevice()
    deploy(last, archive, str(home))
    assert last.sent == []


def test_another_processor_is_refused(device: LocalDevice, tmp_path: Path) -> None:
    archive = tmp_path / "arm.tgz"
    write_bundle(contents(tmp_path / "in"), archive, packages={})
    device.answers["uname"] = Finished(status=0, out=b"riscv64\n", err="")
    with pytest.raises(RemoteError, match=r"programs for aarch64, but .* processor is riscv64"):
        deploy(device, archive, str(tmp_path / "home"))
    assert device.sent == []


@pytest.mark.parametrize("name", ["aarch64", "arm64", "armv8l"])
def test_names_of_our_processor_are_known(device: LocalDevice, tmp_path: Path, name: str) -> None:
    archive = tmp_path / "arm.tgz"
    write_bundle(contents(tmp_path / "in"), archive, packages={})
    device.answers["uname"] = Finished(status=0, out=f"{name}\n".encode(), err="")
    deploy(device, archive, str(tmp_path / "home"))
    assert len(device.sent) == 1


def test_a_missing_emulator_is_named(device: LocalDevice, tmp_path: Path) -> None:
    archive = tmp_path / "emulated.tgz"
    write_bundle(contents(tmp_path / "in"), archive, packages={}, emulator=("no-such-emulator",))
    with pytest.raises(RemoteError, match="no-such-emulator, which is not installed there"):
        deploy(device, archive, str(tmp_path / "home"))


def test_too_little_room_is_said_before_anything_is_sent(
    archive: Path, device: LocalDevice, tmp_path: Path
) -> None:
    listing = b"Filesystem 1024-blocks Used Available Capacity Mounted\n/dev/x 9999 1 2048 99% /\n"
    device.answers["df"] = Finished(status=0, out=listing, err="")
    with pytest.raises(RemoteError, match=r"needs 16 MiB in .*, where 2 MiB are free"):
        deploy(device, archive, str(tmp_path / "home"))
    assert device.sent == []


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        ("tar", "tar: lib/x: Cannot write: No space left on device", "No space left.*Remove files"),
        ("tar", "sh: tar: inaccessible or not found", "tar: inaccessible or not found"),
        ("mkdir", "mkdir: Read-only file system", "Name a folder that this user may write to"),
    ],
)
def test_what_the_device_refuses_is_said(
    archive: Path, device: LocalDevice, tmp_path: Path, program: str, words: str, message: str
) -> None:
    device.answers[program] = Finished(status=1, out=b"", err=f"{words}\n")
    with pytest.raises(RemoteError, match=message):
        deploy(device, archive, str(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_a_folder_that_cannot_be_made(archive: Path, device: LocalDevice, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RemoteError, match=r"exit status [12]: .*file"):
        deploy(device, archive, str(tmp_path / "file" / "home"))


def test_packages_that_do_not_load_are_found_out(device: LocalDevice, tmp_path: Path) -> None:
    folder = contents(tmp_path / "in")
    broken = _LOADER.replace("exit 0", "exit 132")
    (folder / "lib" / "ld-linux-aarch64.so.1").write_text(broken)
    archive = tmp_path / "broken.tgz"
    write_bundle(folder, archive, packages={}, emulator=("env",))
    with pytest.raises(RemoteError, match="does not work: exit status 132"):
        deploy(device, archive, str(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    folder = contents(tmp_path / "in")
    write_bundle(folder, tmp_path / "a.tgz", packages={"b": "1", "a": "2"})
    for path in folder.rglob("*"):
        os.utime(path, (5, 5))
    write_bundle(folder, tmp_path / "b.tgz", packages={"a": "2", "b": "1"})
    assert (tmp_path / "a.tgz").read_bytes() == (tmp_path / "b.tgz").read_bytes()


_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files=st.dictionaries(_names.filter(lambda n: n not in {".", ".."}), st.binary()))
def test_an_archive_holds_what_its_manifest_says(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("in")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    out = tmp_path_factory.mktemp("out") / "a.tgz"
    write_bundle(folder, out, packages={})
    manifest = read_bundle(out).manifest
    with tarfile.open(out) as archive:
        packed = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    assert packed.pop(MANIFEST)
    assert packed == files
    assert {name: size for name, (_, size) in manifest.files.items()} == {
        name: len(content) for name, content in files.items()
    }


def _tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        gzip.compress(b"no tar"),
        _tar("other", b"{}"),
        _tar(MANIFEST, b"[]"),
        _tar(MANIFEST, b'{"format": 1}'),
        _tar(MANIFEST, b'{"format": 9, "machine": "", "start": [], "packages": {}, "files": {}}'),
    ],
    ids=["empty", "text", "no tar", "no manifest", "a list", "too little", "another format"],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.tgz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"odd\.tgz is .*arm64_bundle"):
        read_bundle(path)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="There is no bundle"):
        read_bundle(tmp_path / "no.tgz")
