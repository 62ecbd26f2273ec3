from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from costmodel.costs.counts import Bytes, Flops
from costmodel.costs.roofline import (
    DATASHEETS,
    ORIGINAL_DEVICES,
    REACHED_SHARE,
    Datasheet,
    Roofline,
)
from costmodel.errors import InvalidInputError
from costmodel.op import SESSION, Op, conv_op
from costmodel.testing import UNKNOWN_OP, ops

SHEET = Datasheet(
    name="toy",
    peak_flops={"float32": 1e12, "float16": 2e12},
    bandwidth_bytes_per_s=1e11,
    overhead_ms=0.5,
    source="invented",
)
BUSY = conv_op(in_channels=256, out_channels=256, size=(56, 56), kernel=(3, 3))
LIGHT = Op(kind="relu", inputs=((1, 10**6),), outputs=((1, 10**6),))


def one(cost: Roofline, op: Op) -> float:
    return float(cost.price([op]).values[0])


def test_the_larger_of_arithmetic_and_memory_counts() -> None:
    roofline = Roofline(SHEET)
    assert BUSY.macs * 2 / 1e12 * 1e3 + 0.5 == pytest.approx(one(roofline, BUSY))
    assert pytest.approx(one(roofline, LIGHT)) == 8e6 / 1e11 * 1e3 + 0.5


def test_the_element_type_chooses_the_peak() -> None:
    assert BUSY.macs * 2 / 2e12 * 1e3 + 0.5 == pytest.approx(one(Roofline(SHEET, "float16"), BUSY))
    with pytest.raises(InvalidInputError, match=r"no peak for 'int8', only for: float16, float32"):
        Roofline(SHEET, "int8")


@given(ops())
def test_no_op_is_faster_than_either_roof(op: Op) -> None:
    price = one(Roofline(SHEET), op)
    assert price >= 0.5 + Flops().price([op]).values[0] / 1e12 * 1e3 - 1e-12
    assert price >= 0.5 + Bytes().price([op]).values[0] / 1e11 * 1e3 - 1e-12


def test_the_interval_ends_where_a_kernel_reaches_little_of_the_roof() -> None:
    prices = Roofline(SHEET).price([BUSY])
    roof_ms = prices.values[0] - 0.5
    np.testing.assert_array_equal(prices.values, prices.low)
    assert prices.high[0] == pytest.approx(0.5 + roof_ms / REACHED_SHARE)


def test_the_session_costs_the_overhead_and_has_no_price_without_one() -> None:
    session = Op(kind=SESSION)
    assert one(Roofline(SHEET), session) == 0.5
    prices = Roofline(replace(SHEET, overhead_ms=0.0)).price([BUSY, session])
    assert np.isnan(prices.values).tolist() == [False, True]
    assert "one run of a model" in prices.reasons[1]


def test_what_cannot_be_counted_has_no_price() -> None:
    strange = replace(LIGHT, dtype="str")
    prices = Roofline(SHEET).price([UNKNOWN_OP, strange])
    assert np.isnan(prices.values).all()
    assert "no_such_kernel" in prices.reasons[0]
    assert "'str'" in prices.reasons[1]


def test_estimates_are_labelled_as_such() -> None:
    roofline = Roofline(DATASHEETS["v100"], "float16")
    assert roofline.device.provenance == "estimated"
    assert roofline.name == "roofline of NVIDIA V100 SXM2, float16 (estimated)"
    assert roofline.device.fingerprint != Roofline(DATASHEETS["v100"]).device.fingerprint


@pytest.mark.parametrize(
    "wrong",
    [
        {"peak_flops": {}},
        {"peak_flops": {"float32": 0.0}},
        {"bandwidth_bytes_per_s": float("nan")},
        {"overhead_ms": -1.0},
        {"overhead_ms": float("inf")},
    ],
)
def test_refuses_datasheets_that_no_device_has(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="'toy'"):
        replace(SHEET, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", sorted(DATASHEETS))
def test_shipped_datasheets_name_their_source_and_are_consistent(key: str) -> None:
    sheet = DATASHEETS[key]
    assert sheet.source
    width = {"float64": 8, "float32": 4, "tfloat32": 3, "float16": 2, "bfloat16": 2, "int8": 1}
    by_width = sorted(sheet.peak_flops, key=lambda dtype: -width[dtype])
    peaks = [sheet.peak_flops[dtype] for dtype in by_width]
    assert sorted(peaks) == peaks, "narrower elements are never slower"
    # Every device of its time needs more FLOPs than bytes to be busy, by far less than 1000.
    assert 1 < max(peaks) / sheet.bandwidth_bytes_per_s < 1000


def test_the_original_morphnets_devices_have_its_numbers() -> None:
    """GFLOP/s and GB/s as its table has them."""
    expected = {
        "K80": (8740, 480), "P4": (5500, 192), "T4": (8100, 300), "P100": (9300, 732),
        "V100": (125000, 900), "TPUv2": (22500, 300), "FLOP_LATENCY": (1, 1e20),
        "MEMORY_LATENCY": (1e20, 1),
    }  # fmt: skip
    found = {
        name: (sheet.peak_flops["float32"] / 1e9, sheet.bandwidth_bytes_per_s / 1e9)
        for name, sheet in ORIGINAL_DEVICES.items()
    }
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        assert found[name] == pytest.approx(numbers)
    assert all("resource_function.py" in sheet.source for sheet in ORIGINAL_DEVICES.values())
