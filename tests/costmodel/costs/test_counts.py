from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from architectures import network_file
from hypothesis import given

from costmodel.costs.counts import (
    COUNTED_KINDS,
    Activations,
    Bytes,
    Flops,
    Params,
)
from costmodel.kinds import MOVES
from costmodel.op import CONV_KINDS, MATMUL_KINDS, SESSION, Op, conv_op
from costmodel.protocols import CostModel
from costmodel.runners.ort.runner import OrtRunner
from costmodel.testing import UNKNOWN_OP, example_ops, ops

MAP = (1, 16, 14, 14)
ELEMENTS = 16 * 14 * 14


def one(cost: CostModel, op: Op) -> float:
    return float(cost.price([op]).values[0])


def reason(cost: CostModel, op: Op) -> str:
    prices = cost.price([op])
    assert np.isnan(prices.values[0])
    return prices.reasons[0]


def test_counts_of_a_convolution() -> None:
    op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    assert one(Flops(), op) == 2 * 8 * 8 * 32 * 16 * 9
    assert one(Params(), op) == 32 * 16 * 9 + 32
    assert one(Activations(), op) == 8 * 8 * 32
    assert one(Bytes(), op) == 4 * (8 * 8 * 16 + 8 * 8 * 32 + 32 * 16 * 9 + 32)


@pytest.mark.parametrize(
    ("op", "flops"),
    [
        (Op(kind="gemm", inputs=((2, 64),), outputs=((2, 10),), weights=((64, 10),)), 2560),
        (Op(kind="matmul", inputs=((3, 4, 5), (3, 5, 6)), outputs=((3, 4, 6),)), 720),
        (Op(kind="relu", inputs=(MAP,), outputs=(MAP,)), ELEMENTS),
        (Op(kind="add", inputs=(MAP, MAP), outputs=(MAP,)), ELEMENTS),
        (Op(kind="sum", inputs=(MAP, MAP, MAP), outputs=(MAP,)), 2 * ELEMENTS),
        (Op(kind="mul", inputs=(MAP,), weights=((16, 1, 1),), outputs=(MAP,)), ELEMENTS),
        (Op(kind="softmax", inputs=((1, 10),), outputs=((1, 10),)), 50),
        (Op(kind="batch_norm", inputs=(MAP,), outputs=(MAP,), weights=((16,),) * 4), 2 * ELEMENTS),
        (Op(kind="global_average_pool", inputs=(MAP,), outputs=((1, 16, 1, 1),)), ELEMENTS),
        (
            Op(
                kind="max_pool",
                inputs=(MAP,),
                outputs=((1, 16, 7, 7),),
                attributes=(("kernel_shape", (2, 2)),),
            ),
            ELEMENTS,
        ),
        (Op(kind="lrn", inputs=(MAP,), outputs=(MAP,), attributes=(("size", 5),)), 9 * ELEMENTS),
        (Op(kind="resize", inputs=(MAP,), outputs=((1, 16, 28, 28),)), 0),
        (
            Op(
                kind="resize",
                inputs=(MAP,),
                outputs=((1, 16, 28, 28),),
                attributes=(("mode", "linear"),),
            ),
            2 * 4 * 4 * ELEMENTS,
        ),
        (Op(kind=SESSION, inputs=(MAP,), outputs=(MAP,)), 0),
    ],
)
def test_flops_of_each_sort(op: Op, flops: int) -> None:
    assert flops == one(Flops(), op)


@given(ops())
def test_only_moves_and_the_session_are_free(op: Op) -> None:
    free = op.kind in MOVES or op.kind == SESSION
    assert free == (one(Flops(), op) == 0)


@given(ops())
def test_a_network_without_epilogues_is_twice_its_multiply_adds(op: Op) -> None:
    if op.kind in CONV_KINDS | MATMUL_KINDS:
        assert 2 * op.macs == one(Flops(), op)
    else:
        assert op.macs == 0


@pytest.mark.parametrize("cost", [Flops(), Params(), Activations(), Bytes()])
def test_the_examples_of_every_sort_have_known_kinds(cost: CostModel) -> None:
    assert {op.kind for op in example_ops()} <= COUNTED_KINDS
    assert "no_such_kernel" in reason(cost, UNKNOWN_OP)
    assert cost.unit == cost.name


@pytest.mark.parametrize("cost", [Flops(), Params(), Activations(), Bytes()])
@pytest.mark.parametrize("kind", ["conv", "conv_transpose", "gemm", "matmul"])
def test_products_without_shapes_are_not_counted(cost: CostModel, kind: str) -> None:
    assert "lacks its shapes" in reason(cost, Op(kind=kind))


@pytest.mark.parametrize(
    ("op", "told"),
    [
        (Op(kind="max_pool", inputs=(MAP,), outputs=(MAP,)), "kernel_shape"),
        (
            Op(kind="max_pool", outputs=(MAP,), attributes=(("kernel_shape", (-3, 3)),)),
            "kernel_shape",
        ),
        (
            Op(kind="max_pool", outputs=(MAP,), attributes=(("kernel_shape", (2**60,) * 20),)),
            "too large",
        ),
        (Op(kind="lrn", inputs=(MAP,), outputs=(MAP,)), "size"),
        (Op(kind="resize", outputs=(MAP,), attributes=(("mode", "magic"),)), "magic"),
    ],
)
def test_flops_say_which_setting_is_missing(op: Op, told: str) -> None:
    assert told in reason(Flops(), op)


def test_bytes_follow_the_element_types() -> None:
    plain = Op(kind="add", inputs=((1, 10), (1, 10)), outputs=((1, 10),))
    assert one(Bytes(), plain) == 120
    assert one(Bytes(), replace(plain, dtype="float16")) == 60
    assert one(Bytes(), replace(plain, dtype="int4")) == 15
    assert one(Bytes(), replace(plain, input_dtypes=("int64", "float32"))) == 160


def test_bytes_of_strange_element_types_have_a_reason() -> None:
    op = Op(kind="identity", inputs=((1, 10),), outputs=((1, 10),), dtype="str")
    assert "'str'" in reason(Bytes(), op)
    assert "1 inputs" in reason(Bytes(), replace(op, input_dtypes=("int8", "int8")))
    assert one(Flops(), op) == 0


def test_the_interval_of_a_count_is_a_point() -> None:
    prices = Flops().price([*example_ops(), UNKNOWN_OP])
    np.testing.assert_array_equal(prices.values, prices.low)
    np.testing.assert_array_equal(prices.values, prices.high)


@pytest.mark.parametrize("name", ["light_squeezenet", "ultraface", "yunet"])
def test_every_kernel_of_real_networks_is_counted(name: str) -> None:
    network = OrtRunner().lower(network_file(name), {})
    for cost in (Flops(), Params(), Activations(), Bytes()):
        assert not cost.price(network.ops).reasons


def test_resnet50_has_the_flops_that_are_published() -> None:
    prices = Flops().price(OrtRunner().lower(network_file("light_resnet50"), {}).ops)
    # torchvision's model card: 4.09 G multiply-adds.
    assert prices.values.sum() == pytest.approx(2 * 4.09e9, rel=0.01)
