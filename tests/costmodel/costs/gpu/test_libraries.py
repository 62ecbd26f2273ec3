"""Amounts of libraries that choose among algorithms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from costmodel.costs.gpu.libraries import library_columns, units_of
from costmodel.costs.gpu.sizes import Sizes
from costmodel.op import Op, conv_op

Read = Callable[..., Sizes]


def conv(kernel: int = 3, stride: int = 1, filters: int = 128, side: int = 32, **more: int) -> Op:
    return conv_op(
        in_channels=64,
        out_channels=filters,
        size=(side, side),
        kernel=(kernel, kernel),
        stride=stride,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "units"),
    [("AMD MI100 (gfx908, 120 CU)", 120), ("NVIDIA GTX 1080 Ti", 28), ("something else", 32)],
)
def test_a_gpus_name_says_its_units(name: str, units: int) -> None:
    assert units_of(name) == units


def test_one_tile_more_is_a_wave_more(sizes_of: Read) -> None:
    # 1024 positions are eight tiles of 128; 128 filters are one column of tiles, 129 are two
    terms, features, _ = library_columns(sizes_of(conv(), conv(filters=129)), units=8)
    assert terms["turns_128x128"].tolist() == [1, 2]
    assert features["fill_128x128"].tolist() == [1, 1]
    assert (terms["waves_128x128"] == terms["turns_128x128"] * 128 * 128 * 576).all()
    more = library_columns(sizes_of(conv(filters=129)), units=12)[1]
    assert more["fill_128x128"].tolist() == [16 / 12 / 2]


def test_only_windows_of_three_with_stride_one_can_be_winograds(sizes_of: Read) -> None:
    ops = conv(), conv(kernel=5), conv(stride=2), conv(dilation=2), conv(groups=64), conv(kernel=1)
    terms, _, forms = library_columns(sizes_of(*ops), units=8)
    assert (terms["products_4"] > 0).tolist() == [True, *[False] * 5]
    assert terms["products_4"][0] == 8 * 8 * 36 * 64 * 128
    assert (terms["spectra"] > 0).tolist() == [True, True, *[False] * 4]
    assert set(forms) == {"any"}


def test_a_lopsided_padding_copies_the_input(sizes_of: Read) -> None:
    even, odd = conv(side=8), conv(kernel=2, side=8)
    assert (sum(even.pads), sum(odd.pads)) == (4, 2)
    assert library_columns(sizes_of(even, odd), units=8)[0]["copied"].tolist() == [0, 64 * 8 * 8]


def test_what_is_no_convolution_has_amounts_too(sizes_of: Read) -> None:
    product = Op(kind="gemm", inputs=((8, 512),), outputs=((8, 100),), weights=((100, 512),))
    add = Op(kind="add", inputs=((1, 8, 4, 4),) * 2, outputs=((1, 8, 4, 4),))
    empty = Op(kind="relu", inputs=((0, 8),), outputs=((0, 8),))
    terms, features, _ = library_columns(sizes_of(product, add, empty, conv()), units=8)
    for column in (*terms.values(), *features.values()):
        assert np.isfinite(column).all()
    assert terms["im2col"][0] == 0
