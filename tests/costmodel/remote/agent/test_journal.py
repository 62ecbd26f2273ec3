"""Events are on disk before they are sent, and read back after any end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from costmodel.remote.agent.journal import KEPT, Journal

STARTED = {"event": "started", "step": {"job": 3}}


def opened(folder: Path, *events: dict[str, Any]) -> Journal:
    journal = Journal(folder, "s1")
    for event in events:
        journal.add(event)
    return journal


def test_events_are_numbered_and_found_again(tmp_path: Path) -> None:
    journal = opened(tmp_path, {"event": "hello"}, STARTED)
    assert [entry["seq"] for entry in journal.entries] == [1, 2]
    journal.close()
    again = opened(tmp_path)
    assert again.entries == journal.entries
    assert list(again.since(1)) == journal.entries[1:]
    assert again.add({"event": "left"})["seq"] == 3
    again.close()


@pytest.mark.parametrize("torn", [b'{"event":"vis', b'{"event":"left","seq":9}\n', b"\xff\n"])
def test_what_is_torn_or_out_of_order_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    opened(tmp_path, STARTED).close()
    path = tmp_path / "s1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    journal = opened(tmp_path)
    assert [entry["event"] for entry in journal.entries] == ["started"]
    assert path.read_bytes() == whole
    journal.close()


@pytest.mark.parametrize(
    ("later", "step"),
    [
        ([], {"job": 3}),
        ([{"event": "noted"}], {"job": 3}),
        ([{"event": "visited"}], None),
        ([{"event": "failed"}], None),
        ([{"event": "left"}, {"event": "started", "step": {"job": 5}}], {"job": 5}),
    ],
)
def test_the_step_that_has_no_end_is_known(
    tmp_path: Path, later: list[dict[str, Any]], step: object
) -> None:
    journal = opened(tmp_path, STARTED, *later)
    assert journal.interrupted() == step
    journal.close()


def test_a_new_session_was_interrupted_in_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert journal.interrupted() is None
    journal.close()


def test_only_the_last_sessions_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        path = tmp_path / f"old{number}.jsonl"
        path.touch()
        os.utime(path, (number, number))
    opened(tmp_path).close()
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {"s1"} | {f"old{number}" for number in range(3, KEPT + 3)}


def test_a_session_cannot_name_another_folder(tmp_path: Path) -> None:
    Journal(tmp_path / "in", "../out/x").close()
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["outx.jsonl"]
