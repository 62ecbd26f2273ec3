"""How phones' runtimes cut kernels, held against their published rules by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.costs.gpu.cuts import delegate_rule, vulkan_rule
from costmodel.costs.gpu.sizes import Sizes
from costmodel.op import conv_op

Read = Callable[..., Sizes]
Tools = Any
ADRENO, POWERVR = "Pixel 4 GPU (Adreno 640)", "Galaxy A03s GPU (PowerVR GE8320)"
APPLE, OTHER = "iPhone 7 GPU (Apple A10 GPU)", "a GPU that nobody knows"


@pytest.mark.parametrize(
    ("side", "filters", "groups", "shape"),
    [
        (14, 288, 7, (7, 1, 36)),  # 36 deep leaves 7 along a row of 7 blocks
        (14, 320, 14, (6, 1, 40)),  # 40 deep leaves 6: two groups for each row
        (14, 512, 14, (4, 1, 64)),
        (7, 888, 12, (4, 1, 37)),  # 111 = 3 * 37
        (7, 512, 4, (4, 1, 64)),
    ],
)
def test_an_adrenos_group_is_deep_first(
    sizes_of: Read,
    gpu_tools: Tools,
    side: int,
    filters: int,
    groups: int,
    shape: tuple[int, ...],
) -> None:
    op = gpu_tools.nhwc(gpu_tools.pointwise(filters, side=side, channels=512))
    cut = delegate_rule(ADRENO)(sizes_of(op))
    assert cut.block.tolist() == [8]
    assert cut.groups.tolist() == [groups]
    assert tuple(float(along[0]) for along in cut.shape) == shape


def test_small_weights_lie_in_an_adrenos_constant_memory(sizes_of: Read, gpu_tools: Tools) -> None:
    few, many, wide = (
        gpu_tools.nhwc(gpu_tools.pointwise(filters, channels=channels))
        for channels, filters in ((56, 32), (57, 32), (16, 36))
    )
    sizes = sizes_of(few, many, wide)
    cut = delegate_rule(ADRENO)(sizes)
    assert cut.is_constant.tolist() == [True, False, False]
    assert cut.block.tolist() == [8, 8, 8]  # all eight slices of one position, or 2 x 2 x 2
    assert not delegate_rule(POWERVR)(sizes).is_constant.any()
    row = gpu_tools.nhwc(gpu_tools.pointwise(16, side=1, channels=16), "fully_connected")
    assert not delegate_rule(ADRENO)(sizes_of(row)).is_constant.any()


@pytest.mark.parametrize(("slices", "block"), [(1, 1), (2, 2), (3, 3), (5, 2), (8, 4), (9, 4)])
def test_a_powervrs_thread_takes_what_divides_the_slices(
    sizes_of: Read, gpu_tools: Tools, slices: int, block: int
) -> None:
    cut = delegate_rule(POWERVR)(sizes_of(gpu_tools.nhwc(gpu_tools.pointwise(4 * slices))))
    assert cut.block_z.tolist() == [block]
    # 7 * 14 blocks of two columns, 32 to a line
    assert cut.groups.tolist() == [4 * -(-slices // block)]


def test_an_apples_blocks_grow_with_the_task(sizes_of: Read, gpu_tools: Tools) -> None:
    ops = [gpu_tools.nhwc(gpu_tools.pointwise(64, side=side)) for side in (7, 14, 28, 56)]
    cut = delegate_rule(APPLE)(sizes_of(*ops))
    # 25, 98, 392 and 1568 lines of 32 tasks; six units take two slices from 96 on, four from 192
    assert cut.block_z.tolist() == [1, 2, 4, 4]
    assert (cut.size == 32).all()


def test_a_winograd_convolution_is_products_of_tiles(sizes_of: Read, gpu_tools: Tools) -> None:
    op = conv_op(in_channels=64, out_channels=64, size=(56, 56), kernel=(3, 3))
    plain, wino = (
        gpu_tools.nhwc(op, name) for name in ("convolution_2d", "convolution_winograd_4x4_6x6")
    )
    cut = delegate_rule(POWERVR)(sizes_of(plain, wino))
    assert cut.depth.tolist() == [9 * 16, 16]
    assert cut.threads.tolist() == [28 * 56 * 4, 98 * 36 * 4]  # 14 * 14 tiles, 36 products each


def test_vulkans_pointwise_kernels_take_four_positions(sizes_of: Read, gpu_tools: Tools) -> None:
    op = gpu_tools.pointwise(32, side=13)
    named = gpu_tools.nhwc(op, "vulkan.conv2d_pw_2x2")
    cut = vulkan_rule(sizes_of(op, named))
    assert cut.threads.tolist() == [13 * 13 * 8, 7 * 7 * 8]
    assert cut.groups.tolist() == [4 * 4 * 2, 2 * 2 * 2]
    flat = vulkan_rule(sizes_of(gpu_tools.pointwise(4, side=5), gpu_tools.pointwise(4, side=20)))
    assert [tuple(float(side[i]) for side in flat.shape) for i in (0, 1)] == [
        (16, 4, 1),
        (8, 8, 1),
    ]


@given(
    filters=st.integers(1, 700),
    channels=st.integers(1, 700),
    side=st.integers(1, 60),
    gpu=st.sampled_from([ADRENO, POWERVR, APPLE, OTHER, ""]),
)
def test_threads_cover_the_output_and_groups_the_threads(
    filters: int, channels: int, side: int, gpu: str
) -> None:
    one = np.ones(1)
    sizes = Sizes(
        batch=one, height=one * side, width=one * side, rows_in=one * side, channels=one * channels,
        filters=one * filters, taps=one, window=one, stride=one, dilation=one, groups=one,
        pad=one, lopsided=one, inputs=one, outputs=one, weights=one, work=one, is_conv=one,
        itemsize=one * 2, bias=one, cheap=one, costly=one, reads=one,
        names=np.array(["convolution_2d"]),
    )  # fmt: skip
    for rule in (delegate_rule(gpu), vulkan_rule):
        cut = rule(sizes)
        assert cut.threads * cut.block >= side * side * -(-filters // 4)
        assert cut.groups * cut.size >= cut.threads
        assert min(cut.size.min(), cut.groups.min(), *(s.min() for s in cut.shape)) >= 1
