from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.audit import Finding, audit, repeatability
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op
from costmodel.table import LatencyTable

DEVICE = Device(name="board", runtime="fake")
ADD = Op(kind="add", inputs=((1, 8), (1, 8)), outputs=((1, 8),))


def conv(in_channels: int = 64, out_channels: int = 64, **sizes: Any) -> Op:
    shape: dict[str, Any] = {"size": (14, 14), "kernel": (3, 3), **sizes}
    return conv_op(in_channels=in_channels, out_channels=out_channels, **shape)


def row(op: Op, *quiet_ms: float) -> Measurement:
    rounds = [Round(number=n, quiet_ms=t, median_ms=1.1 * t) for n, t in enumerate(quiet_ms)]
    return Measurement.from_rounds(op, rounds)


def findings(
    rows: Iterable[Measurement], device: Device = DEVICE
) -> list[tuple[str, Op | None, str]]:
    found = audit(LatencyTable(device, rows))
    assert all(item.advice for item in found)
    return [(item.problem, item.op, item.detail) for item in found]


def problems(*rows: Measurement, device: Device = DEVICE) -> list[str]:
    return [problem for problem, _, _ in findings(rows, device)]


def steady(count: int, macs_per_ms: float = 1e6) -> list[Measurement]:
    """Convolutions of growing size that all run at one speed."""
    ops = [conv(out_channels=8 * (n + 1)) for n in range(count)]
    return [row(op, *[op.macs / macs_per_ms] * 2) for op in ops]


def test_a_sound_table_has_no_findings() -> None:
    imported = Measurement(op=ADD, latency_ms=0.1, median_ms=math.nan)
    assert problems(*steady(30), imported) == []


def test_noisy_and_failed_rows_are_found_with_their_reasons() -> None:
    crashed = Measurement.from_rounds(ADD, [], status="crashed", reason="signal 11")
    noisy = row(conv(), 1.0, 1.2)
    assert findings([crashed, noisy]) == [
        ("failed", ADD, "crashed: signal 11"),
        ("noisy", conv(), "halves of the rounds differ by 20.0%"),
    ]


def test_one_round_is_too_few_and_an_imported_row_needs_none() -> None:
    imported = Measurement(op=ADD, latency_ms=0.1, median_ms=0.1)
    assert findings([imported, row(conv(), 1.0)]) == [
        ("too_few_rounds", conv(), "1 round, at least 2 are needed to see noise")
    ]


@pytest.mark.parametrize(("factor", "expected"), [(2.9, []), (3.1, ["impossible"])])
def test_a_row_far_faster_than_all_others_is_impossible(factor: float, expected: list[str]) -> None:
    op = conv(size=(28, 28))
    fast = row(op, *[op.macs / (factor * 1e6)] * 2)
    assert problems(*steady(30), fast) == expected


def test_impossible_rows_do_not_vouch_for_each_other() -> None:
    ops = [conv(size=(size, size)) for size in (20, 24, 28)]
    fast = [row(op, *[op.macs / 50e6] * 2) for op in ops]
    assert problems(*steady(30), *fast) == ["impossible"] * 3


def test_few_rows_say_nothing_about_speed() -> None:
    op = conv(size=(28, 28))
    assert problems(*steady(10), row(op, *[op.macs / 50e6] * 2)) == []


def test_no_row_beats_the_processor() -> None:
    # 16 multiply-adds a cycle and core at 6 GHz: 96e6 a millisecond and core.
    device = Device(name="board", runtime="fake", isa="avx2", threads=2)
    op = conv()
    assert problems(row(op, *[op.macs / 190e6] * 2), device=device) == []
    ((problem, _, detail),) = findings([row(op, *[op.macs / 200e6] * 2)], device)
    assert (problem, detail) == ("impossible", "200 GMAC/s, the device's bound is 192")


def test_times_below_a_clock_tick_are_impossible() -> None:
    assert problems(row(ADD, 1e-7, 1e-7)) == ["impossible"]


def test_a_median_below_the_least_time_is_impossible() -> None:
    odd = Measurement(op=ADD, latency_ms=0.2, median_ms=0.1)
    assert problems(odd) == ["impossible"]


def test_an_edited_summary_is_found() -> None:
    edited = replace(row(ADD, 1.0, 1.0), latency_ms=0.5)
    assert findings([edited]) == [("inconsistent", ADD, "latency_ms is 0.5, its rounds say 1")]


