"""What few rows say about other kernels: none faster than the fastest, none surer than they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.costs.counts import Bytes
from costmodel.costs.features import Table, path_of
from costmodel.costs.likeness import SHARED, Likeness, class_of
from costmodel.costs.regression import Fitted, Regression
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op

Tools = Any
#: A device of 40 G multiply-adds and 12 GB per second, which takes 1.5 us for any kernel.
MACS_PER_MS, BYTES_PER_MS, START_MS = 40e6, 12e6, 0.0015


def bytes_of(op: Op) -> float:
    return float(Bytes().price([op]).values[0])


def truth_ms(op: Op, slower: float = 1.0) -> float:
    """By the device's law; some kinds reach only a part of its rates."""
    return START_MS + slower * (op.macs / MACS_PER_MS + bytes_of(op) / BYTES_PER_MS)


def row(op: Op, latency_ms: float) -> Measurement:
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=0.01)


def product(rows: int, length: int, columns: int) -> Op:
    return Op(
        kind="matmul",
        implementation="MatMul",
        inputs=((rows, length),),
        weights=((length, columns),),
        outputs=((rows, columns),),
    )


def transposed(channels: int, side: int, _: int = 0) -> Op:
    return Op(
        kind="conv_transpose",
        implementation="ConvTranspose",
        inputs=((1, channels, side, side),),
        weights=((channels, channels, 2, 2),),
        outputs=((1, channels, 2 * side, 2 * side),),
        stride=(2, 2),
        pads=(0,) * 4,
        dilation=(1, 1),
    )


def unary(kind: str):
    def make(channels: int, side: int, _: int = 0) -> Op:
        size = (1, channels, side, side)
        return Op(kind=kind, implementation=kind, inputs=(size,), outputs=(size,))

    return make


MAKERS = {
    "matmul": product,
    "conv_transpose": transposed,
    "relu": unary("relu"),
    "exp": unary("exp"),
    "softmax": unary("softmax"),
    "reduce_mean": unary("reduce_mean"),
    "transpose": unary("transpose"),
}
#: Rows that leave open what a kind's time grows with.
FEW = {
    "one small": [(1, 64, 32)],
    "one large": [(256, 128, 96)],
    "one size": [(4, 16, 8)] * 8,
    "small ones": [(1, 8, 8), (2, 8, 8), (4, 8, 4), (2, 4, 8)],
}


@cache
def convolutions() -> tuple[Op, ...]:
    rng = np.random.default_rng(0)
    found: dict[Op, None] = {}
    while len(found) < 60:
        side = int(rng.choice([7, 14, 28]))
        ins, outs = (int(2 ** rng.uniform(3, 7)) for _ in range(2))
        kernel = (int(rng.choice([1, 3])),) * 2
        found[conv_op(in_channels=ins, out_channels=outs, size=(side, side), kernel=kernel)] = None
    return tuple(found)


@cache
def rows_of(kind: str, few: str, slower: float) -> tuple[Measurement, ...]:
    """Sixty convolutions, forty additions, and few rows of one more kind."""
    adds = [
        Op(kind="add", inputs=((1, c, s, s),) * 2, outputs=((1, c, s, s),))
        for c in (8, 24, 64, 128) for s in (4, 7, 9, 14, 19, 28, 33, 40, 56, 60)
    ]  # fmt: skip
    rows = [row(op, truth_ms(op)) for op in (*convolutions(), *adds)]
    for number, sizes in enumerate(FEW[few]):
        # Rows of one size differ by what only repeats can: a table holds each Op once.
        op = MAKERS[kind](*sizes)
        rows.append(row(op if few != "one size" else marked(op, number), truth_ms(op, slower)))
    return tuple(rows)


def marked(op: Op, number: int) -> Op:
    return replace(op, attributes=(("name", str(number)),))


@cache
def fitted(kind: str, few: str, slower: float) -> Regression:
    # Laws alone: what residuals add is held by test_regression.py.
    return Regression(rows_of(kind, few, slower), fitted=Fitted(rows=""))


def best_rates(rows: Sequence[Measurement], kind: str) -> tuple[float, float]:
    """Multiply-adds and bytes per ms of the fastest row of the kind's family, told anew."""
    multiplies = class_of(kind) == "product"
    alike = [item for item in rows if (class_of(item.op.kind) == "product") == multiplies]
    return (
        max(item.op.macs / item.latency_ms for item in alike),
        max(bytes_of(item.op) / item.latency_ms for item in alike),
    )


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    kind=st.sampled_from(sorted(MAKERS)),
    few=st.sampled_from(sorted(FEW)),
    slower=st.sampled_from([1.0, 3.0]),
    sizes=st.tuples(st.integers(1, 768), st.integers(1, 768), st.integers(1, 768)),
)
def test_few_rows_never_promise_more_than_the_device_ever_did(
    kind: str, few: str, slower: float, sizes: tuple[int, int, int]
) -> None:
    op = MAKERS[kind](*sizes)
    prices = fitted(kind, few, slower).price([op])
    value, low, high = prices.values[0], prices.low[0], prices.high[0]
    macs, moved = best_rates(rows_of(kind, few, slower), kind)
    assert value >= 0.999 * max(op.macs / macs if macs else 0.0, bytes_of(op) / moved)
    assert low <= value <= high
    true = truth_ms(op, slower)
    # As wide as the ignorance: where the price is far off, the interval says that it may be.
    assert 0.5 * low <= true <= 1.5 * high
    if 0 not in prices.extrapolated and few != "one size":
        assert true == pytest.approx(value, rel=1.0)


