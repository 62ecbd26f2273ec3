"""Kernels as rows describe them, and the Ops that they are."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.op import conv_op
from costmodel.tidy.kernel import Kernel, UnusableRow, kernel_op

CONV = Kernel(
    kind="conv", height=56, in_channels=16, out_channels=32, kernel=3, stride=2, bias=True
)


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 8]),
)
def test_same_is_what_a_network_writes(
    size: int, kernel: int, stride: int, dilation: int, groups: int
) -> None:
    written = conv_op(
        in_channels=8,
        out_channels=16,
        size=(size, size),
        kernel=(kernel, kernel),
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    row = Kernel(
        kind="conv",
        height=size,
        in_channels=8,
        out_channels=16,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        bias=True,
    )
    assert kernel_op(replace(row, padding="same")) == written
    # The size written says as much.
    assert kernel_op(replace(row, out_height=written.spatial_out[0])) == written


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))
def test_zeros_and_sizes_written_always_agree(
    size: int, kernel: int, stride: int, pad: int
) -> None:
    row = replace(CONV, height=size, kernel=kernel, stride=stride, pad=pad)
    if size + 2 * pad < kernel:
        with pytest.raises(UnusableRow, match="kernel is larger"):
            kernel_op(row)
        return
    op = kernel_op(row)
    assert op.pads == (pad,) * 4
    assert op.spatial_out[0] == (size + 2 * pad - kernel) // stride + 1
    assert kernel_op(replace(row, out_height=op.spatial_out[0])) == op


@pytest.mark.parametrize(
    ("row", "label", "shapes"),
    [
        (replace(CONV, pad=1), "conv 3x3 16->32 @56x56 s2", ((1, 16, 56, 56), (1, 32, 28, 28))),
        (
            replace(CONV, kind="depthwise_conv", out_channels=None, pad=1, layout="nhwc"),
            "conv 3x3 16->16 @56x56 s2 dw nhwc",
            ((1, 56, 56, 16), (1, 28, 28, 16)),
        ),
        (
            replace(CONV, kind="max_pool", out_height=28, pad=0),
            "max_pool 3x3 16 @56x56 s2",  # one row of zeros more at the end
            ((1, 16, 56, 56), (1, 16, 28, 28)),
        ),
        (
            replace(CONV, kind="global_average_pool", layout="nhwc", kernel=None, stride=None),
            "global_average_pool 16 @56x56 nhwc",
            ((1, 56, 56, 16), (1, 1, 1, 16)),
        ),
        (
            Kernel(kind="gemm", in_channels=512, out_channels=1000, batch=2),
            "gemm 512->1000 n2",
            ((2, 512), (2, 1000)),
        ),
        (
            Kernel(kind="add", in_channels=8, height=4),
            "add 8 @4x4",
            ((1, 8, 4, 4), (1, 8, 4, 4)),
        ),
        (
            Kernel(
                kind="conv_transpose", in_channels=8, out_channels=4, kernel=2, stride=2, height=4
            ),
            "conv_transpose 2x2 8->4 @4x4 s2",
            ((1, 8, 4, 4), (1, 4, 8, 8)),
        ),
    ],
)
def test_kernels_of_each_sort(row: Kernel, label: str, shapes: tuple[object, object]) -> None:
    op = kernel_op(row)
    assert (op.label, (op.inputs[0], op.outputs[0])) == (label, shapes)


def test_parts_of_a_concatenation_make_its_width() -> None:
    op = kernel_op(Kernel(kind="concat", in_channels=20, out_channels=147, parts=3, height=28))
    assert [shape[1] for shape in op.inputs] == [20, 64, 63]
    assert op.attribute("axis", 0) == 1


def test_a_sum_that_is_linked_reads_a_tensor_unless_it_shifts_after_a_scale() -> None:
    op = kernel_op(replace(CONV, pad=1, epilogue=("add", "mul", "add", "relu")))
    assert op.inputs == ((1, 16, 56, 56), (1, 32, 28, 28))
    assert op.order == "dwwd"
    assert op.filters == (32, 16, 3, 3)


def test_a_gate_is_one_number_a_channel() -> None:
    op = kernel_op(Kernel(kind="mul", in_channels=8, height=4, second="per_channel"))
    assert op.inputs == ((1, 8, 4, 4), (1, 8, 1, 1))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (replace(CONV, height=None, pad=1), "height is missing, which a conv needs"),
        (replace(CONV, kernel=None, pad=1), "kernel is missing"),
        (CONV, "pad is missing, and so are padding (same, valid) and out_size"),
        (replace(CONV, pad=1, groups=3), "groups does not divide the channels (3, 16 -> 32)"),
        (replace(CONV, pad=1, out_height=30), "out_size is not what the other sizes give (30"),
        (replace(CONV, out_height=80), "out_size is more than the input can give"),
        (replace(CONV, in_channels=0, pad=1), "in_channels must be at least 1 (0)"),
        (replace(CONV, pad=-1), "pad must not be negative (-1)"),
        (replace(CONV, kind="depthwise_conv", groups=4, pad=1), "groups does not fit a depthwise"),
        (Kernel(kind="session"), "op is a kind whose work these columns do not tell (session)"),
        (Kernel(kind="model"), "model is missing, the name of the network"),
        (Kernel(kind="concat", in_channels=9, out_channels=9, height=4), "out_channels is not"),
    ],
)
def test_what_is_missing_or_contradicts_is_named(row: Kernel, told: str) -> None:
    with pytest.raises(UnusableRow, match="^" + re.escape(told)):
        kernel_op(row)
