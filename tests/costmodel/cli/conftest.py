"""What tests of the command line share: a way to run it, a network and its table."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from command_line import Run, runs
from rows import ADD, conv, law_table

from costmodel.cli import main
from costmodel.runners.fake import FakeRunner, write_model


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""
    return runs(main, capsys)


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake device's lock is one per machine: tests that run at once need one each."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.json", [conv(), conv(128, 64), ADD])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows of every Op of ``net``, and enough convolutions to hold some out."""
    session = FakeRunner().lower(write_model(tmp_path / "n.json", [conv(), ADD]), {}).layers[-1].op
    widths = [conv(width, into) for into in (32, 64) for width in range(8, 136, 8)]
    return law_table(tmp_path / "t.jsonl", [*widths, ADD, session])
