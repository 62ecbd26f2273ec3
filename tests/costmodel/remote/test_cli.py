"""The verbs on a board: they take an address where they take a runner's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Ended, Run, runs
from ssh_server import SshServer

from costmodel.cli import main
from costmodel.table import LatencyTable


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], board: SshServer) -> Run:
    def call(*arguments: object) -> Ended:
        options = [f"--runner-option={name}={value}" for name, value in board.options.items()]
        return runs(main, capsys)(*arguments, "--runner", board.address, *options, "--json")

    return call


def test_devices_describes_one_board(run: Run) -> None:
    code, out, _ = run("devices", "--threads", "2", "--runner-option=cores=0-1")
    (found,) = json.loads(out)["runners"]
    assert (code, found["usable"]) == (0, True), found
    assert found["device"].endswith("float32, 2 threads")


def test_a_board_is_profiled_and_held_against_its_own_table(
    run: Run, tmp_path: Path, small_model: Path
) -> None:
    table = tmp_path / "board.jsonl"
    size = ("--size", "side=12")
    code, out, err = run(
        "profile", "--models", small_model, *size, "--samples", 0, "--thinned", 0,
        "--rounds", 2, "--out", table,
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["rows"] == found["ok"] + found["noisy"] > 4
    rows = LatencyTable.load(table)
    assert rows.device.state["address"].startswith("ssh://127")
    assert {"load", "load_after"} <= set(rows.device.state)
    code, out, err = run(
        "compare", small_model, *size, "--table", table, "--cost", "lookup", "--rounds", 2
    )
    assert code == 0, err
    (compared,) = json.loads(out)
    assert compared["predicted_ms"] > 0
    assert compared["measured_ms"] > 0
    assert compared["priced_share"] == pytest.approx(1.0)


def test_a_board_that_cannot_be_reached_ends_a_verb_without_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["profile", "--runner", "ssh://127.0.0.1:1", "--out", str(tmp_path / "t.jsonl")])
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert "127.0.0.1" in written.err
    assert "Traceback" not in written.err
