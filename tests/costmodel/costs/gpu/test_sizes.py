"""The sizes that rules of GPU runtimes see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from costmodel.costs.gpu.sizes import Sizes, ceil_div
from costmodel.op import Op, conv_op

Read = Callable[..., Sizes]
Tools = Any


def test_layouts_have_the_same_sizes(sizes_of: Read, gpu_tools: Tools) -> None:
    op = conv_op(in_channels=10, out_channels=6, size=(14, 9), kernel=(3, 5), stride=2, batch=2)
    both = sizes_of(op, gpu_tools.nhwc(op))
    for name in ("batch", "height", "width", "channels", "filters", "taps", "window", "outputs"):
        one, other = getattr(both, name)
        assert one == other, name
    assert (both.height[0], both.width[0], both.taps[0], both.window[0]) == (7, 5, 15, 5)
    assert both.pixels.tolist() == [70, 70]
    assert both.itemsize.tolist() == [4, 2]


def test_rows_of_a_product_are_counted_once(sizes_of: Read) -> None:
    gemm = Op(kind="gemm", inputs=((8, 512),), outputs=((8, 100),), weights=((100, 512),))
    tokens = Op(
        kind="matmul", inputs=((2, 49, 64),), outputs=((2, 49, 32),), weights=((64, 32),)
    )  # fmt: skip
    sizes = sizes_of(gemm, tokens)
    assert sizes.pixels.tolist() == [8, 98]
    assert sizes.channels.tolist() == [512, 64]


def test_four_channels_are_a_slice(sizes_of: Read) -> None:
    grouped = conv_op(in_channels=30, out_channels=18, size=(7, 7), kernel=(3, 3), groups=6)
    sizes = sizes_of(grouped)
    assert (sizes.slices_in[0], sizes.slices_out[0]) == (2, 5)


def test_what_is_folded_in_is_counted_by_what_it_costs(sizes_of: Read, gpu_tools: Tools) -> None:
    op = gpu_tools.pointwise(8, side=2)
    folded = gpu_tools.nhwc(op, epilogue=("add", "mul", "relu", "sigmoid"))
    terms = sizes_of(gpu_tools.nhwc(op), folded).folded_terms()
    outputs = 8 * 2 * 2
    assert terms["bias"].tolist() == [outputs, outputs]
    assert terms["reads"].tolist() == [0, 2 * outputs]
    assert terms["cheap"].tolist() == [0, outputs]
    assert terms["costly"].tolist() == [0, outputs]


def test_kernels_are_known_by_parts_of_their_names(sizes_of: Read, gpu_tools: Tools) -> None:
    op = gpu_tools.pointwise(8)
    sizes = sizes_of(op, gpu_tools.nhwc(op, "convolution_winograd_4x4_6x6"))
    assert sizes.is_named("winograd").tolist() == [False, True]


def test_an_incomplete_step_is_a_step() -> None:
    assert ceil_div(np.array([0.0, 1.0, 4.0, 5.0]), 4).tolist() == [0, 1, 1, 2]
