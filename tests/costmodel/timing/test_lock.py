from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from costmodel.timing.lock import lock_path, note_path, read_note, write_note


@given(st.text())
def test_every_name_has_a_lock_that_a_file_system_takes(name: str) -> None:
    path = lock_path(name)
    assert path.name.removeprefix("costmodel-").removesuffix(".lock").replace("-", "").isalnum()
    assert path.name.isascii()
    assert lock_path(f" {name.upper()}!").parent == path.parent


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    note = note_path(tmp_path / "x.lock")
    write_note(note, {"pid": 1})
    write_note(note, {"pid": 2})
    assert read_note(note) == {"pid": 2}
    assert list(tmp_path.iterdir()) == [note]


def test_a_note_that_cannot_be_written_or_read_is_none(tmp_path: Path) -> None:
    write_note(tmp_path / "absent" / "note", {"pid": 1})
    assert read_note(tmp_path / "absent" / "note") == {}
    damaged = tmp_path / "note"
    damaged.write_text("[1]")
    assert read_note(damaged) == {}
