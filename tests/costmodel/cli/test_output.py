"""What verbs write where: colours, and what they leave alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]  # the fixture's
CODE = "\x1b["


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_file_gets_no_colours(run: Run, table: Path) -> None:
    assert CODE not in run("show", table).out


def test_a_terminal_gets_colours_in_tables_alone(
    run: Run, table: Path, on_a_terminal: None
) -> None:
    assert CODE in run("show", table).out
    for form in ("--json", "--markdown"):
        assert CODE not in run("show", table, form).out


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nobody_gets_colours_who_wants_none(
    run: Run, table: Path, on_a_terminal: None, monkeypatch: pytest.MonkeyPatch, name: str,
    value: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    assert CODE not in run("show", table).out


def test_texts_round_and_json_does_not(run: Run, net: Path, table: Path) -> None:
    arguments = ("predict", net, "--table", table)
    full = run(*arguments, "--json").json["predicted_ms"]
    text = run(*arguments).out
    assert f"{full:.3g}" in text
    assert str(full) not in text
    assert len(str(full)) > 10
