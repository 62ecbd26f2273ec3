"""Runs of neighbouring elements, and the loops that shapes decide."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given, settings

from costmodel.costs.features import TERMS, Table, path_of
from costmodel.op import Op, Shape, conv_op
from costmodel.pieces import form_of, pieces_of
from costmodel.testing import ops


def transposed(shape: Shape, order: Shape) -> Op:
    out = tuple(shape[axis] for axis in order)
    return Op(kind="transpose", inputs=(shape,), outputs=(out,), attributes=(("perm", order),))


@pytest.mark.parametrize(
    ("op", "pieces"),
    [
        (transposed((1, 49, 6, 32), (0, 2, 1, 3)), 49 * 6),
        (transposed((1, 64, 14, 14), (0, 2, 3, 1)), 64 * 14 * 14),
        (Op(kind="concat", inputs=((1, 8, 5, 5),) * 3, outputs=((1, 24, 5, 5),),
            attributes=(("axis", 1),)), 0),
        (Op(kind="concat", inputs=((1, 49, 8),) * 2, outputs=((1, 49, 16),),
            attributes=(("axis", -1),)), 98),
        (Op(kind="split", inputs=((1, 49, 16),), outputs=((1, 49, 8),) * 2,
            attributes=(("axis", 2),)), 98),
        (Op(kind="mul", inputs=((1, 8, 7, 7), (1, 8, 1, 1)), outputs=((1, 8, 7, 7),)), 8),
        (Op(kind="mul", inputs=((1, 96, 96, 3),), weights=((1, 1, 1, 3),),
            outputs=((1, 96, 96, 3),)), 96 * 96),
        (Op(kind="add", inputs=((1, 8, 7, 7),) * 2, outputs=((1, 8, 7, 7),)), 0),
        (Op(kind="div", inputs=((1, 8, 7, 7),), weights=((),), outputs=((1, 8, 7, 7),)), 0),
        (Op(kind="slice", inputs=((1, 8, 8, 8),), outputs=((1, 4, 8, 8),)), 2),
        (Op(kind="relu", inputs=((1, 8, 7, 7),), outputs=((1, 8, 7, 7),)), 0),
        (Op(kind="softmax", inputs=((4, 6, 64, 64),), outputs=((4, 6, 64, 64),),
            attributes=(("axis", -1), ("since", 13))), 4 * 6 * 64),
        (Op(kind="softmax", inputs=((1, 12, 49, 49),), outputs=((1, 12, 49, 49),),
            attributes=(("axis", -1), ("since", 13))), 2 * 12 * 49),  # 49 fills no vectors
        (Op(kind="softmax", inputs=((2, 3, 4),), outputs=((2, 3, 4),),
            attributes=(("axis", 1), ("since", 11))), 2 * 2),  # over all axes from one on
        (Op(kind="softmax", inputs=((2, 8, 5),), outputs=((2, 8, 5),),
            attributes=(("axis", 1), ("since", 13))), 10),
        (Op(kind="layer_norm", inputs=((1, 49, 96),), weights=((96,), (96,)),
            outputs=((1, 49, 96),), attributes=(("axis", -1),)), 49),
        (Op(kind="instance_norm", inputs=((2, 3, 8, 8),), weights=((3,), (3,)),
            outputs=((2, 3, 8, 8),)), 6),
    ],
)  # fmt: skip
def test_pieces_are_counted(op: Op, pieces: int) -> None:
    assert pieces_of(op) == pieces
    (terms,) = Table([op]).terms
    assert terms[TERMS.index("pieces")] == pytest.approx(pieces / 1e6)


@pytest.mark.parametrize(
    ("op", "form"),
    [
        (transposed((1, 49, 6, 32), (0, 2, 1, 3)), "blocks"),
        (transposed((1, 64, 14, 14), (0, 2, 3, 1)), "swap"),
        (transposed((1, 8, 7, 8, 7, 64), (0, 5, 1, 3, 2, 4)), "elements"),
        (transposed((1, 1, 1, 7, 7, 64), (0, 5, 1, 3, 2, 4)), "elements"),
        (transposed((1, 1, 7, 1, 7, 64), (0, 1, 3, 2, 4, 5)), "copy"),
        (transposed((1, 45, 45, 945), (0, 3, 1, 2)), "scatter"),
        (transposed((1, 45, 45, 226), (0, 3, 1, 2)), "swap"),
        (Op(kind="reduce_mean", inputs=((1, 49, 96),), outputs=((1, 49, 1),)), "inner"),
        (Op(kind="reduce_mean", inputs=((1, 49, 96),), outputs=((1, 96),)), "outer"),
        (Op(kind="reduce_mean", inputs=((4, 49, 96),), outputs=((4, 96),)), "between"),
        (Op(kind="relu", inputs=((1, 8),), outputs=((1, 8),)), ""),
    ],
)
def test_forms_are_told_apart(op: Op, form: str) -> None:
    assert form_of(op) == form
    assert path_of(op) == (f"{op.kind}/{form}" if form else op.kind)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(op=ops())
def test_no_kernel_has_more_pieces_than_elements(op: Op) -> None:
    most = max([prod(shape) for shape in (*op.inputs, *op.outputs)], default=0)
    parts = max(len(op.inputs) + len(op.weights), len(op.outputs), 1)
    assert 0 <= pieces_of(op) <= most * parts


@pytest.mark.parametrize(
    ("shapes", "form"),
    [
        (((1, 64), (64, 32), (1, 32)), "vector"),
        (((1, 49, 64), (64, 32), (1, 49, 32)), "rows"),
        (((49, 64), (64, 32), (49, 32)), "rows"),
    ],
)
def test_products_of_one_row_and_of_many_have_laws_of_their_own(
    shapes: tuple[Shape, Shape, Shape], form: str
) -> None:
    source, weights, result = shapes
    op = Op(kind="matmul", inputs=(source,), weights=(weights,), outputs=(result,), operands="dw")
    assert path_of(op) == f"matmul/{form}"
    both = Op(kind="matmul", inputs=(source, weights), outputs=(result,))
    assert path_of(both) == "matmul/both"
    (one, other) = Table([op, both]).terms[:, TERMS.index("work")]
    assert one == other == pytest.approx(op.macs / 1e6)


def test_what_lies_outside_the_image_is_no_work() -> None:
    def work(dilation: int) -> float:
        op = conv_op(
            in_channels=16, out_channels=16, size=(10, 10), kernel=(3, 3), dilation=dilation
        )
        table = Table([replace(op, layout="nchw16c")])
        assert table.multiply_adds[0] == pytest.approx(1e6 * table.terms[0, TERMS.index("work")])
        return float(table.multiply_adds[0])

    # Of a window spread by more than the image one tap in nine is left.
    assert work(12) == work(24) == pytest.approx(16 * 16 * 100)
    # Spread by 4, each outer tap of an axis still meets 6 of 10 places.
    assert work(4) == pytest.approx(16 * 16 * 100 * (2.2**2))


def test_an_order_may_be_an_operand() -> None:
    told = transposed((1, 64, 14, 14), (0, 2, 3, 1))
    given_ = replace(told, attributes=(), constants=((0, 2, 3, 1),))
    assert (form_of(given_), pieces_of(given_)) == (form_of(told), pieces_of(told))
