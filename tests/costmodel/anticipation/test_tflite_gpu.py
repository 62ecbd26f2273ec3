"""The GPU delegate's kernels by rule: families that traces of real networks show, and tails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from architectures import network_file
from small_models import Draft

from costmodel.anticipation import anticipate, anticipate_file
from costmodel.anticipation.tflite_gpu_kernels import family_of
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Network
from costmodel.op import Op
from costmodel.readers.onnx import read_onnx

PIXEL = Device(name="Pixel 4 GPU (Adreno 640)", runtime="tflite-gpu", dtype="float16")
GALAXY = Device(name="Galaxy A03s GPU (PowerVR GE8320)", runtime="tflite-gpu", dtype="float16")


def conv(read: int, written: int, side: int, kernel: int, stride: int = 1, groups: int = 1) -> Op:
    out = -(-side // stride)
    return Op(
        kind="conv",
        inputs=((1, side, side, read),),
        outputs=((1, out, out, written),),
        weights=((written, read // groups, kernel, kernel), (written,)),
        layout="nhwc",
        stride=(stride,) * 2,
        pads=(kernel // 2,) * 4,
        dilation=(1, 1),
        groups=groups,
    )


#: Kernels of real networks, and what traces on PowerVR (and Apple), then on Adreno, call them.
TRACED = [
    (conv(3, 64, 224, 7, 2), "convolution_2d", "convolution_2d"),
    (conv(64, 64, 56, 3), "convolution_winograd_4x4_6x6", "convolution_2d"),
    (conv(64, 96, 28, 3), "convolution_winograd_4x4_6x6", "convolution_2d"),
    (conv(64, 128, 56, 3, 2), "convolution_2d", "convolution_2d"),
    (conv(256, 256, 14, 3), "convolution_2d", "convolution_2d"),
    (conv(48, 64, 56, 3), "convolution_2d", "convolution_2d"),
    (conv(64, 256, 56, 1), "convolution_2d", "convolution_2d"),
    (conv(96, 96, 112, 3, 2, 96), "depthwise_convolution", "depthwise_convolution"),
    (conv(56, 56, 56, 3, 2, 7), "convolution_2d_grouped", "convolution_2d_grouped"),
    (conv(72, 24, 1, 1), "fully_connected", "fully_connected"),
    (conv(1280, 1000, 1, 1), "fully_connected", "fully_connected"),
]


@pytest.mark.parametrize(("op", "powervr", "adreno"), TRACED)
def test_kernel_families_are_those_of_traces(op: Op, powervr: str, adreno: str) -> None:
    assert (family_of(op, GALAXY), family_of(op, PIXEL)) == (powervr, adreno)


@pytest.mark.parametrize(
    ("name", "side", "channels", "expected"),
    [
        ("Adreno 640", 45, 128, True),  # 12 * 12 tiles, 32 slices
        ("Adreno 640", 44, 128, False),
        ("Adreno (TM) 530", 32, 128, True),
        ("Adreno 640", 56, 124, False),
        ("Mali-G78", 21, 61, True),
        ("Mali-G78", 20, 61, False),
    ],
)
def test_winograd_needs_slices_and_tiles(
    name: str, side: int, channels: int, *, expected: bool
) -> None:
    device = Device(name=name, runtime="tflite-gpu")
    found = family_of(conv(channels, channels, side, 3), device)
    assert (found == "convolution_winograd_4x4_6x6") is expected


def kernels(model: onnx.ModelProto, tmp_path: Path, device: Device = PIXEL) -> list[str]:
    """Each kernel with its tail, as a trace writes it."""
    network = foreseen(model, tmp_path, device)
    return ["+".join((op.implementation, *op.epilogue)) for op in network.ops]


def foreseen(model: onnx.ModelProto, tmp_path: Path, device: Device = PIXEL) -> Network:
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    written = read_onnx(path)
    network = anticipate(written, device)
    network.check()
    covered = Counter(name for layer in network.layers for name in layer.covers)
    assert max(covered.values()) == 1
    return network


def test_an_inverted_residual_is_three_kernels(tmp_path: Path) -> None:
    draft = Draft(1, 24, 56, 56)
    wide = draft.node("Relu", draft.bn(draft.conv("x", 24, 144, 1), 144))
    deep = draft.node("Relu", draft.bn(draft.conv(wide, 144, 144, 3, groups=144), 144))
    total = draft.node("Add", draft.conv(deep, 144, 24, 1), "x")
    model = draft.done(draft.node("Relu", draft.conv(total, 24, 8, 1)))
    assert kernels(model, tmp_path) == [
        "convolution_2d+relu",
        "depthwise_convolution+relu",
        "convolution_2d+add",
        "convolution_2d+relu",
    ]


def test_a_sum_is_linked_to_what_is_written_last(tmp_path: Path) -> None:
    """The block of a ResNet that changes its width, as on all three phones."""
    draft = Draft(1, 16, 56, 56)
    inner = draft.node("Relu", draft.conv("x", 16, 32, 3, 2))
    main = draft.conv(inner, 32, 32)
    shortcut = draft.conv("x", 16, 32, 1, 2)
    model = draft.done(draft.node("Relu", draft.node("Add", main, shortcut)))
    assert kernels(model, tmp_path) == [
        "convolution_2d+relu",
        "convolution_2d",
        "convolution_2d+add+relu",
    ]


def test_the_tail_of_winograd_is_in_a_kernel_that_traces_do_not_name(tmp_path: Path) -> None:
    draft = Draft(1, 64, 56, 56)
    model = draft.done(draft.node("Relu", draft.conv("x", 64, 64)))
    assert kernels(model, tmp_path, GALAXY) == ["convolution_winograd_4x4_6x6"]


def test_squeeze_and_excitation_multiplies_in_a_kernel_of_its_own(tmp_path: Path) -> None:
    draft = Draft(1, 16, 14, 14)
    body = draft.node("Relu", draft.conv("x", 16, 16))
    pooled = draft.node("GlobalAveragePool", body)
    narrow = draft.node("Relu", draft.conv(pooled, 16, 4, 1))
    gate = draft.node("Sigmoid", draft.conv(narrow, 4, 16, 1))
    model = draft.done(draft.conv(draft.node("Mul", body, gate), 16, 8, 1))
    assert kernels(model, tmp_path) == [
        "convolution_2d+relu",
        "mean",
        "fully_connected+relu",
        "fully_connected+sigmoid",
        "mul",
        "convolution_2d",
    ]


def test_a_normalisation_before_a_convolution_is_the_tail_of_a_concatenation(
    tmp_path: Path,
) -> None:
    draft = Draft(1, 8, 14, 14)
    first = draft.node("Relu", draft.conv("x", 8, 8))
    both = draft.node("Concat", first, draft.conv(first, 8, 8), axis=1)
    ready = draft.node("Relu", draft.bn(both, 16))
    model = draft.done(draft.conv(ready, 16, 8))
    assert kernels(model, tmp_path)[2:] == ["concat+mul+add+relu", "convolution_2d"]


def test_padding_is_inside_the_window_that_reads_it(tmp_path: Path) -> None:
    draft = Draft(1, 8, 16, 16)
    model = draft.done(draft.conv("x", 8, 8, 3, 2))  # one row and column on each side
    (op,) = foreseen(model, tmp_path).ops
    assert (op.inputs, op.outputs, op.pads) == (((1, 16, 16, 8),), ((1, 8, 8, 8),), (1, 1, 1, 1))
    assert (op.layout, op.dtype, op.weights) == ("nhwc", "float16", ((8, 8, 3, 3), (8,)))


def test_a_classifier_is_a_mean_and_a_product_without_a_reshape(tmp_path: Path) -> None:
    draft = Draft(1, 32, 7, 7)
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", "x"))
    model = draft.done(draft.node("Gemm", flat, draft.weight(10, 32), draft.weight(10), transB=1))
    pooled, product = foreseen(model, tmp_path).ops
    assert (pooled.kind, pooled.outputs) == ("global_average_pool", ((1, 1, 1, 32),))
    assert (product.kind, product.inputs, product.weights) == (
        "gemm", ((1, 32),), ((10, 32), (10,))
    )  # fmt: skip


def test_what_is_returned_is_linked_to_nothing(tmp_path: Path) -> None:
    draft = Draft(1, 8, 14, 14)
    raw = draft.conv("x", 8, 8)
    assert kernels(draft.done(raw, draft.node("Relu", raw)), tmp_path) == ["convolution_2d", "relu"]


@pytest.mark.parametrize("name", ["light_resnet50", "light_squeezenet", "resnet20"])
def test_real_networks_keep_their_work(name: str) -> None:
    written = read_onnx(network_file(name))
    network = anticipate(written, PIXEL)
    network.check()
    work = sum(op.macs for op in network.ops)
    assert work == sum(op.macs for op in written.ops)
    assert not any(op.kind == "session" for op in network.ops)
    assert {op.dtype for op in network.ops} == {"float16"}


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    draft = Draft(1, 8, 14, 14)
    path = tmp_path / "net.onnx"
    onnx.save(draft.done(draft.node("Relu", draft.conv("x", 8, 8))), str(path))
    (op,) = anticipate_file(path, {}, PIXEL).ops
    assert np.prod(op.outputs[0]) == 8 * 14 * 14


def test_integers_are_refused() -> None:
    network = Network(name="empty", layers=())
    with pytest.raises(InvalidInputError, match="no rules for int8 networks"):
        anticipate(network, Device(name="phone", runtime="tflite-gpu", dtype="int8"))
