"""Prices of unseen kernels, on a device whose law is known exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from costmodel.costs import regression
from costmodel.costs.baselines import FlopsLine
from costmodel.costs.regression import Fitted, Regression, fit_regression, rows_digest
from costmodel.errors import InvalidInputError
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.table import LatencyTable

Tools = Any


def relative_error(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs(found / truth - 1.0)


def test_unseen_kernels_are_close_to_the_truth(trained: Regression, tools: Tools) -> None:
    test = tools.random_convs(300, seed=2)
    truth = tools.truth(test)
    prices = trained.price(test)
    error = np.median(relative_error(prices.values, truth))
    line = FlopsLine([tools.row_of(op) for op in tools.random_convs(400, seed=1)])
    assert error < 0.12
    assert error < 0.5 * np.median(relative_error(line.price(test).values, truth))


def test_intervals_hold_most_of_the_truth(trained: Regression, tools: Tools) -> None:
    test = tools.random_convs(300, seed=2)
    truth = tools.truth(test)
    prices = trained.price(test)
    assert ((prices.low <= truth) & (truth <= prices.high)).mean() > 0.75
    assert (prices.low <= prices.values).all()
    assert (prices.values <= prices.high).all()
    assert (prices.low > 0).all()


def test_rows_are_answered_exactly(trained: Regression, tools: Tools) -> None:
    seen = tools.random_convs(400, seed=1)[:50]
    prices = trained.price([*seen, *tools.random_convs(5, seed=9)])
    assert prices.exact is not None
    assert prices.exact.tolist() == [True] * 50 + [False] * 5
    np.testing.assert_array_equal(prices.values[:50], tools.truth(seen))
    np.testing.assert_allclose(prices.low[:50], tools.truth(seen) * 0.99)
    np.testing.assert_allclose(prices.high[:50], tools.truth(seen) * 1.01)
    assert not prices.extrapolated


def test_where_differences_count_rows_are_priced_like_their_neighbours(
    trained: Regression, tools: Tools
) -> None:
    seen = tools.random_convs(400, seed=1)[:50]
    prices = trained.price_smoothly(seen)
    assert prices.exact is not None
    assert not prices.exact.any()
    assert np.median(relative_error(prices.values, tools.truth(seen))) < 0.12
    # What is no row costs what it does anyway.
    unseen = tools.random_convs(5, seed=9)
    smooth, plain = trained.price_smoothly(unseen), trained.price(unseen)
    np.testing.assert_array_equal(smooth.values, plain.values)


def test_nothing_of_nothing(trained: Regression) -> None:
    prices = trained.price([])
    assert prices.values.shape == (0,)
    assert (prices.reasons, prices.extrapolated) == ({}, {})


def test_a_kind_that_was_never_measured_has_no_price(trained: Regression) -> None:
    lrn = Op(kind="lrn", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    conv = conv_op(in_channels=16, out_channels=16, size=(8, 8), kernel=(3, 3))
    prices = trained.price([lrn, conv])
    assert np.isnan([prices.values[0], prices.low[0], prices.high[0]]).all()
    assert set(prices.reasons) == {0}
    assert prices.reasons[0].startswith("the table has no row of kind 'lrn'; add it with:")
    assert prices.values[1] > 0


def test_an_op_without_its_shapes_has_no_price(trained: Regression) -> None:
    conv = Op(kind="conv", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    prices = trained.price([conv, Op(kind="add"), model_op("net", "0", ())])
    assert np.isnan(prices.values).all()
    assert prices.reasons == {
        0: "its shapes do not say how much work this conv is",
        1: "its shapes do not say how much work this add is",
        2: "a 'model' row is a whole network; price its Ops instead",
    }


def test_what_the_table_has_not_seen_the_like_of_is_flagged(trained: Regression) -> None:
    huge = conv_op(in_channels=4096, out_channels=4096, size=(56, 56), kernel=(3, 3))
    grouped = conv_op(in_channels=64, out_channels=64, size=(14, 14), kernel=(3, 3), groups=4)
    usual = conv_op(in_channels=33, out_channels=65, size=(14, 14), kernel=(3, 3))
    prices = trained.price([huge, grouped, usual])
    assert prices.extrapolated == {
        0: "work outside the range of the table's conv/dense rows",
        1: "no row of the path conv/grouped",
    }
    for index in (0, 1):
        assert prices.low[index] <= 0.5 * prices.values[index]
        assert prices.high[index] >= 1.5 * prices.values[index]


def test_far_beyond_the_table_more_work_costs_more(trained: Regression) -> None:
    widths = [2**n for n in range(9, 15)]
    chain = [
        conv_op(in_channels=width, out_channels=width, size=(56, 56), kernel=(3, 3))
        for width in widths
    ]
    values = trained.price(chain).values
    assert (np.diff(values) > 0).all()


def test_the_law_below_the_residual_grows_with_the_work(trained: Regression) -> None:
    for law in trained.physics.by_path.values():
        assert (law >= 0).all()


def session(outputs: int) -> Op:
    return Op(kind="session", inputs=((1,),), outputs=((1,),) * outputs)


def test_sessions_cost_what_the_nearest_one_does(trained: Regression) -> None:
    prices = trained.price([session(1), session(3), session(4), session(7)])
    np.testing.assert_allclose(prices.values, [0.05, 0.15, 0.15 * 5 / 4, 0.15 * 8 / 4])
    assert (prices.low[2:] < prices.values[2:]).all()
    assert (prices.values[2:] < prices.high[2:]).all()
    assert prices.reasons == {}


def test_a_session_has_no_price_without_session_rows(tools: Tools) -> None:
    cost = Regression([tools.row_of(op) for op in tools.random_convs(12, seed=1)])
    prices = cost.price([session(1)])
    assert np.isnan(prices.values).all()
    assert "no row of kind 'session'" in prices.reasons[0]


def test_failed_rows_teach_nothing(tools: Tools) -> None:
    convs = tools.random_convs(14, seed=1)
    lrn = Op(kind="lrn", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    rows = [tools.row_of(op) for op in convs[:12]]
    failed = [tools.failed_row(op) for op in (*convs[12:], lrn)]
    with_failures, without = Regression([*rows, *failed]), Regression(rows)
    test = [*convs, *tools.random_convs(5, seed=3)]
    found, expected = with_failures.price(test), without.price(test)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.exact is not None
    assert not found.exact[12]
    assert np.isnan(with_failures.price([lrn]).values[0])


def test_one_row_is_enough_for_a_guess_of_its_kind(tools: Tools) -> None:
    (seen, other, *_) = tools.random_convs(2, seed=1)
    prices = Regression([tools.row_of(seen)]).price([seen, other])
    assert prices.values[0] == tools.truth([seen])[0]
    assert prices.low[1] <= prices.values[1] <= prices.high[1]
    assert prices.values[1] > 0


def test_poolings_of_integers_in_another_layout_are_priced(tools: Tools) -> None:
    def pool(side: int, layout: str) -> Op:
        last = layout == "nhwc"
        into, out = (((1, n, n, 8) if last else (1, 8, n, n)) for n in (side, side // 2))
        return Op(
            kind="max_pool", inputs=(into,), outputs=(out,), stride=(2, 2),
            pads=(0, 0, 0, 0), dtype="uint8", layout=layout, attributes=(("kernel_shape", (2, 2)),),
        )  # fmt: skip

    cost = Regression([tools.row_of(pool(side, "nhwc")) for side in (8, 16, 32)])
    prices = cost.price([pool(24, "nchw")])
    assert prices.values[0] > 0
    assert not prices.reasons


def test_without_a_kernel_there_is_nothing_to_learn_from(tools: Tools) -> None:
    only_session = [tools.row_of(session(1), 0.05)]
    conv = tools.random_convs(1, seed=1)[0]
    for rows in ([], only_session, [tools.failed_row(conv)]):
        with pytest.raises(InvalidInputError, match=f"Received {len(rows)} rows, none of them"):
            Regression(rows)


def test_fitting_again_gives_the_same_prices(tools: Tools) -> None:
    rows = [tools.row_of(op) for op in tools.random_convs(40, seed=1)]
    test = tools.random_convs(10, seed=5)
    first, second = Regression(rows), Regression(rows)
    assert first.fitted == second.fitted
    np.testing.assert_array_equal(first.price(test).values, second.price(test).values)
    np.testing.assert_array_equal(first.price(test).high, second.price(test).high)


def test_prices_do_not_depend_on_company(trained: Regression, tools: Tools) -> None:
    test = tools.random_convs(20, seed=5)
    together = trained.price(test).values
    np.testing.assert_allclose([trained.price([op]).values[0] for op in test], together, rtol=1e-9)


def table_file(tools: Tools, path: Path, count: int = 40) -> LatencyTable:
    rows = [tools.row_of(op) for op in tools.random_convs(count, seed=1)]
    LatencyTable(tools.fake.device, rows).save(path)
    return LatencyTable.load(path)


def refuse_search(*args: object) -> Fitted:
    message = "searched again"
    raise AssertionError(message)


def test_a_second_fit_searches_nothing(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_file(tools, tmp_path / "t.jsonl")
    first = fit_regression(table)
    assert (tmp_path / "t.jsonl.fit.json").is_file()
    monkeypatch.setattr(regression, "search_hyper", refuse_search)
    again = fit_regression(LatencyTable.load(tmp_path / "t.jsonl"))
    test = tools.random_convs(10, seed=5)
    np.testing.assert_array_equal(again.price(test).values, first.price(test).values)
    np.testing.assert_array_equal(again.price(test).low, first.price(test).low)
    assert again.device == table.device


def test_another_row_makes_the_cache_worthless(tools: Tools, tmp_path: Path) -> None:
    table = table_file(tools, tmp_path / "t.jsonl")
    before = fit_regression(table).fitted
    table.append(tools.row_of(tools.random_convs(41, seed=1)[-1]))
    after = fit_regression(table).fitted
    assert after.rows != before.rows
    assert after.rows == rows_digest(list(table.rows.values()))


@pytest.mark.parametrize("damage", ["garbage", "foreign", "format", "features", "empty", "list"])
def test_a_cache_that_is_not_ours_is_ignored_and_replaced(
    tools: Tools, tmp_path: Path, damage: str
) -> None:
    table = table_file(tools, tmp_path / "t.jsonl")
    fitted = fit_regression(table).fitted
    cache = tmp_path / "t.jsonl.fit.json"
    narrow = {path: replace(h, relevances=(1.0,)) for path, h in fitted.hypers.items()}
    cache.write_bytes(
        {
            "garbage": b"\xff\xfe not json",
            "foreign": msgspec.json.encode(replace(fitted, rows="0" * 16)),
            "format": msgspec.json.encode(replace(fitted, format=0)),
            "features": msgspec.json.encode(replace(fitted, hypers=narrow)),
            "empty": b"",
            "list": b"[1, 2]",
        }[damage]
    )
    assert fit_regression(table).fitted == fitted
    assert msgspec.json.decode(cache.read_bytes(), type=Fitted) == fitted


def test_a_table_without_a_file_is_fitted_without_a_cache(tools: Tools, tmp_path: Path) -> None:
    rows = [tools.row_of(op) for op in tools.random_convs(12, seed=1)]
    fit_regression(LatencyTable(tools.fake.device, rows))
    table = table_file(tools, tmp_path / "t.jsonl", count=12)
    fit_regression(table, cache=False)
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_place_that_cannot_be_written_is_no_error(tools: Tools, tmp_path: Path) -> None:
    table = table_file(tools, tmp_path / "t.jsonl", count=12)
    (tmp_path / "t.jsonl.fit.json").mkdir()  # reading and writing it both fail
    conv = tools.random_convs(1, seed=1)[0]
    exact = fit_regression(table).price([conv]).exact
    assert exact is not None
    assert exact[0]


def test_the_digest_depends_on_every_op_and_latency(tools: Tools) -> None:
    first, second = tools.random_convs(2, seed=1)
    rows = [tools.row_of(first), tools.row_of(second)]
    slower = [rows[0], tools.row_of(second, 9.0)]
    found = {rows_digest(item) for item in ([], rows, rows[:1], rows[1:], slower)}
    assert len(found) == 5
    assert rows_digest(list(rows)) == rows_digest(rows)
