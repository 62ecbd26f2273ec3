"""The runner for Android: its contract, faults and a profile, on a stand-in with our own Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from adb_server import AdbServer, find_adb
from adbd import AdbDaemon

from costmodel.errors import InvalidInputError, RemoteError
from costmodel.registry import load_runner
from costmodel.remote.bundle_build import write_bundle
from costmodel.remote.runner import RemoteRunner
from costmodel.runners.ort.runner import OrtRunner
from costmodel.table import LatencyTable
from costmodel.testing import RunnerContract

ADB = find_adb()
pytestmark = pytest.mark.skipif(
    ADB is None, reason="needs the adb client (Debian: apt install adb)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    assert ADB
    with AdbServer(ADB, tmp_path_factory.mktemp("adb")) as started:
        yield started


@pytest.fixture(scope="module")
def phone(server: AdbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbDaemon]:
    """A device with this machine's Python, and a lock of its own: others may test here too."""
    with AdbDaemon(os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("locks"))}) as started:
        server.connect(started)
        yield started
        server.forget(started)


@pytest.fixture(scope="module")
def options(
    server: AdbServer, phone: AdbDaemon, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | int]:
    return {
        "adb": server.adb,
        "server_port": server.port,
        "python": sys.executable,
        "folder": str(tmp_path_factory.mktemp("device") / "a folder"),
    }


@pytest.fixture(scope="module")
def runner(phone: AdbDaemon, options: dict[str, str | int]) -> Iterator[RemoteRunner]:
    made = load_runner(f"adb://{phone.serial}", options)
    assert isinstance(made, RemoteRunner)
    yield made
    made.close()


class TestAdbRunner(RunnerContract):
    @pytest.fixture
    def model(self, small_model: Path) -> Path:
        return small_model

    @pytest.fixture
    def sizes(self) -> Mapping[str, int]:
        return {"side": 14}

    def test_it_times_what_a_local_runner_would(
        self, runner: RemoteRunner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        ours, local = runner.device, OrtRunner().device
        assert ours.provenance == "measured"
        assert (ours.name, ours.isa, ours.caches) == (local.name, local.isa, local.caches)
        assert runner.lower(model, sizes).ops == OrtRunner().lower(model, sizes).ops

    @pytest.mark.parametrize("fault", ["cut", "reboot"])
    def test_a_workload_outlives_the_link(
        self,
        runner: RemoteRunner,
        phone: AdbDaemon,
        model: Path,
        sizes: Mapping[str, int],
        fault: str,
    ) -> None:
        op = runner.lower(model, sizes).ops[0]
        with runner.load_op(op) as workload:
            workload.block(1.0)
            getattr(phone, fault)()
            assert workload.block(1.0).latency_ms > 0


def test_a_runner_without_an_address_names_what_is_attached(
    server: AdbServer, phone: AdbDaemon
) -> None:
    with pytest.raises(InvalidInputError, match=rf"adb://SERIAL\. Attached: .*{phone.serial}"):
        load_runner("adb", {"server_port": server.port})


def test_a_device_without_python_is_told_of_bundles(
    phone: AdbDaemon, options: dict[str, str | int]
) -> None:
    runner = load_runner(f"adb://{phone.serial}", options | {"python": "no-python-here"})
    with pytest.raises(RemoteError, match=r"no Python .*no-python-here.*bundle="):
        _ = runner.device


def test_a_bundle_for_another_processor_is_refused(
    phone: AdbDaemon, options: dict[str, str | int], tmp_path: Path
) -> None:
    archive = tmp_path / "other.tgz"
    (tmp_path / "in").mkdir()
    write_bundle(tmp_path / "in", archive, packages={}, machine="riscv64")
    runner = load_runner(f"adb://{phone.serial}", options | {"bundle": str(archive)})
    with pytest.raises(RemoteError, match="programs for riscv64, but the device's processor is"):
        _ = runner.device


@pytest.mark.slow
def test_a_profile_loses_and_doubles_no_row_when_the_cable_is_pulled(
    phone: AdbDaemon, options: dict[str, str | int], tmp_path: Path
) -> None:
    phone.cut_after = 40_000
    out = tmp_path / "phone.jsonl"
    command = [sys.executable, "-m", "costmodel", "profile", "--runner", f"adb://{phone.serial}"]
    command += [f"--runner-option={name}={value}" for name, value in options.items()]
    command += ["--samples", "4", "--budget", "40s", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert phone.cut_after is None, "it was pulled"
    table = LatencyTable.load(out)
    assert table.warnings == ()
    assert table.device.state["address"] == f"adb://{phone.serial}"
    lines = out.read_text(encoding="utf-8").splitlines()[1:]
    assert len(lines) == len(table) == 6
