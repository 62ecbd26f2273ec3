"""Sheets for a terminal and as markdown, and numbers in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.report.sheet import (
    NOTHING,
    Sheet,
    facts,
    ms,
    percent,
    quantity,
    signed_percent,
    to_markdown,
    to_text,
)

SHEET = Sheet(
    title="Kernels",
    columns=("name", "ms"),
    rows=(("conv [bold]a[/bold]", "1.5"), ("a|b <x>", "0.25")),
    align="lr",
    notes=("Of 3.",),
)
MISSING = [None, math.nan, math.inf]


def test_text_shows_every_cell_as_it_is_and_aligns_numbers() -> None:
    lines = to_text([SHEET]).splitlines()
    assert lines[0] == "Kernels"
    assert any("conv [bold]a[/bold]" in line for line in lines)
    ends = {len(line) for line in lines if line.endswith(("1.5", "0.25", " ms"))}
    assert len(ends) == 1
    assert lines[-1] == " Of 3."


@given(st.text(alphabet="abcdefg", min_size=1, max_size=200), st.integers(20, 60))
def test_wide_cells_are_folded_and_never_cut(word: str, width: int) -> None:
    text = to_text([Sheet(title="t", rows=((word, "1"),), align="lr")], width)
    shown = "".join(character for character in text.partition("\n")[2] if character in "abcdefg")
    assert shown == word
    assert max(map(len, text.splitlines())) <= width


def test_markdown_escapes_what_would_be_read_as_markup() -> None:
    text = to_markdown([SHEET])
    assert text.splitlines()[:6] == [
        "### Kernels", "", "| name | ms |", "| --- | ---: |", "| conv [bold]a[/bold] | 1.5 |",
        "| a\\|b &lt;x> | 0.25 |",
    ]  # fmt: skip
    assert text.endswith("Of 3.\n")


def test_facts_without_a_value_are_left_out() -> None:
    sheet = facts("About", {"isa": "avx2", "provider": ""})
    assert sheet.rows == (("isa", "avx2"),)
    assert to_text([sheet]).splitlines() == ["About", " isa  avx2"]
    assert "|  |  |" in to_markdown([sheet])


@pytest.mark.parametrize("value", MISSING)
def test_no_number_is_a_dash(value: float | None) -> None:
    shown = {ms(value), quantity(value, "ms"), percent(value), signed_percent(value)}
    assert shown == {NOTHING}


@given(st.floats(1e-6, 1e9))
def test_milliseconds_keep_four_digits(value: float) -> None:
    assert float(ms(value)) == pytest.approx(value, rel=6e-4)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(2_500.0, "params", "2.50 k params"), (-3e6, "flops", "-3.00 M flops"),
     (2e12, "flops", "2.00 T flops"), (0.0, "bytes", "0 bytes")],
)  # fmt: skip
def test_counts_have_a_prefix(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown
