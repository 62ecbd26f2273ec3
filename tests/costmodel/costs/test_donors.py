"""A device of few rows beside devices whose laws are known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from costmodel.costs.donors import DonatedRegression, choose_telling, fit_donated
from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op
from costmodel.table import LatencyTable

Tools = Any
BOARD = Device(name="board", runtime="fake")


def other_ms(tools: Tools, op: Op) -> float:
    """Another device: three times as slow, and one multiply-add in a million takes more yet."""
    return float(3.0 * tools.fake.law_ms(op) + 1e-9 * op.macs)


def rows_of(tools: Tools, count: int, seed: int = 5) -> list[Measurement]:
    return [tools.row_of(op, other_ms(tools, op)) for op in tools.random_convs(count, seed)]


def error_of(cost: DonatedRegression | Regression, tools: Tools) -> float:
    test = tools.random_convs(200, seed=7)
    truth = np.array([other_ms(tools, op) for op in test])
    return float(np.mean(np.abs(np.log(cost.price(test).values / truth))))


@pytest.fixture(scope="module")
def noise(trained: Regression, tools: Tools) -> Regression:
    """A donor whose times have nothing to do with its kernels."""
    ops = tools.random_convs(200, seed=11)
    times = np.random.default_rng(0).permutation(tools.truth(ops))
    return Regression([tools.row_of(op, float(ms)) for op, ms in zip(ops, times, strict=True)])


@pytest.mark.parametrize("count", [12, 50])
def test_a_donor_makes_few_rows_go_far(trained: Regression, tools: Tools, count: int) -> None:
    rows = rows_of(tools, count)
    found = DonatedRegression(rows, [trained])
    assert error_of(found, tools) < 0.6 * error_of(Regression(rows), tools)
    assert found.weights[0] > 0.5


@pytest.mark.parametrize("seed", [5, 6, 8])
def test_a_donor_of_noise_does_no_harm(noise: Regression, tools: Tools, seed: int) -> None:
    rows = rows_of(tools, 50, seed)
    alone = error_of(Regression(rows), tools)
    assert error_of(DonatedRegression(rows, [noise]), tools) < 1.15 * alone + 0.01


def test_with_a_donor_of_no_weight_prices_are_those_without(
    noise: Regression, tools: Tools
) -> None:
    rows = rows_of(tools, 50)
    found = DonatedRegression(rows, [noise])
    add = Op(kind="add", inputs=((1, 40, 14, 14),) * 2, outputs=((1, 40, 14, 14),))
    asked = [*tools.random_convs(20, seed=7), add]
    assert found.weights.tolist() == [0.0, 1.0]
    prices, alone = found.price(asked), Regression(rows).price(asked)
    np.testing.assert_allclose(prices.values, alone.values)
    assert prices.reasons == alone.reasons


def test_of_several_donors_the_good_one_counts(
    trained: Regression, noise: Regression, tools: Tools
) -> None:
    found = DonatedRegression(rows_of(tools, 50), [noise, trained])
    assert found.weights.sum() == pytest.approx(1.0)
    assert (found.weights >= 0.0).all()
    assert found.weights[1] > 0.5


def test_the_same_rows_and_donors_give_the_same_prices(trained: Regression, tools: Tools) -> None:
    test = tools.random_convs(50, seed=7)
    first, second = (DonatedRegression(rows_of(tools, 30), [trained]).price(test) for _ in "ab")
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.high, second.high)


def test_rows_stay_exact_and_intervals_hold_the_truth(trained: Regression, tools: Tools) -> None:
    rows = rows_of(tools, 50)
    found = DonatedRegression(rows, [trained])
    exact = found.price([row.op for row in rows])
    assert exact.exact is not None
    assert exact.exact.all()
    np.testing.assert_array_equal(exact.values, [row.latency_ms for row in rows])
    test = tools.random_convs(200, seed=7)
    prices, truth = found.price(test), np.array([other_ms(tools, op) for op in test])
    assert ((prices.low <= truth) & (truth <= prices.high)).mean() > 0.75
    assert (prices.low > 0).all()
    assert set(found.held_out()) == {row.op for row in rows}


def test_without_any_row_prices_are_the_donors_and_say_so(
    trained: Regression, tools: Tools
) -> None:
    test = tools.random_convs(5, seed=7)
    found = DonatedRegression([], [trained]).price(test)
    np.testing.assert_allclose(found.values, trained.price(test).values)
    np.testing.assert_allclose(found.high, 10.0 * found.values)
    assert set(found.extrapolated) == set(range(5))
    lrn = Op(kind="lrn", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    assert "no donor" in DonatedRegression([], [trained]).price([lrn]).reasons[0]


def test_a_kind_without_rows_is_priced_by_donors(trained: Regression, tools: Tools) -> None:
    add = Op(kind="add", inputs=((1, 40, 14, 14),) * 2, outputs=((1, 40, 14, 14),))
    rows = rows_of(tools, 50)
    found = DonatedRegression(rows, [trained]).price([add])
    assert found.extrapolated == {0: "no row of kind 'add': priced by donors"}
    assert found.values[0] == pytest.approx(3.0 * tools.fake.law_ms(add), rel=0.6)
    assert np.isnan(Regression(rows).price([add]).values[0])


def test_a_donor_with_other_blocks_helps(tools: Tools) -> None:
    def blocked(op: Op, block: int) -> Op:
        return replace(op, layout=f"nchw{block}c", implementation="blocked")

    def convs(count: int, seed: int) -> list[Op]:
        draw = np.random.default_rng(seed)
        sizes = {tuple(map(int, draw.integers(1, 9, 2) * 16)) for _ in range(4 * count)}
        return [
            conv_op(in_channels=i, out_channels=o, size=(14, 14), kernel=(3, 3))
            for i, o in sorted(sizes)
        ][:count]

    given = [tools.row_of(blocked(op, 16)) for op in convs(40, 1)]
    mine = convs(20, 2)
    rows = [tools.row_of(blocked(op, 8), 2.0 * tools.fake.law_ms(op)) for op in mine[::2]]
    found = DonatedRegression(rows, [Regression(given)])
    prices = found.price([blocked(op, 8) for op in mine[1::2]])
    truth = 2.0 * tools.truth(mine[1::2])
    assert np.median(np.abs(np.log(prices.values / truth))) < 0.2
    assert np.isfinite(prices.values).all()


def test_what_tells_most_is_spread_over_kinds(trained: Regression, tools: Tools) -> None:
    convs = tools.random_convs(60, seed=3)
    adds = [
        Op(kind="add", inputs=((1, c, 9, 9),) * 2, outputs=((1, c, 9, 9),)) for c in range(8, 12)
    ]
    lrn = Op(kind="lrn", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    chosen = choose_telling([trained], [*convs, *adds, lrn], 10)
    assert len(set(chosen)) == 10
    assert chosen[0] == lrn  # no donor knows it
    assert any(op.kind == "add" for op in chosen)
    assert chosen == choose_telling([trained], [*convs, *adds, lrn], 10)


def test_tables_are_fitted_with_the_devices_own_name(tools: Tools) -> None:
    giver = LatencyTable(tools.fake.device, [tools.row_of(op) for op in tools.random_convs(60, 1)])
    found = fit_donated(LatencyTable(BOARD, rows_of(tools, 12)), [giver])
    assert found.device == BOARD
    assert (found.name, found.unit) == ("regression", "ms")
