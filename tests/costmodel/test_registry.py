"""Finding runners by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from costmodel import registry
from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.protocols import Runner
from costmodel.registry import RUNNERS, load_runner, runner_names


def test_the_built_in_runners_are_registered_like_any_other() -> None:
    assert {"fake", "ort"} <= set(runner_names())
    assert list(runner_names()) == sorted(runner_names())


@pytest.mark.parametrize("name", ["fake", "ort"])
def test_a_runner_is_made_with_its_options(name: str) -> None:
    runner = load_runner(name, {"threads": 2})
    assert isinstance(runner, Runner)
    assert runner.device.threads == 2
    assert load_runner(name).device.threads == 1


def test_an_unknown_runner_lists_those_that_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"no runner named 'nope'.*: .*fake, .*ort"):
        load_runner("nope")


@pytest.mark.parametrize("name", ["fake", "ort"])
def test_an_unknown_option_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"(does not take|has no option).*'wings'"):
        load_runner(name, {"wings": 2})


def test_an_address_goes_to_the_runner_of_its_scheme() -> None:
    with pytest.raises(InvalidInputError, match="no option 'address'"):
        load_runner("ort://a:1", {"threads": 2})
    with pytest.raises(InvalidInputError, match=r"no runner named 'carrier'"):
        load_runner("carrier://pigeon")
    with pytest.raises(InvalidInputError, match="needs a board's address: --runner ssh://HOST"):
        load_runner("ssh")


def test_a_bad_value_is_named() -> None:
    with pytest.raises(InvalidInputError, match="threads"):
        load_runner("ort", {"threads": 0})
    with pytest.raises(InvalidInputError, match="threads"):
        load_runner("fake", {"threads": 0})
    with pytest.raises(InvalidInputError, match="'threads': 'many'"):
        load_runner("ort", {"threads": "many"})
    with pytest.raises(InvalidInputError, match="'threads': inf"):
        load_runner("ort", {"threads": float("inf")})


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make source text the only runner, named ``mine``."""
    monkeypatch.syspath_prepend(tmp_path)

    def register(source: str) -> None:
        (tmp_path / "my_board_runner.py").write_text(source)
        found = [EntryPoint(name="mine", value="my_board_runner:make", group=RUNNERS)]
        monkeypatch.setattr(registry, "entry_points", lambda **_: found)

    yield register
    sys.modules.pop("my_board_runner", None)


PlugIn = Callable[[str], None]


def test_a_plug_in_is_found_by_its_name(plug_in: PlugIn) -> None:
    plug_in("from costmodel.runners.fake import FakeRunner as make")
    assert runner_names() == ("mine",)
    assert load_runner("mine", {"speed": 2.0}).device.runtime == "fake"


def test_a_missing_package_keeps_its_own_message(plug_in: PlugIn) -> None:
    plug_in(
        "from costmodel.errors import MissingDependencyError\n"
        "def make():\n"
        "    raise MissingDependencyError('boardlib', 'board', 'Timing on the board')\n"
    )
    with pytest.raises(MissingDependencyError, match=r"pip install 'morphnet-latency\[board\]'"):
        load_runner("mine")


@pytest.mark.parametrize("source", ["import no_such_board_library", "unmake = None"])
def test_a_plug_in_that_cannot_be_imported_is_named(plug_in: PlugIn, source: str) -> None:
    plug_in(source)
    with pytest.raises(InvalidInputError, match=r"'mine' \(my_board_runner:make\) cannot be"):
        load_runner("mine")
