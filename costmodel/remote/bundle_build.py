"""Makes bundles for 64-bit ARM: packages of Debian and wheels, taken apart and packed anew.

Packages come through ``apt-get`` from the sources that this machine is set up with, wheels through
``pip``; both only download, into a folder. Nothing here needs to run on the processor that the
bundle is for, and no superuser. The same packages make the same archive, byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import msgspec

from costmodel.errors import InvalidInputError
from costmodel.remote.bundle import FORMAT, MANIFEST, ROOT, Manifest
from costmodel.remote.bundle_parts import (
    EMULATED,
    LIBRARIES,
    LOADER,
    START,
    arm_system,
    is_left_out,
    packages_of,
)

#: Wheels in a bundle, in the versions that ``constraints.txt`` names too.
WHEELS = {"numpy": "2.4.6", "onnxruntime": "1.32.0"}
#: Debian's name of the processor, the kernel's, and that of its libraries' folders.
_DEBIAN, _MACHINE, _TRIPLET = "arm64", "aarch64", "aarch64-linux-gnu"
#: Wheels for C libraries as old as these fit Debian's.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
#: Time stamp of every file: only that it never changes matters.
_DATE = 1_600_000_000
_DOWNLOAD_S = 900.0


def build_bundle(
    out: Path,
    *,
    emulated: bool = False,
    packages: Path | None = None,
    wheels: Path | None = None,
) -> Manifest:
    """Make a bundle.

    Args:
        out: archive to write.
        emulated: start everything under ``qemu-aarch64``, for a machine with another processor.
        packages: folder of Debian packages that are there already; None to download them.
        wheels: folder of wheels that are there already; None to download them.

    Returns:
        What the archive holds.

    Raises:
        InvalidInputError: if a tool is missing, or a package cannot be had.
    """
    _require_tools("dpkg-deb", *([] if packages else ["apt-get", "apt-cache"]))
    with TemporaryDirectory(prefix="costmodel-") as name:
        work = Path(name)
        debs = _files(packages, "*.deb") if packages else download_packages(work / "debs")
        system, bundle = work / "system", work / "bundle"
        for deb in debs:
            _call("dpkg-deb", "-x", str(deb), str(system))
        python = _copy_python(system, bundle)
        found = _files(wheels, "*.whl") if wheels else download_wheels(work / "wheels", python)
        for wheel in found:
            _unzip(wheel, bundle / "lib" / "python3" / "dist-packages")
        emulator = EMULATED if emulated else ()
        for path, content in arm_system().items() if emulated else ():
            target = bundle / "emulated" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="ascii")
        versions = dict(_version_of(path) for path in (*debs, *found))
        return write_bundle(bundle, out, packages=versions, emulator=emulator)


def write_bundle(
    folder: Path,
    out: Path,
    *,
    packages: dict[str, str],
    emulator: Sequence[str] = (),
    machine: str = _MACHINE,
) -> Manifest:
    """Pack a folder as it shall lie on the device.

    Args:
        folder: with ``bin/python3`` and ``lib``.
        out: archive to write.
        packages: versions, for the manifest.
        emulator: words of the program to start everything under; ``{root}`` is the folder there.
        machine: processor that its programs are for, as ``uname -m`` names it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): _fingerprint(path) for path in paths}
    manifest = Manifest(
        format=FORMAT,
        machine=machine,
        emulator=tuple(word for word in emulator if ROOT not in word),
        start=(*START, *emulator, *LOADER),
        packages=dict(sorted(packages.items())),
        files=files,
    )
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            _pack(file, data, {str(path.relative_to(folder)): path for path in paths})
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return manifest


