"""What others do, on rows whose law is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.costs.baselines import FlopsLine, NnMeterForest
from costmodel.op import Op, conv_op
from costmodel.protocols import CostModel

Tools = Any


def test_a_flops_line_finds_a_line(tools: Tools) -> None:
    ops = tools.random_convs(60, seed=1)
    line = FlopsLine([tools.row_of(op, 0.5 + 3e-8 * 2 * op.macs) for op in ops])
    test = tools.random_convs(20, seed=2)
    truth = [0.5 + 3e-8 * 2 * op.macs for op in test]
    np.testing.assert_allclose(line.price(test).values, truth, rtol=1e-6)


def test_a_flops_line_is_never_negative(tools: Tools) -> None:
    ops = tools.random_convs(60, seed=1)
    falling = [tools.row_of(op, 1e6 / op.macs) for op in ops]
    assert (FlopsLine(falling).price(ops).values > 0).all()


def test_a_flops_line_prices_what_has_no_flops_by_its_constant(tools: Tools) -> None:
    ops = tools.random_convs(30, seed=1)
    line = FlopsLine([tools.row_of(op, 0.5 + 6e-8 * op.macs) for op in ops])
    odd = Op(kind="no_such_kernel", inputs=((1, 8),), outputs=((1, 8),))
    assert line.price([odd]).values == pytest.approx([0.5])


def test_nn_meters_forest_remembers_its_rows_and_stays_in_their_range(tools: Tools) -> None:
    ops = tools.random_convs(120, seed=1)
    forest = NnMeterForest([tools.row_of(op) for op in ops])
    truth = tools.truth(ops)
    found = forest.price(ops).values
    assert np.median(np.abs(found / truth - 1.0)) < 0.2
    huge = conv_op(in_channels=4096, out_channels=4096, size=(99, 99), kernel=(7, 7))
    # A forest cannot extrapolate, which is why it is only a baseline here.
    assert forest.price([huge]).values[0] <= truth.max()


def test_nn_meters_forest_depends_on_its_seed_only(tools: Tools) -> None:
    rows = [tools.row_of(op) for op in tools.random_convs(60, seed=1)]
    test = tools.random_convs(10, seed=2)
    first = NnMeterForest(rows, seed=3).price(test).values
    np.testing.assert_array_equal(NnMeterForest(rows, seed=3).price(test).values, first)
    assert (NnMeterForest(rows, seed=4).price(test).values != first).any()


@pytest.mark.parametrize("make", [FlopsLine, NnMeterForest])
def test_baselines_are_cost_models_without_an_interval(make: Any, tools: Tools) -> None:
    rows = [tools.row_of(op) for op in tools.random_convs(30, seed=1)]
    cost = make(rows)
    assert isinstance(cost, CostModel)
    assert (cost.unit, bool(cost.name)) == ("ms", True)
    prices = cost.price(tools.random_convs(5, seed=2))
    np.testing.assert_array_equal(prices.low, prices.values)
    np.testing.assert_array_equal(prices.high, prices.values)
