"""Rows gathered into Measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.tidy.repeats import REPEATS_AGREE, disagreement
from costmodel.tidy.rows import Rows

ROW: Mapping[str, object] = {
    "kind": "conv2d",
    "device": "board",
    "runtime": "lib",
    "height": 8,
    "in_channels": 16,
    "out_channels": 32,
    "kernel": 3,
    "padding": "same",
    "latency_ms": 1.0,
}


def gathered(*rows: Mapping[str, object]) -> Rows:
    found = Rows()
    found.add(pd.DataFrame([{**ROW, **row} for row in rows]))
    return found


def test_repeats_are_one_row_with_their_median_and_spread() -> None:
    rows = gathered({"latency_ms": 1.0}, {"latency_ms": 1.1}, {"latency_ms": 1.05})
    (device,) = rows.devices
    ((first, row),) = rows.measurements(device)
    assert (first, row.latency_ms, rows.repeats(device)) == (1, 1.05, 2)
    assert row.spread == pytest.approx(1.1 / 1.025 - 1)
    assert (device.provenance, row.rounds, row.status) == ("imported", (), "ok")


def test_the_deviation_of_a_single_row_is_its_spread() -> None:
    rows = gathered({"latency_ms": 2.0, "deviation_ms": 0.1})
    ((_, row),) = rows.measurements(rows.devices[0])
    assert row.spread == pytest.approx(0.05)


def test_a_single_row_whose_runs_disagree_is_left_out() -> None:
    rows = gathered({"latency_ms": 2.0, "deviation_ms": 1.2})
    assert list(rows.measurements(rows.devices[0])) == []
    assert [item.problem for item in rows.left_out.values()] == ["is more than half of the time"]


def test_repeats_that_disagree_are_left_out_with_their_rows() -> None:
    rows = gathered({"latency_ms": 1.0}, {"latency_ms": 1.5})
    assert list(rows.measurements(rows.devices[0])) == []
    (item,) = rows.left_out.values()
    assert (item.count, item.column, item.problem) == (2, "latency", "of repeats disagrees")


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9))
def test_a_row_is_within_its_repeats(times: Sequence[float]) -> None:
    rows = gathered(*({"latency_ms": time} for time in times))
    found = list(rows.measurements(rows.devices[0]))
    assert bool(found) == (not disagreement(times) > REPEATS_AGREE)
    for _, row in found:
        assert min(times) <= row.latency_ms <= max(times)


def test_pieces_of_a_file_are_one_file() -> None:
    whole, pieces = gathered({}, {"height": 9}, {"latency_ms": 1.1}), Rows()
    for row in ({}, {"height": 9}, {"latency_ms": 1.1}):
        pieces.add(pd.DataFrame([{**ROW, **row}]))
    (device,) = whole.devices
    assert list(pieces.measurements(device)) == list(whole.measurements(device))


def test_one_kernel_in_two_spellings_keeps_the_order_of_its_repeats() -> None:
    times = [1.0, 1.2, 1.0, 1.1, 1.0, 1.2, 1.1]
    words = ["conv2d", "Conv2D", "conv", "conv2d", "Conv2D", "conv", "conv"]
    rows = gathered(
        *({"kind": w, "latency_ms": t} for w, t in zip(words, times, strict=True)),
        {"kind": "teleport"},
        {"latency_ms": math.nan},
    )
    ((first, row),) = rows.measurements(rows.devices[0])
    assert (first, row.latency_ms, row.spread) == (1, 1.1, disagreement(times))
    # What is seen first is told first.
    assert [(item.column, item.rows) for item in rows.left_out.values()] == [
        ("op", [8]),
        ("latency", [9]),
    ]


def test_a_device_for_each_hardware_runtime_threads_and_element_type() -> None:
    rows = gathered(
        {}, {"device": "other"}, {"runtime": "new"}, {"dtype": "fp16"}, {"threads": 2}, {}
    )
    assert [d.slug for d in rows.devices] == [
        "board/lib-float32",
        "other/lib-float32",
        "board/new-float32",
        "board/lib-float16",
        "board/lib-float32-t2",
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"latency_ms": math.nan}, "latency is missing"),
        ({"latency_ms": 0.0}, "latency is no time (0 ms)"),
        ({"latency_ms": math.inf}, "latency is no time (inf ms)"),
        ({"kind": "teleport"}, "op cannot be used ('teleport' is no kind of kernel"),
        ({"kind": "conv2d_bwd_input"}, "op cannot be used ('conv2d_bwd_input' is a step of train"),
        ({"dtype": "complex64"}, "dtype cannot be used ('complex64' is no element type"),
        ({"height": 8.5}, "height is no whole number (8.5)"),
        ({"height": None}, "height is missing, which a conv needs"),
        ({"device": None}, "device is missing"),
    ],
)
def test_rows_that_cannot_be_used_are_counted_by_column_and_reason(
    row: Mapping[str, object], told: str
) -> None:
    rows = gathered({}, row, row)
    (item,) = rows.left_out.values()
    assert str(item).startswith(f"2 rows left out: {told}")
    assert str(item).endswith("; rows 2, 3")
    assert len(list(rows.measurements(rows.devices[0]))) == 1
