"""Providers by short name: what is chosen for them, and what is said of those that are absent."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from costmodel.errors import (
    InvalidInputError,
    MissingDependencyError,
    MissingProviderError,
    UnsupportedOpError,
)
from costmodel.op import Op, conv_op
from costmodel.registry import load_runner
from costmodel.runners.ort import bound, device, nvidia, session
from costmodel.runners.ort.optimised import LocalExecutor, lower
from costmodel.runners.ort.providers import CPU, PROVIDERS, Setup, find_setup
from costmodel.runners.ort.runner import COLD_BYTES, OrtRunner, num_replicas

HERE = set(onnxruntime.get_available_providers())
ABSENT = [name for name, item in PROVIDERS.items() if item.name not in HERE]
WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
    "qnn": "onnxruntime-qnn",
    "webgpu": "onnxruntime-webgpu",
    "coreml": "macOS",
    "xnnpack": "--use_xnnpack",
    "nnapi": "--use_nnapi",
}
RELU = Op(kind="relu", implementation="Relu", inputs=((1, 64),), outputs=((1, 64),))


@pytest.fixture
def all_present(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the runtime had every provider; no session is made with them."""
    names = [item.name for item in PROVIDERS.values()]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: names)


@pytest.mark.parametrize("name", ABSENT)
def test_an_absent_provider_names_what_to_install(name: str) -> None:
    with pytest.raises(MissingProviderError, match=WHEELS[name]) as found:
        OrtRunner(provider=name)
    assert isinstance(found.value, MissingDependencyError)
    assert PROVIDERS[name].name in str(found.value)
    assert "CPUExecutionProvider" in str(found.value)


def test_the_registry_passes_options_on() -> None:
    runner = load_runner("ort", {"provider": "CPU", "dtype": "int8", "threads": 2})
    assert (runner.device.provider, runner.device.dtype) == ("CPUExecutionProvider", "int8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"provider": "azure"}, "over the network"),
        ({"provider": "abacus"}, "no provider 'abacus'. Known: cpu, cuda"),
        ({"option.device_id": 1}, "CPU provider takes no options. Received: device_id"),
        ({"provider_options": {"arena": 1}}, "takes no options. Received: arena"),
        ({"device": 1}, "no option 'device'. It takes threads, provider, dtype"),
        ({"option.": 1}, "no option 'option.'"),
        ({"dtype": "int4"}, "dtype must be one of float32, float16, int8. Received: 'int4'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        OrtRunner(**options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("all_present")
@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "cpu"])
def test_every_option_is_part_of_the_identity(name: str) -> None:
    device: dict[str, Any] = {"option.device_id": 3}
    runner = OrtRunner(provider=name, provider_options={"own": True}, **device)
    found = runner.device
    assert found.provider == PROVIDERS[name].name
    options = dict(found.options)
    assert (options["option.own"], options["option.device_id"]) == ("True", "3")
    assert options["io_memory"] == PROVIDERS[name].memory
    assert found.fingerprint != OrtRunner().device.fingerprint


@pytest.mark.usefixtures("all_present")
@pytest.mark.parametrize("name", ["DmlExecutionProvider", "dml", "DirectML"])
def test_the_runtimes_own_names_do_too(name: str) -> None:
    """A table stores the runtime's name; a runner is made again from it."""
    assert find_setup(name, {}, "float32", 1).provider is PROVIDERS["directml"]


@pytest.mark.usefixtures("all_present")
def test_what_is_chosen_for_providers() -> None:
    cuda = dict(find_setup("cuda", {}, "float32", 1).options)
    assert cuda["cudnn_conv_algo_search"] == "HEURISTIC"
    chosen = find_setup("CUDA", {"cudnn_conv_algo_search": "DEFAULT"}, "float32", 1)
    assert dict(chosen.options)["cudnn_conv_algo_search"] == "DEFAULT"
    assert dict(find_setup("tensorrt", {}, "float16", 1).options)["trt_fp16_enable"] == "True"
    assert dict(find_setup("tensorrt", {}, "int8", 1).options)["trt_int8_enable"] == "True"
    assert dict(find_setup("openvino", {}, "float32", 4).options)["num_of_threads"] == "4"
    assert find_setup("cuda", {"device_id": 2}, "float32", 1).device_id == 2
    assert chosen.listing == [("CUDAExecutionProvider", dict(chosen.options)), CPU.provider.name]
    assert CPU.listing == ["CPUExecutionProvider"]


@pytest.mark.usefixtures("all_present")
def test_tensorrt_gets_symmetric_activations() -> None:
    symmetric = OrtRunner(provider="tensorrt", dtype="int8").device
    plain = OrtRunner(dtype="int8").device
    assert "int8 activations without zero points" in dict(symmetric.options)["conversion"]
    assert "uint8 activations" in dict(plain.options)["conversion"]


@pytest.mark.parametrize("name", ABSENT)
def test_a_provider_that_does_not_start_is_an_error(name: str) -> None:
    """The runtime itself would warn and compute on the CPU."""
    setup = Setup(provider=PROVIDERS[name])
    node = helper.make_node("Relu", ["x"], ["y"])
    infos = [helper.make_tensor_value_info(n, 1, [4]) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", infos[:1], infos[1:]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    options = bound.session_options(1, optimise=False)
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(
            InvalidInputError, match=f"{setup.provider.name} is installed but could not be started"
        ),
    ):
        session.make_session(model.SerializeToString(), options, setup)


