"""A 64-bit ARM device from end to end, its processor emulated: adb, bundle, agent, lowering, times.

Minutes, and a bundle that needs the network once:

    python scripts/arm64_bundle.py --emulated build/arm64-emulated.tgz
    pytest -m slow tests/costmodel/remote/test_emulated.py
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from adb_server import AdbServer, find_adb
from adbd import AdbDaemon
from onnx import TensorProto, helper, numpy_helper

from costmodel.op import SESSION
from costmodel.registry import load_runner
from costmodel.remote.bundle import read_bundle
from costmodel.remote.runner import RemoteRunner

ROOT = Path(__file__).parents[3]
BUNDLE = Path(os.environ.get("COSTMODEL_EMULATED_BUNDLE", ROOT / "build" / "arm64-emulated.tgz"))
ADB = find_adb()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ADB is None, reason="needs the adb client (Debian: apt install adb)"),
    pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-aarch64 (qemu-user)"),
    pytest.mark.skipif(
        not BUNDLE.exists(),
        reason="needs build/arm64-emulated.tgz: python scripts/arm64_bundle.py --emulated",
    ),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phone")


@pytest.fixture(scope="module")
def phone(home: Path) -> Iterator[AdbDaemon]:
    """A stand-in for a phone, with a lock of its own."""
    with AdbDaemon(os.environ | {"TMPDIR": str(home)}) as started:
        yield started


@pytest.fixture(scope="module")
def runner(home: Path, phone: AdbDaemon) -> Iterator[RemoteRunner]:
    """A runner there, whose only Python comes with the bundle."""
    assert ADB
    with AdbServer(ADB, home) as server:
        options: dict[str, str | int] = {
            "adb": server.adb,
            "server_port": server.port,
            "bundle": str(BUNDLE),
            "folder": str(home / "data"),
        }
        made = load_runner(f"adb://{phone.serial}", options)
        assert isinstance(made, RemoteRunner)
        yield made
        made.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3), dtype=np.float32)
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], name="only", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["y"], ["z"], name="relu"),
        ],
        "small",
        [make("x", TensorProto.FLOAT, [1, 16, 14, 14])],
        [make("z", TensorProto.FLOAT, [1, 16, 14, 14])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "small.onnx"
    imports = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def test_nothing_there_is_called_measured(runner: RemoteRunner) -> None:
    device = runner.device
    assert device.provenance == "estimated"
    assert device.isa == "neon"
    assert "0x41/0xd0b" in device.name
    assert device.runtime_version == read_bundle(BUNDLE).manifest.packages["onnxruntime"]


def test_a_kernel_is_timed_from_end_to_end(runner: RemoteRunner, model: Path) -> None:
    network = runner.lower(model, {})
    network.check()
    convolution, session = network.ops
    assert (convolution.kind, convolution.epilogue) == ("conv", ("relu",))
    assert session.kind == SESSION
    for op in network.ops:
        with runner.load_op(op) as workload:
            assert workload.block(1.0).latency_ms > 0
    with runner.load_model(model, {}) as workload:
        assert workload.block(1.0).latency_ms > 0


def test_an_agent_that_is_gone_is_started_anew(
    runner: RemoteRunner, phone: AdbDaemon, model: Path
) -> None:
    with runner.load_op(runner.lower(model, {}).ops[0]) as workload:
        workload.block(1.0)
        phone.reboot()
        assert workload.block(1.0).latency_ms > 0
    # The bundle lay there whole: it was not sent again.
    assert sum("sha256sum" in command and ".tgz" in command for command in phone.commands) == 1
