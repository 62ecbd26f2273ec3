"""Predictions: sums, intervals, calibration, and that nothing is silently zero."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.calibration import Calibration
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.prediction import (
    LEAST_SHARE,
    SUMMATION_SHARE,
    WHOLE_SHARE,
    interval_of_sum,
    price_network,
)
from costmodel.protocols import Prices, Unit


class ListCost:
    """Prices Ops from a dict; an Op that is not in it has no price."""

    name = "list"
    device = None

    def __init__(
        self,
        values: dict[Op, float],
        *,
        unit: Unit = "ms",
        half: float = 0.0,
        extrapolated: Sequence[Op] = (),
    ) -> None:
        self.unit = unit
        self.values = values
        self.half = half
        self.outside = extrapolated
        self.calls = 0

    def price(self, ops: Sequence[Op]) -> Prices:
        self.calls += 1
        values = np.array([self.values.get(op, nan) for op in ops], dtype=np.float64)
        return Prices(
            values=values,
            low=values * (1 - self.half),
            high=values * (1 + self.half),
            reasons={
                i: f"no row for {op.kind}" for i, op in enumerate(ops) if op not in self.values
            },
            extrapolated={i: "too wide" for i, op in enumerate(ops) if op in self.outside},
            exact=np.array([self.half == 0.0] * len(ops)),
        )


#: Twice the sum, good to 10 %.
DOUBLE = Calibration(slope=2.0, networks={"a": 2.0}, interval_share=0.1)
SMALL = conv_op(in_channels=8, out_channels=8, size=(8, 8), kernel=(3, 3))
LARGE = conv_op(in_channels=64, out_channels=64, size=(8, 8), kernel=(3, 3))
ODD = Op(kind="einsum", inputs=((1, 8),), outputs=((1, 8),))


def network(*ops: Op, shares: Sequence[float] = (), **more: object) -> Network:
    layers = tuple(
        Layer(name=f"l{i}", op=op, share=shares[i] if shares else nan) for i, op in enumerate(ops)
    )
    return Network(name="net", layers=layers, **more)  # type: ignore[arg-type]


def test_total_is_the_sum_of_the_layers_asked_for_once() -> None:
    cost = ListCost({SMALL: 1.0, LARGE: 3.0})
    found = price_network(network(SMALL, LARGE, SMALL), cost)
    assert (found.predicted_ms, found.uncalibrated_ms) == (5.0, 5.0)
    assert [layer.share for layer in found.layers] == [0.2, 0.6, 0.2]
    assert [layer.basis for layer in found.layers] == ["exact"] * 3
    assert cost.calls == 1


def test_exact_rows_still_leave_the_doubt_of_summing_kernels() -> None:
    found = price_network(network(SMALL, LARGE), ListCost({SMALL: 1.0, LARGE: 3.0}))
    assert found.interval_ms == pytest.approx(
        (4 * (1 - SUMMATION_SHARE), 4 * (1 + SUMMATION_SHARE))
    )


def test_layer_without_a_price_is_listed_and_never_zero() -> None:
    found = price_network(network(SMALL, ODD, shares=(0.6, 0.2)), ListCost({SMALL: 1.0}))
    assert [(item.name, item.reason, item.share) for item in found.unpriced] == [
        ("l1", "no row for einsum", 0.2)
    ]
    assert found.priced_share == pytest.approx(0.75)
    assert found.priced_count_share == 0.5
    assert [layer.name for layer in found.layers] == ["l0"]


@given(share=st.floats(0.01, 0.999), time=st.floats(0.01, 100.0))
def test_a_total_stands_for_the_whole_time_or_there_is_none(share: float, time: float) -> None:
    """What has a price took ``share`` of the time: the whole is that much longer."""
    model = network(SMALL, ODD, shares=(share, 1.0 - share))
    found = price_network(model, ListCost({SMALL: share * time}))
    assert found.uncalibrated_ms == pytest.approx(share * time)
    assert found.to_json()["scaled"] is found.scaled
    if share < LEAST_SHARE:
        assert (found.predicted_ms, found.interval_ms, found.scaled) == (None, None, False)
        assert f"only {share:.0%} of its time has a price" in str(found)
        return
    assert found.scaled == (share < WHOLE_SHARE)
    assert found.predicted_ms == pytest.approx(time if found.scaled else share * time)
    assert ("scaled from" in str(found)) == found.scaled
    assert found.interval_ms is not None
    low, high = found.interval_ms
    assert low < time < high or not found.scaled
    if found.scaled:
        # What was added is doubted by half of itself, beside the doubt of any sum.
        assert high - time >= 0.5 * time * (1.0 - share)


def test_counts_are_never_scaled() -> None:
    model = network(SMALL, ODD, shares=(0.2, 0.8))
    found = price_network(model, ListCost({SMALL: 7.0}, unit="flops"))
    assert (found.total, found.scaled) == (7.0, False)


def test_unread_layers_of_the_network_are_unpriced_too() -> None:
    model = network(
        SMALL, shares=(0.9,), unread={"loop": "control of what"}, unread_shares={"loop": 0.1}
    )
    found = price_network(model, ListCost({SMALL: 1.0}))
    assert [(item.name, item.reason) for item in found.unpriced] == [("loop", "control of what")]
    assert found.priced_share == pytest.approx(0.9)
    assert found.priced_count_share == 0.5


def test_priced_share_is_unknown_when_nobody_looked() -> None:
    found = price_network(network(SMALL, ODD), ListCost({SMALL: 1.0}))
    assert found.priced_share is None
    assert found.priced_count_share == 0.5
    assert price_network(network(SMALL), ListCost({SMALL: 1.0})).priced_share == 1.0


def test_a_network_without_any_price_has_no_total() -> None:
    found = price_network(network(ODD), ListCost({}), DOUBLE)
    assert isnan(found.total)
    assert (found.predicted_ms, found.uncalibrated_ms, found.interval_ms) == (None, None, None)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["predicted_ms"] is None


def test_calibrated_and_plain_total_are_both_there() -> None:
    found = price_network(network(SMALL, LARGE), ListCost({SMALL: 1.0, LARGE: 3.0}), DOUBLE)
    assert (found.predicted_ms, found.uncalibrated_ms) == (8.0, 4.0)
    assert found.interval_ms == pytest.approx((7.2, 8.8))
    assert found.calibration == DOUBLE.describe()


def test_counts_are_exact_and_never_calibrated() -> None:
    cost = ListCost({SMALL: 100.0, LARGE: 300.0}, unit="flops")
    found = price_network(network(SMALL, LARGE), cost, DOUBLE)
    assert (found.total, found.low, found.high) == (400.0, 400.0, 400.0)
    assert found.predicted_ms is None
    assert found.to_json()["unit"] == "flops"


def test_extrapolated_layers_carry_their_reason() -> None:
    cost = ListCost({SMALL: 1.0, LARGE: 3.0}, half=0.1, extrapolated=[LARGE])
    found = price_network(network(SMALL, LARGE), cost)
    assert [(layer.basis, layer.note) for layer in found.layers] == [
        ("predicted", ""),
        ("extrapolated", "too wide"),
    ]
    assert found.num_extrapolated == 1


def test_a_repeated_op_is_wrong_by_the_same_amount_each_time() -> None:
    repeated = price_network(network(*[SMALL] * 9), ListCost({SMALL: 1.0}, half=0.1))
    half = sqrt(0.9**2 + (9 * SUMMATION_SHARE) ** 2)
    assert repeated.interval_ms == pytest.approx((9 - half, 9 + half))


def test_json_has_the_documented_keys() -> None:
    found = price_network(network(SMALL, ODD, shares=(0.5, 0.5)), ListCost({SMALL: 1.0}))
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"model", "device", "predicted_ms", "interval_ms", "ops", "unpriced"} <= set(data)
    assert data["ops"][0]["predicted_ms"] == 1.0
    assert data["unpriced"] == [
        {"name": "l1", "reason": "no row for einsum", "share": 0.5, "op": ODD.label}
    ]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_interval_of_a_sum_lies_between_independent_and_shared_errors(
    halves: list[float], correlation: float
) -> None:
    found = interval_of_sum(halves, correlation)
    assert sqrt(sum(h * h for h in halves)) <= found * (1 + 1e-9)
    assert found <= sum(halves) * (1 + 1e-9)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=12), st.floats(0, 0.9))
def test_interval_holds_the_total(prices: list[float], half: float) -> None:
    ops = [
        conv_op(in_channels=8, out_channels=8 + i, size=(8, 8), kernel=(1, 1))
        for i in range(len(prices))
    ]
    found = price_network(network(*ops), ListCost(dict(zip(ops, prices, strict=True)), half=half))
    assert 0 <= found.low <= found.total <= found.high