def test_one_small_product_does_not_price_large_ones_at_its_own_time() -> None:
    """A table whose only product was 1 x 64 by 64 x 277."""
    convs = [row(op, truth_ms(op)) for op in convolutions()]
    tiny = product(1, 64, 277)
    cost = Regression([*convs, row(tiny, 0.0026)])
    ops = [product(128, 768, 768), product(128, 768, 3072), product(128, 3072, 768)]
    prices = cost.price(ops)
    for op, value, low, high in zip(ops, prices.values, prices.low, prices.high, strict=True):
        assert 0.6 * truth_ms(op) < value < 4 * truth_ms(op)
        assert low < truth_ms(op) < high
    assert set(prices.extrapolated) == {0, 1, 2}


def test_a_kind_without_rows_is_priced_by_its_like_or_not_at_all() -> None:
    cost = fitted("relu", "one small", 1.0)
    ops = [unary("sqrt")(32, 20), unary("lrn")(32, 20), unary("made_up")(32, 20)]
    prices = cost.price([*ops, Op(kind="lstm", inputs=((7, 1, 8),), outputs=((7, 1, 1, 8),),
                                  weights=((1, 32, 8), (1, 32, 8)))])  # fmt: skip
    assert prices.low[0] < truth_ms(ops[0]) < prices.high[0]
    assert "no row of kind 'sqrt': priced like others of its class" in prices.extrapolated[0]
    assert set(prices.reasons) == {1, 2, 3}
    assert np.isnan(prices.values[1:]).all()


@settings(deadline=None, max_examples=60, derandomize=True)
@given(factor=st.floats(1.0, 64.0), kind=st.sampled_from(sorted(MAKERS)))
def test_far_beyond_the_rows_more_work_never_costs_less(factor: float, kind: str) -> None:
    few, many = MAKERS[kind](64, 64, 64), MAKERS[kind](round(64 * factor), 64, 64)
    values = fitted(kind, "one small", 1.0).price([few, many]).values
    assert values[1] >= 0.999 * values[0]


def test_a_floor_is_of_the_own_element_type_where_that_was_measured() -> None:
    quick, slow = product(64, 64, 64), product(64, 64, 65)
    half = replace(quick, dtype="float16")
    table = Table([half, slow])
    paths, kinds = [path_of(op) for op in (half, slow)], ["matmul"] * 2
    likeness = Likeness(table, np.array([0.001, 0.01]), paths, kinds, ["float16", "float32"])
    asked = Table([quick])
    (own,) = likeness.floor_ms(asked, ["matmul"], ["float32"])
    (other,) = likeness.floor_ms(asked, ["matmul"], ["int8"])
    assert own == pytest.approx(0.01, rel=0.05)
    assert other == pytest.approx(0.002, rel=1.0)
    assert likeness.floor_ms(asked, ["lrn"], ["float32"]) == 0.0


def test_kinds_that_may_touch_no_memory_have_no_floor() -> None:
    size = (1, 64, 32, 32)
    ops = [Op(kind=kind, inputs=(size,), outputs=(size,)) for kind in ("relu", "reshape")]
    kinds, types = ["relu", "reshape"], ["float32"] * 2
    likeness = Likeness(Table(ops), np.array([0.05, 0.001]), kinds, kinds, types)
    assert likeness.floor_ms(Table(ops), kinds, types) == pytest.approx([0.05, 0.0])


def test_what_is_allowed_lies_between_what_the_rows_allow() -> None:
    ops = [product(1, 64, 64), product(64, 64, 64)]
    table = Table(ops)
    likeness = Likeness(table, np.array([0.01, 0.02]), ["matmul"] * 2, ["matmul"] * 2, ["f"] * 2)
    asked, first = Table([product(128, 64, 64)]), np.array([0])
    # A path or a kind without rows may be as quick or slow as any of its like.
    for name in ("matmul", "gemm"):
        least, most = likeness.allowed_ms(asked, first, name, name)
        assert least == pytest.approx([0.02])
        assert most == pytest.approx([0.04])
    least, most = likeness.allowed_ms(Table([product(1, 8, 8)]), first, "matmul", "matmul")
    assert least == pytest.approx([0.01 / 64])
    assert most == pytest.approx([0.01])
    least, most = likeness.allowed_ms(asked, first, "lrn", "lrn")
    assert not np.any(least)
    assert not np.any(most)
    assert likeness.is_sparse("matmul", 3)
    assert not likeness.is_sparse("matmul", 2)


def test_classes_are_of_kinds_that_run_alike_loops() -> None:
    assert {class_of(kind) for kind in ("relu", "add", "sqrt")} == {"elementwise"}
    assert class_of("reshape") != class_of("transpose")
    assert class_of("softmax") not in SHARED
    assert class_of("conv") == class_of("lstm") == "product"
    assert "product" not in SHARED