def _pack(file: IO[bytes], manifest: bytes, paths: Mapping[str, Path]) -> None:
    with (
        gzip.GzipFile("", "wb", 9, file, mtime=_DATE) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        archive.addfile(_entry(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for name, path in paths.items():
            runs = path.parent.name == "bin" or path.name.startswith("ld-linux")
            entry = _entry(name, path.stat().st_size, mode=0o755 if runs else 0o644)
            with path.open("rb") as content:
                archive.addfile(entry, content)


def _entry(name: str, size: int, *, mode: int = 0o644) -> tarfile.TarInfo:
    """A file without owner or date."""
    entry = tarfile.TarInfo(name)
    entry.mtime = _DATE
    entry.mode = mode
    entry.size = size
    return entry


def _fingerprint(path: Path) -> tuple[str, int]:
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest(), len(content)


def download_packages(folder: Path) -> list[Path]:
    """Debian packages for the bundle, by apt with lists of its own.

    Raises:
        InvalidInputError: if this machine's sources do not have them.
    """
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "archives" / "partial").mkdir(parents=True)
    (folder / "status").touch()
    settings = {
        "APT::Architecture": _DEBIAN,
        "APT::Architectures": _DEBIAN,
        "APT::Get::List-Cleanup": "0",
        "APT::Sandbox::User": "",
        "Dir::Cache": str(folder),
        "Dir::Cache::archives": str(folder / "archives"),
        "Dir::State": str(folder),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(folder / "status"),
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    # A source that has nothing for this processor is no harm as long as another has.
    _call("apt-get", *options, "-qq", "update", cwd=folder, check=False)
    listed = _call("apt-cache", *options, "depends", "python3-minimal", cwd=folder, check=False)
    minimal = re.search(r"Depends: (python3\.\d+)-minimal", listed)
    if not minimal:
        message = (
            "The package sources of this machine have no Python for 64-bit ARM (apt-cache depends "
            f"python3-minimal: {listed.strip()[-300:] or 'nothing'}). Make the bundle on Debian, "
            "or give a folder of its arm64 packages."
        )
        raise InvalidInputError(message)
    _call("apt-get", *options, "-qq", "download", *packages_of(minimal[1]), cwd=folder)
    return _files(folder, "*.deb")


def download_wheels(folder: Path, python: str) -> list[Path]:
    """Wheels for the bundle, by pip.

    Args:
        folder: where they go.
        python: version of the bundle's Python, such as ``3.11``.

    Raises:
        InvalidInputError: if there are no such wheels.
    """
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_{_MACHINE}")]
    _call(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", *platforms, "--dest", str(folder)),
        *("--python-version", python, "--implementation", "cp"),
        *(f"{name}=={version}" for name, version in WHEELS.items()),
    )
    return _files(folder, "*.whl")


def _copy_python(system: Path, bundle: Path) -> str:
    """Copy loader, libraries and Python out of unpacked packages; returns Python's version."""
    programs = sorted((system / "usr" / "bin").glob("python3.*[0-9]"))
    if not programs:
        message = "The Debian packages hold no Python. Give python3.*-minimal and its libraries."
        raise InvalidInputError(message)
    program = programs[0]
    (bundle / "bin").mkdir(parents=True)
    (bundle / "lib").mkdir()
    shutil.copy(program, bundle / "bin" / "python3")
    homes = [system / home / _TRIPLET for home in ("lib", "usr/lib")]
    for name in LIBRARIES:
        found = next((home / name for home in homes if (home / name).exists()), None)
        if found is None:
            message = f"The Debian packages hold no {name}. Expected it in {_TRIPLET}/."
            raise InvalidInputError(message)
        shutil.copy(found, bundle / "lib" / name)
    modules = system / "usr" / "lib" / program.name
    for path in sorted(modules.rglob("*")):
        relative = path.relative_to(modules)
        if path.is_file() and not is_left_out(relative.as_posix()):
            target = bundle / "lib" / program.name / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for path in sorted((system / "usr" / "share" / "doc").glob("*/copyright")):
        if path.is_file():
            target = bundle / "licenses" / path.parent.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return program.name.removeprefix("python")


def _unzip(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if not is_left_out(n)])


def _version_of(path: Path) -> tuple[str, str]:
    """Name and version in the file name of a package or wheel."""
    name, version = (
        re.split(r"[_-]", path.name)[:2] if path.suffix == ".whl" else (path.name.split("_")[:2])
    )
    return name, version.replace("%3a", ":")


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        message = f"There is no {pattern} in {folder}."
        raise InvalidInputError(message)
    return found


def _require_tools(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        message = (
            f"Making a bundle needs {', '.join(missing)}, which this machine has not got. Make it "
            "on Debian or Ubuntu; the archive works from everywhere."
        )
        raise InvalidInputError(message)


def _call(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    """Output of a command."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_S
        )
    except subprocess.TimeoutExpired as error:
        message = f"{command[0]} took longer than {_DOWNLOAD_S:g} s and was ended."
        raise InvalidInputError(message) from error
    if check and done.returncode:
        last = done.stderr.strip().splitlines()[-3:]
        message = f"{command[0]} failed ({done.returncode}): {' '.join(last)}"
        raise InvalidInputError(message)
    return done.stdout
