from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from costmodel.device import Device
from costmodel.errors import InvalidInputError, LockedError
from costmodel.profiler.lock import device_lock, hold, table_lock, wait_for


def test_a_second_holder_is_refused_and_told_who_and_what_to_do(tmp_path: Path) -> None:
    path = table_lock(tmp_path / "t.jsonl")
    with (
        hold(path, "the table t.jsonl"),
        pytest.raises(LockedError) as refusal,
        hold(path, "the table t.jsonl"),
    ):
        pass
    text = str(refusal.value)
    assert f"process {os.getpid()} (" in text
    assert "since 2" in text
    assert "the table t.jsonl" in text
    assert "resumes" in text


def test_a_lock_without_a_note_still_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with hold(path, "it"):
        (tmp_path / "x.lock.json").write_text("{", encoding="utf-8")
        with pytest.raises(LockedError, match="left no note"), hold(path, "it"):
            pass


def test_a_lock_is_free_after_use_and_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with pytest.raises(KeyError), hold(path, "it"):
        raise KeyError
    with hold(path, "it"):
        assert (tmp_path / "x.lock.json").exists()
    assert not (tmp_path / "x.lock.json").exists()


def test_a_stale_note_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.lock").touch()
    (tmp_path / "x.lock.json").write_text('{"pid": 1}', encoding="utf-8")
    with hold(tmp_path / "x.lock", "it"):
        pass


def test_a_lock_is_waited_for_with_a_line_now_and_again(tmp_path: Path) -> None:
    path, told = tmp_path / "x.lock", list[str]()
    with ExitStack() as held:
        held.enter_context(hold(path, "it"))
        with pytest.raises(LockedError) as refusal, hold(path, "it"):
            pass

        def tell(text: str) -> None:
            told.append(text)
            if len(told) == 2:
                held.close()

        wait_for(refusal.value, tell, every_s=0.05)
    assert len(told) == 2
    assert told[0].startswith(f"Another profiler holds it: process {os.getpid()} (")
    assert told[0].endswith("Waiting for it, 0 s so far.")
    with hold(path, "it"):
        pass


def test_a_lock_on_another_machine_is_tried_again_after_a_while() -> None:
    told: list[str] = []
    wait_for(LockedError("held there"), told.append, every_s=0.01)
    assert told == ["held there Waiting for it, 0 s so far."]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file" / "x.lock"
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="Cannot lock it"), hold(path, "it"):
        pass


def test_runtimes_on_one_device_share_its_lock() -> None:
    one = Device(name="AMD EPYC (TM)", runtime="onnxruntime", threads=2)
    other = Device(name="AMD EPYC (TM)", runtime="tflite")
    assert device_lock(one) == device_lock(other)
    assert device_lock(one).name == "costmodel-amd-epyc-tm.lock"
    assert device_lock(one) != device_lock(Device(name="fake", runtime="fake"))
