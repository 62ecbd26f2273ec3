"""Windows as XLA prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.hlo_model.windows import numbers, window_of

SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=2)
PADS = st.lists(st.tuples(st.integers(-3, 9), st.integers(-3, 9)), min_size=2, max_size=2)


@given(SIZES, SIZES, PADS, SIZES, SIZES, st.sampled_from("_ "))
def test_every_field_is_read(
    size: list[int], stride: list[int], pads: list[tuple[int, int]], dilation: list[int],
    base: list[int], blank: str,
) -> None:  # fmt: skip
    fields = {
        "size": "x".join(map(str, size)),
        "stride": "x".join(map(str, stride)),
        "pad": "x".join(f"{low}_{high}" for low, high in pads),
        "lhs_dilate": "x".join(map(str, base)),
        "rhs_dilate": "x".join(map(str, dilation)),
    }
    text = blank.join(f"{name}={value}" for name, value in fields.items())
    found = window_of(f"window={{{text}}}, dim_labels=b01f_01io->b01f", 2)
    assert (found.size, found.stride) == (tuple(size), tuple(stride))
    assert (found.dilation, found.base_dilation) == (tuple(dilation), tuple(base))
    assert found.pads == tuple(pads)
    assert found.reversed == ()


@pytest.mark.parametrize("settings", ["", "dim_labels=bf_io->bf", "window={}"])
def test_without_a_window_there_is_one_tap_an_axis(settings: str) -> None:
    found = window_of(settings, 3)
    assert (found.size, found.stride, found.dilation) == ((1,) * 3,) * 3
    assert found.pads == ((0, 0),) * 3


def test_axes_that_run_backwards_are_named() -> None:
    assert window_of("window={size=3x3 rhs_reversal=0x1}", 2).reversed == (1,)
    assert window_of("window={size=3x3_rhs_reversal=1x1}", 2).reversed == (0, 1)


@given(st.lists(st.integers(-99, 99)))
def test_numbers_of_a_list(values: list[int]) -> None:
    assert numbers("{" + ",".join(map(str, values)) + "}") == tuple(values)
