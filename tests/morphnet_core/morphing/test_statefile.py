"""A state file is whole whatever happens to its writer, and refused by what is wrong with it."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.durable import left_behind
from costmodel.errors import InvalidInputError
from morphnet_core.morphing import statefile
from morphnet_core.morphing.statefile import State, read_state, write_state
from morphnet_core.morphing.unfinished import Section, Unfinished

BELONGS = {"target": "50%", "sizes": {"image:1": 8}, "threshold": None}
STATE = State(
    values={"epoch": 3, "done": False},
    arrays={"model/0": np.arange(6.0).reshape(2, 3), "model/1": np.zeros((0, 4)), "x": np.array(2)},
)
WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("statefile", {file!r})
statefile = importlib.util.module_from_spec(spec)
sys.modules["statefile"] = statefile
spec.loader.exec_module(statefile)
import numpy as np
from pathlib import Path
for number in range(10**6):
    state = statefile.State(values={{"number": number}}, arrays={{"a": np.full(50_000, number)}})
    statefile.write_state(Path({path!r}), {{}}, state)
    print(number, flush=True)
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.npz"
    write_state(path, BELONGS, STATE)
    found = read_state(path, BELONGS)
    assert found.values == STATE.values
    assert found.arrays.keys() == STATE.arrays.keys()
    for name, array in STATE.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert list(found.part("model")) == ["0", "1"]


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    import ml_dtypes

    half = np.array([1.5, -0.0078125], dtype=ml_dtypes.bfloat16)
    write_state(tmp_path / "s.npz", {}, State(arrays={"half": half}))
    np.testing.assert_array_equal(read_state(tmp_path / "s.npz", {}).arrays["half"], half)


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    text = WRITER.format(file=statefile.__file__, path=str(path))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(20)][-1]
        child.kill()
        told = max([told, *map(int, child.stdout.read().split())])
    found = read_state(path, {})
    assert found.values["number"] >= told
    assert (found.arrays["a"] == found.values["number"]).all()
    with Unfinished(folder=tmp_path).held():
        assert left_behind(tmp_path) == []
        assert Unfinished(folder=tmp_path).begun


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with np.load(path) as found:
        held = dict(found)
    change(held)
    with path.open("wb") as handle:
        np.savez(handle, **held)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def other_format(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statefile, "FORMAT", 2)
        write_state(path, BELONGS, STATE)


def without_values(path: Path) -> None:
    def change(held: dict[str, Any]) -> None:
        head = json.loads(str(held["head"]))
        del head["values"]
        text = json.dumps(head)
        held.update(head=np.array(text), head_sum=np.array(zlib.crc32(text.encode())))

    rewritten(path, change)


def one_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(STATE.arrays["model/0"].tobytes())] ^= 1
    path.write_bytes(raw)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half-written": (cut_short, "is no whole state file"),
    "empty": (lambda path: path.write_bytes(b""), "is no whole state file"),
    "text": (lambda path: path.write_text("{}"), "is no whole state file"),
    "one bit": (one_bit, "is no whole state file.*arrays/model/0"),
    "foreign": (
        lambda path: rewritten(path, lambda held: held.pop("head")), "has no field 'head'"
    ),
    "pickled": (
        lambda path: rewritten(path, lambda held: held.update(x=np.array([{}], dtype=object))),
        "is no whole state file.*allow_pickle",
    ),
    "edited values": (
        lambda path: rewritten(
            path, lambda held: held.update(head=np.array(str(held["head"]).replace("3", "4", 1)))
        ),
        "was changed: field 'head'",
    ),
    "edited arrays": (
        lambda path: rewritten(path, lambda held: held["arrays/model/0"].fill(7)),
        "was changed: field 'model/0'",
    ),
    "an array less": (
        lambda path: rewritten(path, lambda held: held.pop("arrays/x")), "was changed: field 'x'"
    ),
    "a field of the head less": (without_values, "has no field 'values'"),
    "another format": (other_format, "is of format 2, and this version reads 1"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    write_state(path, BELONGS, STATE)
    hurt, words = DAMAGE[damage]
    hurt(path)
    with pytest.raises(InvalidInputError, match=f"s.npz {words}.*Delete it") as found:
        read_state(path, BELONGS)
    assert str(path) in str(found.value)


def test_another_command_s_state_is_refused_by_the_field(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    write_state(path, BELONGS, STATE)
    with pytest.raises(InvalidInputError, match=r"begun with threshold: nothing, and this is 0.1"):
        read_state(path, BELONGS | {"threshold": 0.1})


class Watch:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def section(path: Path, watch: Watch) -> Section:
    return Section(name="search", path=path, belongs=BELONGS, every_s=20.0, now=watch)


def test_a_section_is_saved_now_and_then(tmp_path: Path) -> None:
    watch = Watch()
    found = section(tmp_path / "search.npz", watch)
    assert not found.begun
    watch.seconds += 19.0
    assert not found.due
    watch.seconds += 2.0
    assert found.due
    found.save({"epoch": 1, "step": 2})
    assert not found.due
    assert found.seconds == 21.0
    again = section(tmp_path / "search.npz", watch)
    assert again.begun
    assert not again.done
    assert again.where == ", epoch 2, step 2"
    watch.seconds += 4.0
    again.save({}, done=True)
    assert section(tmp_path / "search.npz", watch).seconds == 25.0


def test_slow_saves_come_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()

    def slowly(*arguments: Any) -> None:
        watch.seconds += 10.0

    monkeypatch.setattr("morphnet_core.morphing.unfinished.write_state", slowly)
    found = section(tmp_path / "search.npz", watch)
    found.save({})
    watch.seconds += 299.0
    assert not found.due
    watch.seconds += 1.0
    assert found.due


def test_a_full_disk_leaves_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "search.npz"
    found = section(path, Watch())
    found.save({"epoch": 1, "step": 0})

    def full(handle: Any, **arrays: Any) -> None:
        handle.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InvalidInputError, match=r"No space left on device.*same command again"):
        found.save({"epoch": 2, "step": 0})
    assert read_state(path, BELONGS).values["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]
