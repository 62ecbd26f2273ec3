"""Verbs that price networks: predict and compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from architectures import network_file
from legacy_keras import resnet8, save_as_keras_2
from rows import ADD, conv, law_table, row

from costmodel.runners.fake import FakeRunner, law_ms
from costmodel.table import LatencyTable

Run = Callable[..., Any]  # the fixture's


def test_predict_by_regression_names_every_layer(run: Run, net: Path, table: Path) -> None:
    found = run("predict", net, "--table", table, "--json")
    assert found.code == 0
    assert [item["name"] for item in found.json["ops"]] == ["conv0", "conv1", "add2", "session"]
    assert "Slowest layers" in run("predict", net, "--table", table).out


def test_predict_warns_of_what_has_no_price(run: Run, net: Path, tmp_path: Path) -> None:
    path = law_table(tmp_path / "part.jsonl", [conv()])
    found = run("predict", net, "--table", path, "--cost", "lookup", "--json")
    assert (found.code, len(found.json["unpriced"])) == (0, 3)
    assert "3 layers have no price" in found.err
    strict = run("predict", net, "--table", path, "--cost", "lookup", "--strict")
    assert strict.code == 1


def test_predict_counts_need_no_table(run: Run, net: Path) -> None:
    found = run("predict", net, "--cost", "flops", "--runner", "fake", "--json")
    assert (found.json["unit"], found.json["predicted_ms"]) == ("flops", None)
    assert found.json["total"] > 2 * (conv().macs + conv(128, 64).macs)


def test_predict_from_a_datasheet_is_an_estimate(run: Run, net: Path) -> None:
    found = run("predict", net, "--cost", "roofline:t4", "--runner", "fake", "--json")
    assert found.json["provenance"] == "estimated"
    assert found.json["predicted_ms"] > 0


def test_predict_for_another_device_anticipates_instead_of_asking(run: Run, tmp_path: Path) -> None:
    path = law_table(
        tmp_path / "board.jsonl", [conv(), ADD], name="board", runtime="onnxruntime", isa="avx2"
    )
    found = run("predict", network_file("mnist"), "--table", path, "--cost", "lookup", "--json")
    # No row of this table is a kernel of that network: no total is a finding.
    assert (found.code, found.json["source"]) == (1, "anticipated")
    assert "anticipated by rule" in found.err
    assert "this is another device" in found.err


def test_compare_above_the_limit_is_a_finding(run: Run, net: Path, tmp_path: Path) -> None:
    slow = FakeRunner().device
    rows = [row(op, 2 * law_ms(op), 2 * law_ms(op)) for op in FakeRunner().lower(net, {}).ops]
    path = tmp_path / "slow.jsonl"
    LatencyTable(slow, rows).save(path)
    arguments = ("compare", net, "-t", path, "--cost", "lookup", "--rounds", 2)
    above = run(*arguments, "--max-error", "0.1")
    assert (above.code, "Error above 10 %: net." in above.err) == (1, True)
    assert run(*arguments, "--max-error", "1.5").code == 0
    assert "This machine is faster than when the table was made" in above.out
    assert "at this pace" in above.out
    assert run(*arguments).code == 0


def test_compare_with_another_device_must_be_asked_for(run: Run, net: Path, tmp_path: Path) -> None:
    path = law_table(tmp_path / "b.jsonl", FakeRunner().lower(net, {}).ops, name="board")
    arguments = ("compare", net, "-t", path, "--cost", "lookup", "--rounds", 2, "--json")
    refused = run(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "--other-device" in refused.err
    allowed = run(*arguments, "--other-device")
    assert allowed.code == 0
    assert "Predicted for board" in allowed.err
    assert allowed.json[0]["predicted_for"] != allowed.json[0]["measured_on"]


def test_compare_draws(run: Run, net: Path, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the report extra")
    found = run("compare", net, "-t", table, "--rounds", 2, "--plot", tmp_path / "c.png", "--json")
    assert (found.code, len(found.json)) == (0, 1)
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_keras_file_is_exported_on_the_fly(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="needs the keras extra")
    keras = pytest.importorskip("keras", reason="needs the keras extra")
    model = save_as_keras_2(resnet8(keras), tmp_path / "resnet8.h5")
    done = run("predict", model, "--cost", "params", "--json")
    data = done.json
    assert (data["model"], data["source"]) == ("resnet8", "written")
    assert data["total"] == pytest.approx(78_666, rel=0.02)
    assert "Exporting" in done.err
