"""What ships: every profile loads, passes `check`, has a card, and is small."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.audit import audit
from costmodel.shipped import shipped_profiles
from costmodel.table import LatencyTable

SHIPPED = shipped_profiles()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_is_sound(name: str) -> None:
    path = SHIPPED[name]
    assert path.stat().st_size < 5_000_000
    table = LatencyTable.load(path)
    assert not table.warnings
    assert len(table) > 50
    assert [item for item in audit(table) if not item.is_information] == []
    assert table.device.slug == name, "a profile lies where its device says"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_has_a_card_that_tells_where_it_is_from(name: str) -> None:
    card = SHIPPED[name].with_suffix(".md").read_text(encoding="utf-8")
    table = LatencyTable.load(SHIPPED[name])
    for word in ("provenance", table.device.provenance, "icence"):
        assert word in card


def test_no_card_is_without_a_profile() -> None:
    folder = Path(__file__).parents[1] / "profiles"
    cards = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.md")}
    assert cards <= set(SHIPPED)
