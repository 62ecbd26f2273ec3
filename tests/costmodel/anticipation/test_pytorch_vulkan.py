"""PyTorch's Vulkan kernels by rule, named as its own profiler names them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from architectures import network_file
from small_models import Draft

from costmodel.anticipation import anticipate
from costmodel.anticipation.pytorch_vulkan import family_of
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Network
from costmodel.op import Op, conv_op
from costmodel.readers.onnx import read_onnx

PHONE = Device(name="Pixel 4 GPU (Adreno 640)", runtime="pytorch-vulkan", dtype="float16")


def conv(kernel: int, groups: int = 1) -> Op:
    return conv_op(
        in_channels=24, out_channels=24, size=(28, 28), kernel=(kernel, kernel), groups=groups
    )


@pytest.mark.parametrize(
    ("op", "family"),
    [
        (conv(1), "vulkan.conv2d_pw_2x2"),
        (conv(3), "vulkan.conv2d"),
        (conv(7), "vulkan.conv2d"),
        (conv(3, 3), "vulkan.conv2d"),
        (conv(3, 24), "vulkan.conv2d_dw_3x3"),
        (conv(5, 24), "vulkan.conv2d_dw_5x5"),
        (conv(7, 24), "vulkan.conv2d_dw"),
    ],
)
def test_convolutions_are_told_by_window_and_groups(op: Op, family: str) -> None:
    assert family_of(op) == family


def test_a_clamp_goes_into_a_convolution_and_nowhere_else(tmp_path: Path) -> None:
    draft = Draft(1, 8, 14, 14)
    inner = draft.node("Relu", draft.bn(draft.conv("x", 8, 8), 8))
    total = draft.node("Relu", draft.node("Add", draft.conv(inner, 8, 8), "x"))
    gate = draft.node("HardSwish", draft.conv(total, 8, 8, 1))
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", gate))
    out = draft.node("Gemm", flat, draft.weight(10, 8), draft.weight(10), transB=1)
    path = tmp_path / "net.onnx"
    onnx.save(draft.done(out), str(path))
    network = anticipate(read_onnx(path), PHONE)
    network.check()
    assert [op.implementation.removeprefix("vulkan.") for op in network.ops] == [
        "conv2d", "conv2d", "add", "clamp", "conv2d_pw_2x2", "hardswish", "mean", "flatten",
        "addmm",
    ]  # fmt: skip
    assert network.layers[0].covers[-1].startswith("relu")
    assert network.ops[-1].weights == ((10, 8), (10,))


def test_a_normalisation_that_no_convolution_precedes_stays(tmp_path: Path) -> None:
    draft = Draft(1, 8, 14, 14)
    path = tmp_path / "net.onnx"
    onnx.save(draft.done(draft.conv(draft.node("Relu", draft.bn("x", 8)), 8, 8)), str(path))
    names = [op.implementation for op in anticipate(read_onnx(path), PHONE).ops]
    assert names == ["vulkan.batchnorm", "vulkan.clamp", "vulkan.conv2d"]


@pytest.mark.parametrize("name", ["light_resnet50", "light_squeezenet", "light_shufflenet"])
def test_real_networks_keep_their_work(name: str) -> None:
    written = read_onnx(network_file(name))
    network = anticipate(written, PHONE)
    network.check()
    assert sum(op.macs for op in network.ops) == sum(op.macs for op in written.ops)
    assert {op.dtype for op in network.ops} == {"float16"}


def test_integers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no rules for int8 networks"):
        anticipate(
            Network(name="empty", layers=()),
            Device(name="phone", runtime="pytorch-vulkan", dtype="int8"),
        )
