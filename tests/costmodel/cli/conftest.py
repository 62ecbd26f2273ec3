"""What tests of the command line share: a way to run it, a network and its table."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from costmodel.cli import main
from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner, law_ms, write_model
from costmodel.table import LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Result(code=int(ended.value.code or 0), out=written.out, err=written.err)

    return call


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake device's lock is one per machine: tests that run at once need one each."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


def conv(width: int = 64, into: int = 32) -> Op:
    return conv_op(in_channels=into, out_channels=width, size=(14, 14), kernel=(3, 3))


ADD = Op(kind="add", inputs=((1, 64, 14, 14),) * 2, outputs=((1, 64, 14, 14),))


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def law_table(path: Path, ops: Sequence[Op], **device: object) -> Path:
    """A table of the fake device without a flaw."""
    identity = replace(FakeRunner().device, **device)  # type: ignore[arg-type]
    LatencyTable(identity, [row(op, law_ms(op), law_ms(op)) for op in ops]).save(path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.json", [conv(), conv(128, 64), ADD])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows of every Op of ``net``, and enough convolutions to hold some out."""
    session = FakeRunner().lower(write_model(tmp_path / "n.json", [conv(), ADD]), {}).layers[-1].op
    widths = [conv(width, into) for into in (32, 64) for width in range(8, 136, 8)]
    return law_table(tmp_path / "t.jsonl", [*widths, ADD, session])
