"""Progress: what is shown where."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import costmodel as cm
from costmodel.uses import progress as module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which goes on when a test says so."""
    now = [100.0]
    monkeypatch.setattr("costmodel.uses.progress.time.perf_counter", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    shown = cm.progress("Timing")
    shown.start(40)
    shown.advance(1, 40, 200.0, "a")
    clock[0] += module.LINE_EVERY_S
    shown.advance(20, 40, 100.0, "b")
    shown.stop()
    written = capsys.readouterr()
    assert written.err.splitlines() == [
        "Timing: 40 visits to make.",
        "Timing: 20 of 40 visits, 1 min 40 s left. b",
    ]
    assert written.out == ""


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = cm.progress("Timing")
    shown.start(4)
    shown.advance(2, 4, 3.0, "conv [1x1]")
    shown.stop()
    assert "2/4" in capsys.readouterr().err


class Handle:
    """An output of a notebook: everything that it has shown."""

    def __init__(self, first: str) -> None:
        self.shown = [first]

    def update(self, text: str) -> None:
        self.shown.append(text)


def test_a_notebook_gets_a_bar_that_is_drawn_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    handles: list[Handle] = []

    def display(text: str, *, display_id: bool) -> Handle:
        assert display_id
        handles.append(Handle(text))
        return handles[-1]

    notebook: Any = ModuleType("IPython")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())
    shows: Any = ModuleType("IPython.display")
    shows.display, shows.HTML = display, lambda text: text
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    shown = cm.progress("Profiling <x>")
    shown.start(10)
    for done in range(1, 11):
        clock[0] += module.DRAW_EVERY_S / 2
        shown.advance(done, 10, 10.0 - done, "conv <1>")
    shown.stop()
    (handle,) = handles
    assert len(handle.shown) == 1 + 5 + 1
    assert '<progress value="1" max="10">' in handle.shown[1]
    assert "Profiling &lt;x&gt;: 1 of 10 visits, 9 s left <small>conv &lt;1&gt;" in handle.shown[1]
    assert "10 of 10 visits, took 2 s" in handle.shown[-1]
    assert capsys.readouterr().err == ""


def test_a_shell_without_a_kernel_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell: Any = ModuleType("IPython")
    shell.get_ipython = lambda: SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert isinstance(cm.progress("Timing"), module._Lines)