def test_kernels_of_another_element_type_are_found_but_index_arithmetic_is_not() -> None:
    wrong = replace(conv(), dtype="int8")
    gather = Op(kind="gather", inputs=((4,),), outputs=((2,),), dtype="int64")
    assert findings([row(wrong, 1.0, 1.0), row(gather, 1.0, 1.0)]) == [
        ("dtype", wrong, "the row is int8, the table is of a float32 device")
    ]


def test_what_was_mended_on_loading_is_found(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    LatencyTable(DEVICE, [row(ADD, 1.0, 1.0)]).save(path)
    with path.open("a") as handle:
        handle.write('{"op": {"ki')
    (finding,) = audit(LatencyTable.load(path))
    assert (finding.problem, finding.op) == ("file", None)
    assert "cut short" in finding.detail


@pytest.mark.parametrize(
    ("fewer", "more"),
    [
        (conv(64, 63), conv(64, 64)),
        (conv(63, 64), conv(64, 64)),
        (conv(32, 32, groups=32), conv(48, 48, groups=48)),
        (
            replace(conv(64, 48), inputs=((1, 64, 14, 14), (1, 48, 14, 14))),
            replace(conv(64, 64), inputs=((1, 64, 14, 14), (1, 64, 14, 14))),
        ),
    ],
    ids=["out", "in", "depthwise", "fused sum"],
)
def test_fewer_channels_that_take_longer_are_told_as_information(fewer: Op, more: Op) -> None:
    (finding,) = audit(LatencyTable(DEVICE, [row(more, 1.0, 1.0), row(fewer, 1.6, 1.6)]))
    assert (finding.problem, finding.op) == ("fewer_channels_slower", fewer)
    assert finding.is_information
    assert finding.detail == f"takes 1.60 times as long as {more.label!r}"
    assert problems(row(more, 1.0, 1.0), row(fewer, 1.4, 1.4)) == []


@pytest.mark.parametrize(
    "other",
    [
        conv(64, 48, kernel=(5, 5)),
        conv(64, 48, size=(28, 28)),
        conv(64, 48, stride=2),
        conv(64, 48, epilogue=("relu",)),
        conv(48, 48),
        replace(conv(64, 48), layout="nchw8c"),
        replace(conv(64, 48), implementation="other"),
    ],
)
def test_only_ops_that_differ_in_one_sort_of_channels_are_held_against_each_other(
    other: Op,
) -> None:
    assert problems(row(conv(64, 64), 1.0, 1.0), row(other, 9.0, 9.0)) == []


def test_only_stairs_are_information() -> None:
    finding = Finding(op=None, problem="file", detail="", advice="")
    assert not finding.is_information


# --- repeatability --------------------------------------------------------------------------------


def test_repeatability_holds_even_rounds_against_odd_ones() -> None:
    rows = [
        row(conv(8), 1.0, 1.0, 5.0, 7.0),  # 0 %
        row(conv(16), 1.04, 1.0),  # 4 %
        row(conv(24), 0.92, 1.0, 3.0),  # 8 %
        row(conv(32), 1.5, 1.0),  # 50 %
        row(conv(40), 1.0),  # cannot be split
        Measurement(op=ADD, latency_ms=1.0, median_ms=1.0),
        replace(row(conv(48), 1.0, 9.0), status="crashed"),
        row(Op(kind="model", attributes=(("ops", ""),)), 1.0, 9.0),
    ]
    found = repeatability(LatencyTable(DEVICE, rows))
    assert found.rows == 4
    assert found.mape == pytest.approx(0.155)
    assert (found.within_5, found.within_10) == (0.5, 0.75)


def test_repeatability_of_nothing_is_unknown() -> None:
    found = repeatability(LatencyTable(DEVICE, [row(ADD, 1.0)]))
    assert found.rows == 0
    assert all(math.isnan(share) for share in (found.mape, found.within_5, found.within_10))


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=2, max_size=5), min_size=1, max_size=8))
def test_repeatability_shares_are_shares(times_ms: list[list[float]]) -> None:
    rows = [row(conv(n + 1), *times) for n, times in enumerate(times_ms)]
    found = repeatability(LatencyTable(DEVICE, rows))
    assert found.rows == len(times_ms)
    assert 0 <= found.within_5 <= found.within_10 <= 1
    assert found.mape >= 0
