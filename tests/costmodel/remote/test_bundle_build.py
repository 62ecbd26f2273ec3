"""Building bundles: from packages and wheels, with what is missing named."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from costmodel.errors import InvalidInputError
from costmodel.remote import bundle_build
from costmodel.remote.bundle import read_bundle
from costmodel.remote.bundle_build import build_bundle, download_packages
from costmodel.remote.bundle_parts import LIBRARIES, arm_system


def make_package(folder: Path, missing: str = "") -> None:
    """A Debian package with the files that a bundle takes, and some that it leaves."""
    tree = folder / "tree"
    arm = "usr/lib/aarch64-linux-gnu"
    names = [f"{arm}/{name}" for name in LIBRARIES if name != missing]
    modules = ("os.py", "json/decoder.py", "test/test_os.py", "lib-dynload/_ssl.cpython.so")
    names += ["usr/bin/python3.11", *(f"usr/lib/python3.11/{name}" for name in modules)]
    names += ["usr/share/doc/libc6/copyright"]
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "DEBIAN").mkdir()
    control = "Package: python\nVersion: 3.11\nArchitecture: arm64\nMaintainer: x\nDescription: x\n"
    (tree / "DEBIAN" / "control").write_text(control)
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, folder / "python_3.11_arm64.deb"],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "numpy-2.4.6-cp311-cp311-x.whl", "w") as wheel:
        for name in ("numpy/__init__.py", "numpy/tests/test_it.py", "numpy/__init__.pyi"):
            wheel.writestr(name, name)
    return folder


needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")


@needs_dpkg
@pytest.mark.parametrize("emulated", [False, True])
def test_a_bundle_of_packages(tmp_path: Path, wheels: Path, emulated: bool) -> None:  # noqa: FBT001
    make_package(tmp_path)
    out = tmp_path / "out.tgz"
    build_bundle(out, emulated=emulated, packages=tmp_path, wheels=wheels)
    manifest = read_bundle(out).manifest
    assert set(manifest.files) - {f"emulated/{name}" for name in arm_system()} == {
        "bin/python3",
        "lib/python3.11/json/decoder.py",
        "lib/python3.11/os.py",
        "lib/python3/dist-packages/numpy/__init__.py",
        "licenses/libc6",
        *(f"lib/{name}" for name in LIBRARIES),
    }
    assert manifest.packages == {"numpy": "2.4.6", "python": "3.11"}
    assert manifest.emulator == (("qemu-aarch64", "-cpu", "cortex-a76", "-L") if emulated else ())
    assert ("{root}/emulated" in manifest.start) == emulated
    assert ("emulated/proc/cpuinfo" in manifest.files) == emulated


@needs_dpkg
def test_a_package_that_is_missing_is_named(tmp_path: Path, wheels: Path) -> None:
    make_package(tmp_path, missing="libffi.so.8")
    with pytest.raises(InvalidInputError, match=r"hold no libffi\.so\.8"):
        build_bundle(tmp_path / "out.tgz", packages=tmp_path, wheels=wheels)
    with pytest.raises(InvalidInputError, match=r"There is no \*\.deb"):
        build_bundle(tmp_path / "out.tgz", packages=wheels, wheels=wheels)


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInputError, match="needs dpkg-deb, apt-get, apt-cache"):
        build_bundle(tmp_path / "out.tgz")


def test_sources_without_our_processor_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).write_text("#!/bin/sh\necho N: Unable to locate package\nexit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(InvalidInputError, match=r"no Python for 64-bit ARM .*Unable to locate"):
        download_packages(tmp_path / "debs")


def test_wheels_are_those_of_the_constraints() -> None:
    pins = (Path(__file__).parents[3] / "constraints.txt").read_text(encoding="utf-8")
    for name, version in bundle_build.WHEELS.items():
        assert f"{name}=={version}\n" in pins
