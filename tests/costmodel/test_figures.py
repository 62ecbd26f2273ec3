"""Numbers in words: as many digits as they deserve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.figures import (
    NOTHING,
    digits,
    ms,
    percent,
    quantity,
    signed_percent,
    sparkline,
)

MISSING = [None, math.nan, math.inf]


@pytest.mark.parametrize("value", MISSING)
def test_no_number_is_a_dash(value: float | None) -> None:
    shown = {ms(value), digits(value), quantity(value, "ms"), percent(value), signed_percent(value)}
    assert shown == {NOTHING}


@given(st.floats(1e-6, 1e9))
def test_three_digits_are_kept_and_no_more_unless_they_are_whole(value: float) -> None:
    shown = digits(value)
    assert float(shown) == pytest.approx(value, rel=5.1e-3)
    assert "e" not in shown
    written = shown.replace(".", "").lstrip("0")
    assert len(written) == 3 or (value >= 999 and "." not in shown)


@given(st.floats(1e-3, 1e4), st.floats(1e-4, 1.0))
def test_the_last_digit_is_about_the_noise(value: float, noise: float) -> None:
    shown = digits(value, noise)
    step = 10.0 ** -len(shown.partition(".")[2])
    assert abs(float(shown) - value) <= 0.51 * step
    assert step <= max(1.0, 1.01 * noise * value)  # never coarser than what is known
    if noise >= 1e-3 and step < 1.0:
        assert step > noise * value / 101


@pytest.mark.parametrize(
    ("value", "noise", "shown"),
    [
        (0.0340991, None, "0.0341"),
        (5.0, None, "5.00"),
        (99.96, None, "100"),
        (-0.5, None, "-0.500"),
        (1234.5, 0.3, "1234"),
        (1.23456, 0.015, "1.23"),
        (1.23456, 0.001, "1.235"),
        (1.23456, 0.0, "1.235"),
        (1.23456, math.nan, "1.23"),
        (0.0, None, "0"),
        (3e-9, None, "3.00e-09"),
        (float(np.float64(1.5)), None, "1.50"),
    ],
)
def test_digits(value: float, noise: float | None, shown: str) -> None:
    assert digits(value, noise) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(2_500.0, "params", "2.50 k params"), (-3e6, "flops", "-3.00 M flops"),
     (2e12, "flops", "2.00 T flops"), (0.0, "bytes", "0 bytes")],
)  # fmt: skip
def test_counts_have_a_prefix(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


def test_a_sparkline_begins_at_zero() -> None:
    assert sparkline([]) == sparkline([0.0]) == ""
    assert sparkline([0.0, 1.0, 8.0]) == "▁▁█"
    assert sparkline([5.0] * 3) == "███"
