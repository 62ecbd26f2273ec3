from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.costs.lookup import UNKNOWN_SPREAD, Lookup
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.table import LatencyTable
from costmodel.testing import example_ops, ops

DEVICE = Device(name="board", runtime="fake")


def pointwise(width: int) -> Op:
    return conv_op(in_channels=16, out_channels=width, size=(8, 8), kernel=(1, 1))


def measured(op: Op, *times_ms: float) -> Measurement:
    rounds = (Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms))
    return Measurement.from_rounds(op, rounds)


def test_a_row_is_priced_with_the_spread_of_its_halves() -> None:
    op = pointwise(16)
    prices = Lookup(LatencyTable(DEVICE, [measured(op, 1.0, 1.04, 1.1, 1.2)])).price([op])
    assert prices.values.tolist() == [1.0]
    assert prices.low.tolist() == pytest.approx([0.96])
    assert prices.high.tolist() == pytest.approx([1.04])
    assert prices.exact is not None
    assert prices.exact.tolist() == [True]


def test_a_row_seen_once_has_the_interval_of_ignorance() -> None:
    op = pointwise(16)
    prices = Lookup(LatencyTable(DEVICE, [measured(op, 2.0)])).price([op])
    assert prices.low.tolist() == pytest.approx([2.0 * (1 - UNKNOWN_SPREAD)])
    assert prices.high.tolist() == pytest.approx([2.0 * (1 + UNKNOWN_SPREAD)])


def test_an_interval_never_goes_below_zero() -> None:
    op = pointwise(16)
    prices = Lookup(LatencyTable(DEVICE, [measured(op, 1.0, 5.0)])).price([op])
    assert prices.low.tolist() == [0.0]


def test_an_absent_op_names_the_nearest_row_of_its_kind() -> None:
    rows = [measured(pointwise(width), 1.0) for width in (16, 64, 256)]
    prices = Lookup(LatencyTable(DEVICE, rows)).price([pointwise(70), pointwise(64)])
    assert np.isnan(prices.values).tolist() == [True, False]
    assert "nearest of 3 conv: conv 1x1 16->64 @8x8" in prices.reasons[0]
    assert prices.exact is not None
    assert prices.exact.tolist() == [False, True]


def test_an_absent_kind_says_so() -> None:
    prices = Lookup(LatencyTable(DEVICE, [measured(pointwise(16), 1.0)])).price([Op(kind="lrn")])
    assert prices.reasons[0] == "the table has no row of kind 'lrn'"


def test_a_failed_row_has_no_price_and_is_nobodys_nearest() -> None:
    failed = Measurement.from_rounds(pointwise(16), [], status="crashed", reason="signal 11")
    lookup = Lookup(LatencyTable(DEVICE, [failed, measured(pointwise(64), 1.0)]))
    prices = lookup.price([pointwise(16), pointwise(17)])
    assert prices.reasons[0] == "its row has no number (crashed): signal 11"
    assert "conv 1x1 16->64" in prices.reasons[1]


def test_a_noisy_row_is_priced_with_its_wide_interval() -> None:
    row = measured(pointwise(16), 1.0, 1.5)
    assert row.status == "noisy"
    assert Lookup(LatencyTable(DEVICE, [row])).price([row.op]).high.tolist() == pytest.approx([1.5])


def test_a_whole_network_is_never_priced_although_it_has_a_row() -> None:
    row = measured(model_op("net", "0" * 16, (pointwise(16),)), 3.0)
    assert "whole network" in Lookup(LatencyTable(DEVICE, [row])).price([row.op]).reasons[0]


def test_an_empty_table_prices_nothing() -> None:
    listed = example_ops()
    prices = Lookup(LatencyTable(DEVICE)).price(listed)
    assert set(range(len(listed))) == set(prices.reasons)


@given(st.lists(ops(), min_size=1, max_size=8, unique=True), st.data())
def test_exactly_the_ops_of_the_table_have_a_price(listed: list[Op], data: st.DataObject) -> None:
    known = data.draw(st.sets(st.sampled_from(listed)))
    lookup = Lookup(LatencyTable(DEVICE, [measured(op, 1.0 + i) for i, op in enumerate(known)]))
    prices = lookup.price(listed)
    assert [op in known for op in listed] == np.isfinite(prices.values).tolist()
