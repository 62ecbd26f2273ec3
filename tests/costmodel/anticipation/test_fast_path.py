"""Reasons for which kernels are off the fast path, held against what the rules execute."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from small_models import Draft

from costmodel.anticipation import anticipate
from costmodel.anticipation.fast_path import blocked_layout, off_fast_path
from costmodel.device import Device
from costmodel.op import SESSION, Op
from costmodel.readers.onnx import network_from_model
from costmodel.readers.onnx_sizes import bind

CPU = Device(name="cpu", runtime="onnxruntime", isa="avx512")


def kernels(model: onnx.ModelProto, tmp_path) -> list[Op]:
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    network = anticipate(network_from_model(bind(path, model, {}), "net"), CPU)
    return [layer.op for layer in network.layers if layer.op.kind != SESSION]


def convolution(width: int, out: int = 32, groups: int = 1) -> onnx.ModelProto:
    draft = Draft(1, width, 8, 8)
    return draft.done(draft.conv("x", width, out, groups=groups))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (convolution(27), "its 27 input channels are no multiple of 4"),
        (convolution(28), ""),
        (convolution(7), ""),  # read from the plain layout by a blocked kernel
        (convolution(26, 26, 26), "its 26 channels are no multiple of 4"),
        (convolution(28, 28, 28), ""),
        (convolution(40, 40, 2), "its groups of 20 to 20 channels do not fill blocks of 16"),
        (convolution(64, 64, 2), ""),
    ],
)
def test_convolutions_are_off_the_path_where_the_rules_leave_them_plain(
    model: onnx.ModelProto, reason: str, tmp_path
) -> None:
    (op,) = [op for op in kernels(model, tmp_path) if op.kind == "conv"]
    assert off_fast_path(op, CPU) == reason
    assert bool(reason) == (op.layout == "nchw")


def test_pools_and_concatenations_must_fill_blocks() -> None:
    pool = Op(kind="max_pool", inputs=((1, 24, 8, 8),), outputs=((1, 24, 4, 4),))
    assert off_fast_path(pool, CPU) == "its 24 channels do not fill blocks of 16"
    joined = Op(
        kind="concat",
        inputs=((1, 16, 8, 8), (1, 20, 8, 8)),
        outputs=((1, 36, 8, 8),),
        attributes=(("axis", 1),),
    )
    assert off_fast_path(joined, CPU) == "it joins 20 channels, which do not fill blocks of 16"


def test_nothing_is_said_of_runtimes_whose_layouts_are_not_known() -> None:
    pool = Op(kind="max_pool", inputs=((1, 24, 8, 8),), outputs=((1, 24, 4, 4),))
    for device in (None, replace(CPU, runtime="openvino"), replace(CPU, dtype="int8")):
        assert blocked_layout(device) == 1
        assert off_fast_path(pool, device) == ""
    assert off_fast_path(pool, replace(CPU, isa="neon")) == ""
