"""Sheets for a terminal and as markdown, and numbers in words."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from costmodel.report.sheet import Sheet, facts, to_markdown, to_text

SHEET = Sheet(
    title="Kernels",
    columns=("name", "ms"),
    rows=(("conv [bold]a[/bold]", "1.5"), ("a|b <x>", "0.25")),
    align="lr",
    notes=("Of 3.",),
)


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


def test_colours_only_change_how_a_text_looks() -> None:
    sheet = Sheet(title="t", columns=("a", ""), rows=(("net", "SLOWER"),), notes=("Of 3.",))
    plain, styled = to_text([sheet]), to_text([sheet], styled=True)
    assert "\x1b[" not in plain
    assert "\x1b[1;31mSLOWER" in styled
    bare = re.sub(r"\x1b\[[\d;]*m", "", styled)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()
