from __future__ import annotations

from pathlib import Path

import pytest

from costmodel import shipped
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.shipped import find_profile, shipped_profiles
from costmodel.table import LatencyTable

DEVICE = Device(name="board", runtime="fake")


def test_every_shipped_profile_is_a_table_under_its_own_name() -> None:
    assert len(shipped_profiles()) >= 17
    for name in shipped_profiles():
        table = LatencyTable.load(name)
        assert table.warnings == ()
        assert len(table) > 0


@pytest.mark.parametrize("home", ["costmodel/profiles", "profiles"])  # installed, or a checkout
def test_a_profile_is_found_by_name_and_an_unknown_name_lists_those_there_are(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "costmodel").mkdir()
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path / package)
    path = tmp_path / home / "board" / "fake-float32-t2.jsonl"
    LatencyTable(DEVICE).save(path)
    assert dict(shipped_profiles()) == {"board/fake-float32-t2": path}
    assert find_profile("board/fake-float32-t2") == path
    assert LatencyTable.load("board/fake-float32-t2") == LatencyTable(DEVICE)
    with pytest.raises(InvalidInputError, match="Shipped: board/fake-float32-t2"):
        LatencyTable.load("board/fake-int8")


def test_without_any_profile_an_unknown_name_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path / package)
    with pytest.raises(InvalidInputError, match="Shipped: none"):
        find_profile("board/fake-float32")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("k80", "Like it: nvidia-k80/cudnn-float32. "),
        ("tpu-v6/xla-bfloat16", "Like it: tpu-v6e/xla-bfloat16, "),
        ("tpu", "Like it: tpu-7x/xla-bfloat16, tpu-v2/xla-bfloat16, tpu-v3/xla-bfloat16. "),
        ("mine.jsonl", "named 'mine.jsonl'. 'costmodel devices' lists those that are shipped."),
    ],
)
def test_of_many_profiles_an_unknown_name_shows_those_like_it(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        find_profile(name)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