def test_an_op_of_another_provider_is_refused() -> None:
    op = Op(
        kind="relu",
        implementation="Relu",
        inputs=((1, 64),),
        outputs=((1, 64),),
        attributes=(("provider", "CUDAExecutionProvider"),),
    )
    with pytest.raises(UnsupportedOpError, match="is a kernel of CUDAExecutionProvider"):
        OrtRunner().load_op(op)


@pytest.mark.usefixtures("all_present")
def test_a_kernel_that_fell_back_is_timed_on_the_cpu() -> None:
    op = Op(
        kind="relu",
        implementation="Relu",
        inputs=((1, 64),),
        outputs=((1, 64),),
        attributes=(("provider", "CPUExecutionProvider"),),
    )
    runner = OrtRunner(provider="webgpu")
    object.__setattr__(runner, "_overheads_ms", (0.0, 0.0, 0.0))
    with runner.load_op(op) as workload:
        assert workload.block(0.0).latency_ms > 0


class _Mixed(LocalExecutor):
    """The CPU, its trace edited as if another provider had taken all but the pools."""

    def profile(self, path: Path, runs: int):
        events, inputs = super().profile(path, runs)
        for event in events:
            arguments = event.get("args", {})
            if "provider" in arguments and arguments.get("op_name") != "GlobalAveragePool":
                arguments["provider"] = "CUDAExecutionProvider"
        return json.loads(json.dumps(events)), inputs


def test_a_kernel_that_fell_back_says_so(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info("x", 1, [1, 3, 4, 4]), onnx.ValueInfoProto(name="y")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", infos[:1], infos[1:]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    network = lower(model, "n", 1, 8, _Mixed(1), provider="CUDAExecutionProvider")
    homes = {op.kind: op.attribute("provider") for op in network.ops}
    assert homes == {"relu": None, "global_average_pool": "CPUExecutionProvider", "session": None}


def test_a_device_with_memory_of_its_own_is_bound_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Order of the calls around the timed runs, with an accelerator that is not there."""
    calls: list[str] = []
    binding = SimpleNamespace(
        _iobinding=None,
        bind_ortvalue_input=lambda name, value: calls.append(f"{name} on {value}"),
        bind_output=lambda name, kind, index: calls.append(f"{name} on {kind}:{index}"),
        synchronize_inputs=lambda: calls.append("inputs there"),
        synchronize_outputs=lambda: calls.append("outputs there"),
    )
    made = SimpleNamespace(
        io_binding=lambda: binding,
        get_outputs=lambda: [SimpleNamespace(name="y")],
        _sess=SimpleNamespace(run_with_iobinding=lambda *_: calls.append("run")),
    )
    place = SimpleNamespace(ortvalue_from_numpy=lambda _value, kind, index: f"{kind}:{index}")
    monkeypatch.setattr("onnxruntime.OrtValue", place)
    setup = Setup(provider=PROVIDERS["cuda"], options=(("device_id", "1"),))
    feed = {"x": np.ones(3, dtype=np.float32)}
    workload = session.SessionWorkload(made, feed, setup=setup)
    workload._time(2)
    assert calls == [
        "x on cuda:1", "y on cuda:1", "inputs there", "run", "run", "outputs there",
    ]  # fmt: skip


def test_quick_kernels_drown_the_dearer_start_of_a_device() -> None:
    assert num_replicas(RELU, 0.5) == 1
    assert num_replicas(RELU, 0.5, 20.0) > 8


@pytest.mark.parametrize("channels", [64, 128, 256, 1024])
def test_weights_of_one_row_are_as_cold_as_any(channels: int) -> None:
    op = conv_op(in_channels=channels, out_channels=channels, size=(1, 1), kernel=(1, 1))
    read = num_replicas(op, 1e-7 * op.num_weights) * 4 * op.num_weights
    assert read >= min(COLD_BYTES, 1024 * 4 * op.num_weights)


ANSWER = "NVIDIA H100 80GB HBM3, 9.0, 550.54, 1980, 1980, 2619, 41, 700.00, P0, 0x00"


def test_a_gpu_is_described_by_its_own_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\ncase "$*" in *--id=7*) echo "{ANSWER}";; *) exit 6;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    setup = Setup(provider=PROVIDERS["cuda"], options=(("device_id", "7"),))
    found = device.this_device(1, "1.0", {}, setup)
    assert (found.name, found.isa, found.caches) == ("NVIDIA H100 80GB HBM3", "sm_90", ())
    assert found.state["gpu_driver"] == "550.54"
    assert found.state["gpu_mhz"] == "1980"
    assert nvidia.find_gpu(0) is None
    assert device.this_device(1, "1.0", {}).isa != "sm_90"


@pytest.mark.parametrize("text", ["", "\n", "No devices were found", "a, b, c"])
def test_an_answer_that_is_no_gpu_is_none(text: str) -> None:
    assert nvidia.parse_gpu(text) is None


def test_unknown_values_of_a_gpu_are_left_out() -> None:
    found = nvidia.parse_gpu(ANSWER.replace("41", "[N/A]").replace("9.0", "[N/A]"))
    assert found is not None
    assert found.generation == ""
    assert "gpu_celsius" not in found.state


def test_no_tool_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.find_gpu(0) is None
