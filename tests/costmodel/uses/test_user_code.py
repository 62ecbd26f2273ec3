"""The user's own files and modules: run once, found by what imports them, named if broken."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from costmodel.errors import InvalidInputError
from costmodel.uses.user_code import import_first, run_file


def test_a_file_is_run_once_and_can_be_imported_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "once_only.py"
    path.write_text("from pathlib import Path\nRUNS = []\nRUNS.append(1)\n")
    first = run_file(path)
    import_first([path])
    assert run_file(path) is first
    assert importlib.import_module("once_only") is first
    assert first.RUNS == [1]


def test_a_file_called_like_a_module_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text("MINE = True\n")
    assert run_file(path).MINE
    assert not hasattr(importlib.import_module("json"), "MINE")


@pytest.mark.parametrize("name", ["net.v2.py", "my-data.py", "class.py", "__main__.py"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("HERE = 1\n")
    assert run_file(path).HERE == 1


def test_modules_are_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_layers.py").write_text("HERE = True\n")
    monkeypatch.chdir(tmp_path)
    folder = list(sys.path)
    import_first(["shop_layers"])
    assert sys.modules["shop_layers"].HERE
    assert sys.path == folder


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nowhere.py", None, "is not a Python file"),
        ("broken.py", "raise ValueError('no')", "could not be run: ValueError: no"),
        ("no_such_module_at_all", None, "could not be imported"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInputError, match=words):
        import_first([path if name.endswith(".py") else name])
