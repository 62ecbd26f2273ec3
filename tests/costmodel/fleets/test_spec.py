"""Fleet files: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.errors import InvalidInputError
from costmodel.fleets.spec import Fleet, asked_of, read_fleet
from costmodel.uses.profiling import parse_budget

BOARD = '[[devices]]\nname = "a"\nrunner = "ssh://a"\n'


def read(folder: Path, text: str) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return read_fleet(path, parse_budget)


def test_devices_take_what_the_file_says_for_all_unless_they_say_otherwise(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    found = read(
        tmp_path,
        'budget = "1h"\nmodels = ["net.onnx"]\nsamples = 50\npatience = "90s"\n'
        'out = "tables"\nray = "auto"\nthreads = 4\n[sizes]\nheight = 224\n'
        + BOARD
        + '[[devices]]\nname = "b"\nrunner = "ort"\nhost = "lab"\nsamples = 7\nthreads = 1\n'
        'options = { dtype = "int8" }\n',
    )
    assert (found.out, found.ray, found.patience_s) == (tmp_path / "tables", "auto", 90.0)
    a, b = found.devices
    assert (a.wanted.samples, b.wanted.samples) == (50, 7)
    assert a.wanted.budget == b.wanted.budget == "1h"
    assert a.wanted.models == (tmp_path / "net.onnx",)
    assert a.wanted.sizes == (("height", 224),)
    assert (a.is_far, b.is_far) == (True, False)
    assert dict(a.options) == {"threads": 4}
    assert dict(b.options) == {"dtype": "int8", "threads": 1}
    assert found.table("a") == tmp_path / "tables" / "a.jsonl"


def test_little_is_needed(tmp_path: Path) -> None:
    found = read(tmp_path, BOARD)
    assert found.out == tmp_path / "fleet-tables"
    assert found.devices[0].wanted.samples == 400


def test_boards_are_taken_for_one_kind_by_what_they_are_not_by_how_they_are_reached(
    tmp_path: Path,
) -> None:
    lines = ('cores = "0-3", port = 1', 'cores = "0-3", folder = "x"', 'cores = "4-7"')
    text = "".join(
        BOARD.replace('"a"', f'"{name}"') + f"options = {{ {line} }}\n"
        for name, line in zip("abc", lines, strict=True)
    )
    found = read(tmp_path, text)
    a, b, c = (device.alike for device in found.devices)
    assert a == b != c


MISTAKES = {
    "no device": ("", "[[devices]]"),
    "no table": ("devices = 3\n", "[[devices]]"),
    "no TOML": ("devices = [", "cannot be read"),
    "no name": ('[[devices]]\nrunner = "ort"\n', "name is missing"),
    "no runner": ('[[devices]]\nname = "a"\n', "(a): runner is missing"),
    "an empty text": ('[[devices]]\nname = "a"\nrunner = ""\n', "runner: the text is empty"),
    "a name of a file": (BOARD.replace('"a"', '"../a"', 1), "letters, digits"),
    "a name of ours": (BOARD.replace('"a"', '"fleet"', 1), "'fleet' is taken"),
    "two of a name": (BOARD + BOARD, "'a' is given twice"),
    "a slip": (BOARD + "sample = 3\n", "no field 'sample'. Did you mean samples?"),
    "a slip above": ("budgte = 3\n" + BOARD, "Did you mean budget?"),
    "a number as text": (BOARD + 'samples = "many"\n', "samples: expected a whole number"),
    "truth as number": (BOARD + "samples = true\n", "samples: expected a whole number"),
    "out of range": (BOARD + "thinned = -1\n", "thinned: expected 0 to 100"),
    "no duration": (BOARD + 'budget = "soon"\n', "budget: The budget 'soon'"),
    "no duration above": ('patience = "soon"\n' + BOARD, "patience: The patience 'soon'"),
    "no such model": (BOARD + 'models = ["no.onnx"]\n', "no.onnx. Give its path from the folder"),
    "a model without a name": (BOARD + 'models = [""]\n', "models: one of its texts is empty"),
    "models that are none": (BOARD + "models = [3]\n", "models: expected a list of paths"),
    "nothing to do": (BOARD + "samples = 0\n", "nothing to measure"),
    "no option": (BOARD + "options = { a = [1] }\n", "options: expected a table"),
    "no size": (BOARD + "sizes = { height = 0 }\n", "height must be from 1"),
    "nowhere": ('ray = "auto"\n' + BOARD.replace("ssh://a", "ort"), "host: the device 'a'"),
    "out that is a file": ('out = "fleet.toml"\n' + BOARD, "is a file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_file_field_and_fix(tmp_path: Path, mistake: str) -> None:
    text, words = MISTAKES[mistake]
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "fleet.toml" in str(caught.value)


def test_a_mark_that_windows_puts_first_means_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + BOARD).devices[0].name == "a"


def test_networks_count_by_what_they_hold_not_by_how_they_are_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "weights").write_text("1")
    net = tmp_path / "net.onnx"
    net.write_text("1")
    text = BOARD + 'models = ["net.onnx", "saved"]\n'
    fleet = read(tmp_path, text)
    asked = asked_of(fleet)
    monkeypatch.chdir(tmp_path)
    assert asked_of(read(Path(), text)) == asked
    for changed in (net, folder / "weights"):
        changed.write_text("2")
        assert asked_of(read(tmp_path, text)) != asked
        changed.write_text("1")
    assert asked_of(read(tmp_path, text.replace("ssh://a", "ssh://b"))) != asked
    assert asked_of(read(tmp_path, text + "rounds = 3\n")) != asked
    net.unlink()
    with pytest.raises(InvalidInputError, match=r"net\.onnx cannot be read: No such file"):
        asked_of(fleet)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no\.toml cannot be read: No such file"):
        read_fleet(tmp_path / "no.toml", parse_budget)


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 5000, "patience = 1" + "0" * 400 + "\n" + BOARD, "seed = 1" + "0" * 400 + "\n"],
    ids=["nested", "patience", "seed"],
)
def test_what_python_cannot_hold_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"fleet\.toml"):
        read(tmp_path, text)
