"""The locks of both ends hold what pyproject.toml promises."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import try_versions  # noqa: E402


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


@pytest.fixture(scope="module")
def locks() -> dict[str, dict[str, str]]:
    return {
        end: try_versions.pins((ROOT / name).read_text(encoding="utf-8"))
        for end, name in try_versions.LOCKS.items()
    }


@pytest.mark.parametrize("package", sorted(try_versions.floors()))
def test_the_oldest_lock_pins_every_floor(package: str, locks: dict[str, dict[str, str]]) -> None:
    floor, pinned = try_versions.floors()[package], locks["oldest"][package]
    length = len(version(floor))
    assert version(pinned)[:length] == version(floor), "python scripts/try_versions.py --lock"


def test_the_newest_lock_is_beyond_every_floor(locks: dict[str, dict[str, str]]) -> None:
    newest = locks["newest"]
    for package, floor in try_versions.floors().items():
        assert version(newest[package]) >= version(floor), package


def test_what_an_environment_told_is_counted() -> None:
    said = "2 failed, 310 passed, 4 skipped in 65.0s (0:01:05)"
    counts = {kind: int(n) for n, kind in try_versions._COUNTS.findall(said)}
    assert counts == {"failed": 2, "passed": 310, "skipped": 4}
