"""Reports: what people read has the units, the doubts and the provenance."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan

import pytest

from costmodel.audit import audit, repeatability
from costmodel.comparison import Comparison
from costmodel.costs.lookup import Lookup
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.prediction import Prediction, price_network
from costmodel.report import (
    Sheet,
    audit_sheets,
    comparison_sheets,
    prediction_sheets,
    score_sheets,
    table_sheets,
    table_summary,
    to_markdown,
    to_text,
)
from costmodel.table import LatencyTable

BOARD = Device(name="board", runtime="fake", threads=2, isa="avx2", caches=(32768, 1 << 20))
CONV = conv_op(in_channels=64, out_channels=64, size=(28, 28), kernel=(3, 3), epilogue=("relu",))
ADD = Op(kind="add", inputs=((1, 8),) * 2, outputs=((1, 8),))


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def table() -> LatencyTable:
    failed = Measurement.from_rounds(
        Op(kind="lrn", inputs=((1, 8),), outputs=((1, 8),)),
        (),
        status="crashed",
        reason="signal 11",
    )
    rows = [
        row(CONV, 1.0, 1.01),
        row(ADD, 0.01, 0.02),
        failed,
        row(model_op("net", "0", (CONV,)), 1.1),
    ]
    return LatencyTable(BOARD, rows)


def prediction(shares: tuple[float, float] = (0.9, 0.1)) -> Prediction:
    layers = (
        Layer(name="first", op=CONV, share=shares[0]),
        Layer(name="odd", op=Op(kind="einsum"), share=shares[1]),
    )
    network = Network(name="net", layers=layers, source="anticipated")
    return price_network(network, Lookup(table()), device=BOARD)


def comparison(spread: float = 0.01) -> Comparison:
    return Comparison(
        prediction=prediction(),
        measurement=row(model_op("net", "0", ()), 2.0, 2.0 + spread),
        device=BOARD,
    )


def test_table_report_names_device_provenance_and_what_failed() -> None:
    text = to_text(table_sheets(table()))
    assert "board, fake, float32, 2 threads" in text
    assert "provenance" in text
    assert "measured" in text
    assert "signal 11" in text
    assert "32 KiB, 1 MiB" in text


def test_table_report_has_the_best_rate_of_each_path() -> None:
    gmacs = CONV.macs / 1.0 / 1e6
    assert f"{gmacs:.1f}" in to_text(table_sheets(table()))
    paths = json.loads(json.dumps(table_summary(table())))["paths"]
    (conv,) = [item for item in paths if item["kind"] == "conv"]
    assert conv["best_gmacs"] == pytest.approx(gmacs)
    assert (conv["least_ms"], conv["most_ms"], conv["rows"]) == (1.0, 1.0, 1)


def test_table_report_without_rows_says_so() -> None:
    empty = LatencyTable(BOARD)
    assert "none yet" in to_text(table_sheets(empty))
    assert table_summary(empty)["rows"] == 0


def test_table_report_without_convolutions_has_no_span_of_them() -> None:
    assert "Span" not in to_text(table_sheets(LatencyTable(BOARD, [row(ADD, 1.0)])))


def test_table_summary_is_plain_json() -> None:
    data = json.loads(json.dumps(table_summary(table()), allow_nan=False))
    assert data["statuses"] == {"ok": 2, "noisy": 1, "crashed": 1}
    assert data["networks"][0]["model"] == "net"
    assert data["ranges"]["conv"]["input channels"] == [64, 64]
    assert data["repeatability"]["rows"] == 2


def test_prediction_report_shows_unpriced_layers_and_their_share() -> None:
    text = to_text(prediction_sheets(prediction()))
    assert "1 of 2 layers, 90.0 % of the time" in text
    assert "scaled from the 90.0 % of the time that has a price" in text
    assert "odd" in text
    assert "no row of kind 'einsum'" in text
    assert "anticipated: by rule" in text
    assert "board, fake, float32, 2 threads (measured)" in text


def test_prediction_report_says_when_the_share_of_time_is_unknown() -> None:
    text = to_text(prediction_sheets(prediction((nan, nan))))
    assert "their share of the time is not known" in text


def test_prediction_report_lists_the_slowest_layers_first_and_counts_the_rest() -> None:
    layers = tuple(Layer(name=f"l{i}", op=op) for i, op in enumerate((ADD, CONV, ADD)))
    found = price_network(Network(name="net", layers=layers), Lookup(table()))
    slowest = prediction_sheets(found, top=1)[2]
    assert [cells[0] for cells in slowest.rows] == ["l1"]
    assert slowest.notes[0].startswith("2 more layers")


def test_comparison_report_shows_both_numbers_and_the_ceiling() -> None:
    text = to_text(comparison_sheets([comparison(), comparison()]), width=140)
    assert "-44.4 %" in text  # 1 ms for 90 % of the time, so 1.11 ms of 2
    assert "repeats" in text
    assert "median repeatability" in text
    assert "the same device" in text
    assert "1 layers have no price; the total is scaled for them (einsum)" in text


def test_comparison_report_names_both_devices_when_they_differ() -> None:
    other = replace(comparison(), device=replace(BOARD, name="laptop"))
    text = to_text(comparison_sheets([other]), width=200)
    assert "Measured on laptop" in text
    assert "a table of board" in text


def test_audit_report_groups_findings_and_says_what_to_do() -> None:
    noisy = table()
    text = to_text(audit_sheets(audit(noisy), repeatability(noisy), len(noisy)))
    assert "Noisy rows" in text
    assert "crashed: signal 11" in text
    assert "To do:" in text


def test_audit_report_of_a_good_table_says_that_it_is_good() -> None:
    good = LatencyTable(BOARD, [row(CONV, 1.0, 1.0)])
    assert "No row looks wrong." in to_text(audit_sheets((), repeatability(good), len(good)))


def test_score_report_sets_the_model_beside_baselines_and_repeatability() -> None:
    figures = {"mape": 0.04, "within_5": 0.7, "within_10": 0.9}
    score = {
        "rows": 100,
        "held_out": 20,
        **figures,
        "baselines": {"flops line": figures | {"mape": 0.5}},
        "repeatability": {"mape": 0.02, "within_5": None, "within_10": 1.0},
    }
    (sheet,) = score_sheets(score)
    assert sheet.rows == (
        ("the table's regression", "4.0 %", "70.0 %", "90.0 %"),
        ("flops line", "50.0 %", "70.0 %", "90.0 %"),
        ("the table's own repeatability", "2.0 %", "-", "100.0 %"),
    )


def test_markdown_escapes_what_would_break_a_table() -> None:
    sheet = Sheet(title="t", columns=("a", "b"), rows=(("x|y", "1\n2"),), align="lr")
    assert to_markdown([sheet]).splitlines() == [
        "### t",
        "",
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1 2 |",
    ]


def test_text_never_cuts_a_long_name() -> None:
    name = "layer/" * 30
    sheet = Sheet(title="t", columns=("a", "b"), rows=((name, "1"),), align="lr")
    text = to_text([sheet], width=60)
    assert "".join(text.replace("1", "").split()).count("layer/") == 30
    assert max(map(len, text.splitlines())) <= 60
