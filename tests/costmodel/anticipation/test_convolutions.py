"""GPUs of which only convolutions were recorded: what a row stands for, and what has no price."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from small_models import Draft

from costmodel.anticipation import anticipate
from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.network import Network
from costmodel.prediction import price_network
from costmodel.readers.onnx import read_onnx

NVIDIA = Device(name="NVIDIA K80", runtime="cudnn", provenance="imported")
AMD = Device(name="AMD MI50", runtime="miopen", dtype="float16", provenance="imported")


@pytest.fixture
def written(tmp_path: Path) -> Network:
    draft = Draft(1, 8, 14, 14)
    first = draft.node("Relu", draft.bn(draft.conv("x", 8, 16), 16))
    second = draft.node("Tanh", draft.conv(first, 16, 16, 1))
    third = draft.node("Elu", draft.conv(second, 16, 16))
    path = tmp_path / "net.onnx"
    onnx.save(draft.done(draft.node("MaxPool", third, kernel_shape=[2, 2])), str(path))
    return read_onnx(path)


def test_a_layer_of_tensorflow_is_timed_with_its_bias_and_activation(written: Network) -> None:
    network = anticipate(written, NVIDIA)
    network.check()
    kinds = [(op.kind, op.epilogue, len(op.weights)) for op in network.ops[:3]]
    assert kinds == [("conv", ("relu",), 2), ("conv", ("tanh",), 2), ("conv", (), 2)]
    assert [op.kind for op in network.ops[3:]] == ["elu", "max_pool"]
    first = network.ops[0]
    assert (first.layout, first.inputs, first.outputs, first.weights[0]) == (
        "nhwc", ((1, 14, 14, 8),), ((1, 14, 14, 16),), (16, 8, 3, 3)
    )  # fmt: skip
    assert {op.implementation for op in network.ops} == {""}


def test_miopen_times_the_convolution_alone(written: Network) -> None:
    network = anticipate(written, AMD)
    network.check()
    assert [op.kind for op in network.ops] == [
        "conv", "bias_add", "relu", "conv", "bias_add", "tanh", "conv", "bias_add", "elu",
        "max_pool",
    ]  # fmt: skip
    assert {len(op.weights) for op in network.ops if op.kind == "conv"} == {1}
    assert {op.dtype for op in network.ops} == {"float16"}


@pytest.mark.parametrize("device", [NVIDIA, AMD])
def test_what_is_no_convolution_has_no_price_and_says_so(written: Network, device: Device) -> None:
    network = anticipate(written, device)
    convolutions = dict.fromkeys(op for op in network.ops if op.kind == "conv")
    rows = [Measurement(op=op, latency_ms=1.0, median_ms=1.0, spread=0.0) for op in convolutions]
    found = price_network(network, Regression(rows, device=device), device=device)
    assert found.total == pytest.approx(3.0)
    assert {item.op.kind for item in found.unpriced if item.op} >= {"elu", "max_pool"}
    assert all("conv" not in (item.op.kind if item.op else "") for item in found.unpriced)
