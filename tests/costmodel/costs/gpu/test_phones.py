"""Amounts of kernels on phones' GPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from costmodel.costs.gpu.cuts import delegate_rule
from costmodel.costs.gpu.phones import phone_columns
from costmodel.costs.gpu.sizes import Sizes

ADRENO = delegate_rule("Pixel 4 GPU (Adreno 640)")


def test_time_is_a_staircase_of_waves(sizes_of: Callable[..., Sizes], gpu_tools: Any) -> None:
    ops = [
        gpu_tools.nhwc(gpu_tools.pointwise(filters, channels=512)) for filters in (288, 320, 512)
    ]
    terms, features, forms = phone_columns(sizes_of(*ops), ADRENO)
    # 7, 14 and 14 groups: the second wave of eight is as dear when it is half empty
    assert terms["turns_8"].tolist() == [128, 256, 256]
    assert features["fill_8"].tolist() == [7 / 8, 14 / 16, 14 / 16]
    assert forms == ["", "", ""]


def test_channels_within_a_slice_cost_the_same(
    sizes_of: Callable[..., Sizes], gpu_tools: Any
) -> None:
    ops = [gpu_tools.nhwc(gpu_tools.pointwise(n, channels=600)) for n in (93, 96, 97)]
    terms = phone_columns(sizes_of(*ops), ADRENO)[0]
    for name in ("padded", "blocked", "grouped", "threads", "launched"):
        assert terms[name][0] == terms[name][1], name
    assert terms["padded"][2] > terms["padded"][1]


def test_kernels_in_constant_memory_have_a_law_of_their_own(
    sizes_of: Callable[..., Sizes], gpu_tools: Any
) -> None:
    ops = [gpu_tools.nhwc(gpu_tools.pointwise(16, channels=n)) for n in (16, 600)]
    assert phone_columns(sizes_of(*ops), ADRENO)[2] == ["constant memory", ""]


def test_every_column_is_a_number_for_each_op(
    sizes_of: Callable[..., Sizes], gpu_tools: Any
) -> None:
    ops = [gpu_tools.nhwc(gpu_tools.pointwise(n)) for n in (1, 5, 300)]
    terms, features, _ = phone_columns(sizes_of(*ops), ADRENO)
    for column in (*terms.values(), *features.values()):
        assert column.shape == (3,)
        assert np.isfinite(column).all()
    assert all((amount >= 0).all() for amount in terms.values())
