"""A new device that starts from another device's table, on fake devices of two speeds."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import costmodel as cm
from costmodel.cli import app
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner, write_model
from costmodel.sampling import select

FAST, SLOW = FakeRunner(), FakeRunner(speed=0.25)
CONVS = [conv_op(in_channels=c, out_channels=32, size=(9, 9), kernel=(3, 3)) for c in range(9, 99)]


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


def table_of(runner: FakeRunner, ops: list[Op], path: Path) -> Path:
    table = cm.LatencyTable(runner.device, [measured(op, runner.law_ms(op)) for op in ops])
    table.save(path)
    return path


def measured(op: Op, latency_ms: float) -> Measurement:
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=0.01)


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a fast device."""
    return table_of(FAST, CONVS[::3], tmp_path_factory.mktemp("donor") / "fast.jsonl")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of a slow one."""
    return table_of(SLOW, CONVS[1::8], tmp_path_factory.mktemp("board") / "slow.jsonl")


def test_a_few_rows_and_a_donor_price_what_the_rows_do_not(board: Path, donor: Path) -> None:
    cost = cm.fit(board, donors=[donor])
    assert cost.device == SLOW.device
    truth = np.array([SLOW.law_ms(op) for op in CONVS])
    helped = np.abs(np.log(cost.price(CONVS).values / truth)).mean()
    assert helped < 0.15


def test_a_profile_measures_what_tells_most_beside_a_donor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "_FEWEST_CANDIDATES", 24)
    shipped = "amd-epyc-family-25-model-17/litert-float32-t2"
    report = cm.profile(tmp_path / "t.jsonl", samples=6, donors=shipped, thinned=0, rounds=2)
    assert len(report.table) == 6
    assert {"session", "conv"} < {op.kind for op in report.table}


def test_it_is_told_whose_prices_count(
    board: Path, donor: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="costmodel"):
        cm.fit(board, donors=str(donor))
    assert "% its own law" in caplog.text
    assert "fake, float32, 1 thread;" in caplog.text


def test_an_empty_table_is_priced_by_its_donor(donor: Path) -> None:
    nobody = cm.LatencyTable(Device(name="nobody", runtime="fake"))
    prices = cm.fit(nobody, donors=donor).price(CONVS[:3])
    np.testing.assert_allclose(prices.high, 10.0 * prices.values)
    assert len(prices.extrapolated) == 3


def test_predictions_and_the_command_line_take_donors(
    board: Path, donor: Path, tmp_path: Path
) -> None:
    network = tmp_path / "net.json"
    write_model(network, [CONVS[20], CONVS[40]])
    found = cm.predict(network, board, donors=[donor], runner=SLOW)
    plain = cm.predict(network, board, runner=SLOW)
    assert found.total > 0
    assert found.total != plain.total
    command = ["predict", str(network), "--table", str(board), "--runner", "fake"]
    done = CliRunner().invoke(
        app, [*command, "--runner-option", "speed=0.25", "--donor", str(donor), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert f'"predicted_ms": {found.total!r}' in done.output


def test_a_donor_that_cannot_help_is_refused(board: Path, donor: Path) -> None:
    with pytest.raises(InvalidInputError, match="is of the table's own device"):
        cm.fit(board, donors=board)
    with pytest.raises(InvalidInputError, match="is of the table's own device"):
        cm.profile(donor, runner=FAST, samples=5, donors=donor)
    nothing = cm.LatencyTable(Device(name="nobody", runtime="fake"))
    with pytest.raises(InvalidInputError, match="nothing to give"):
        cm.fit(board, donors=nothing)
    with pytest.raises(InvalidInputError, match="A lookup answers stored rows alone"):
        cm.fit(board, "lookup", donors=donor)
    with pytest.raises(InvalidInputError, match="Donors help a table's regression"):
        cm.predict(onnx.ModelProto(), cost="flops", donors=donor)
