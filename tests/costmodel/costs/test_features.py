"""What an Op's time depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.costs.features import FEATURES, HULL, TERMS, Table, is_learnable, path_of
from costmodel.model_rows import model_op
from costmodel.op import SESSION, Op, conv_op
from costmodel.testing import example_ops, ops

QUICK = settings(deadline=None, max_examples=60, derandomize=True)
CONV = conv_op(in_channels=16, out_channels=16, size=(8, 8), kernel=(3, 3))


@QUICK
@given(drawn=st.lists(ops().filter(is_learnable), max_size=6))
def test_every_op_has_finite_columns(drawn: list[Op]) -> None:
    table = Table(drawn)
    assert table.terms.shape == (len(drawn), len(TERMS))
    assert table.features.shape == (len(drawn), len(FEATURES))
    assert table.hull.shape == (len(drawn), len(HULL))
    assert np.isfinite(np.hstack([table.terms, table.features, table.hull])).all()


@QUICK
@given(op=ops().filter(is_learnable))
def test_terms_are_amounts_and_something_always_takes_time(op: Op) -> None:
    terms = Table([op]).terms
    assert (terms >= 0).all()
    assert terms[0, TERMS.index("constant")] == 1.0


@QUICK
@given(drawn=st.lists(ops().filter(is_learnable), min_size=1, max_size=6), data=st.data())
def test_columns_do_not_depend_on_company(drawn: list[Op], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(drawn) - 1))
    together, alone = Table(drawn), Table([drawn[index]])
    np.testing.assert_array_equal(together.terms[index], alone.terms[0])
    np.testing.assert_array_equal(together.features[index], alone.features[0])


@QUICK
@given(op=ops().filter(is_learnable), batch=st.integers(2, 5))
def test_more_images_are_never_less_of_anything(op: Op, batch: int) -> None:
    more = replace(
        op,
        inputs=tuple((shape[0] * batch, *shape[1:]) for shape in op.inputs),
        outputs=tuple((shape[0] * batch, *shape[1:]) for shape in op.outputs),
    )
    few, many = Table([op, more]).terms
    assert (many >= few).all()
    assert (many > few).any()


def test_terms_are_in_millions() -> None:
    terms = dict(zip(TERMS, Table([CONV]).terms[0], strict=True))
    assert terms["input"] == 16 * 64 / 1e6
    assert terms["output"] == 16 * 64 / 1e6
    assert terms["weight"] == (16 * 16 * 9 + 16) / 1e6
    assert terms["work"] == pytest.approx(CONV.macs / 1e6)  # 64 pixels fill the vectors


def test_nothing_of_nothing() -> None:
    assert Table([]).terms.shape == (0, len(TERMS))


@pytest.mark.parametrize(
    "shape", [(), (0,), (1, 0), (0, 8), (1, 0, 4, 4), (1, 8, 0, 4), (1, 8, 4, 0), (2, 3, 4, 5, 6)]
)
def test_empty_and_odd_shapes_have_columns_too(shape: tuple[int, ...]) -> None:
    table = Table([Op(kind="relu", inputs=(shape,), outputs=(shape,))])
    assert np.isfinite(np.hstack([table.terms, table.features, table.hull])).all()


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1)), "conv/pointwise"),
        (CONV, "conv/dense"),
        (conv_op(in_channels=8, out_channels=8, size=(9, 9), kernel=(3, 3), groups=8), "depthwise"),
        (conv_op(in_channels=8, out_channels=8, size=(9, 9), kernel=(3, 3), groups=2), "grouped"),
        (replace(CONV, layout="nchw16c"), "conv@nchw16c/dense"),
        (
            replace(
                conv_op(in_channels=3, out_channels=32, size=(9, 9), kernel=(3, 3)),
                layout="nchw8c",
            ),
            "conv@nchw8c/stem",
        ),
        (Op(kind="max_pool", inputs=((1, 8, 2, 2),), layout="nchw8c"), "max_pool@nchw8c"),
        (
            Op(kind="average_pool", inputs=((1, 8, 2, 2),), layout="nhwc", dtype="uint8"),
            "average_pool@nhwc of uint8",
        ),
        (Op(kind="add", implementation="Add"), "add"),
        (Op(kind="reorder_input", implementation="com.microsoft.nchwc:ReorderInput"), "@nchwc"),
    ],
)
def test_kernels_with_another_law_are_on_another_path(op: Op, expected: str) -> None:
    assert path_of(op).endswith(expected)


@QUICK
@given(op=ops().filter(is_learnable))
def test_a_path_starts_with_its_kind(op: Op) -> None:
    assert path_of(op).partition("@")[0].partition("/")[0] == op.kind


def test_what_no_shape_can_predict_is_not_learned() -> None:
    assert all(is_learnable(op) for op in example_ops())
    assert not is_learnable(Op(kind=SESSION, inputs=((1,),), outputs=((1,),)))
    assert not is_learnable(model_op("net", "0", (CONV,)))
    assert not is_learnable(Op(kind="relu"))


@pytest.mark.parametrize(
    "op",
    [
        replace(CONV, weights=()),
        replace(CONV, inputs=()),
        replace(CONV, inputs=((8,),)),
        replace(CONV, weights=((8,),)),
        Op(kind="gemm", outputs=((1, 8),)),
        Op(kind="gemm", inputs=((),), outputs=((1, 8),)),
    ],
)
def test_incomplete_convolutions_and_products_are_not_learned(op: Op) -> None:
    assert not is_learnable(op)


def test_a_computed_filter_counts_as_much_work_as_a_constant_one() -> None:
    computed = replace(CONV, inputs=(CONV.inputs[0], CONV.weights[0]), weights=())
    column = TERMS.index("work")
    assert path_of(computed) == path_of(CONV)
    assert Table([computed]).terms[0, column] == Table([CONV]).terms[0, column]


def test_a_matrix_unit_works_on_whole_sets_of_channels() -> None:
    work, short = TERMS.index("work"), TERMS.index("short")

    def op(width: int, kernel: str) -> Op:
        plain = conv_op(in_channels=64, out_channels=width, size=(28, 28), kernel=(3, 3))
        return replace(plain, implementation=kernel)

    tpu = Table([op(width, "xla:tpu") for width in (127, 128, 129, 256)]).terms
    assert tpu[0, work] == tpu[1, work]
    assert tpu[2, work] == tpu[3, work] == pytest.approx(2 * tpu[0, work])
    assert not tpu[:, short].any()
    other = Table([op(width, "") for width in (127, 128, 129, 256)]).terms
    assert len(set(other[:, work])) == 4


def test_channels_last_every_place_of_a_group_is_copied_and_multiplied_by_itself() -> None:
    names = ("work", "taps", "rows", "short")
    columns = [TERMS.index(name) for name in names]

    def amounts(groups: int, width: int = 32) -> dict[str, float]:
        plain = conv_op(
            in_channels=width, out_channels=width, size=(10, 10), kernel=(3, 3), groups=groups
        )
        last = replace(
            plain, layout="nhwc", inputs=((1, 10, 10, width),), outputs=((1, 10, 10, width),)
        )
        return dict(zip(names, 1e6 * Table([last]).terms[0, columns], strict=True))

    whole, parted, each = amounts(1), amounts(8), amounts(32)
    assert whole == pytest.approx(
        {"work": 9 * 32 * 32 * 100, "taps": 900, "rows": 100, "short": 0}, abs=1e-6
    )
    # Four channels of a group are multiplied as if they were sixteen.
    assert parted == pytest.approx(
        {"work": 9 * 32 * 4 * 100, "taps": 7200, "rows": 800, "short": 3 * 9 * 32 * 4 * 100}
    )
    assert each["taps"] == whole["taps"]
    assert each["short"] == 0


def amount(op: Op, term: str) -> float:
    return float(Table([op]).terms[0, TERMS.index(term)])


@pytest.mark.parametrize(
    ("word", "term"),
    [("swish", "heavy"), ("gelu", "heavy"), ("hard_swish", "light"), ("prelu", "light")],
)
def test_an_activation_costs_by_its_class_whatever_a_runtime_calls_it(word: str, term: str) -> None:
    folded = replace(CONV, epilogue=(word,))
    assert amount(folded, term) == folded.num_output_elements / 1e6
    assert amount(CONV, term) == 0.0


@pytest.mark.parametrize(("block", "columns"), [(16, 6), (8, 3)])
def test_blocked_kernels_waste_what_does_not_fill_their_registers(block: int, columns: int) -> None:
    """Four blocks of channels by as many columns as there are registers for."""

    def op(channels: int, width: int) -> Op:
        plain = conv_op(in_channels=64, out_channels=channels, size=(8, width), kernel=(1, 1))
        return replace(plain, layout=f"nchw{block}c")

    full = op(4 * block, 2 * columns)
    assert amount(full, "filters") == amount(full, "columns") == 0.0
    assert amount(full, "rows") == 8 * 4 / 1e6
    for odd, term in ((op(5 * block, 2 * columns), "filters"), (op(4 * block, 7), "columns")):
        assert amount(odd, term) > 0.0


def test_direct_kernels_leave_out_taps_that_no_window_has_in_the_image() -> None:
    """A window spread over 24 places of an image of ten reads its middle alone: one tap of nine."""
    whole = conv_op(in_channels=16, out_channels=16, size=(10, 10), kernel=(3, 3), dilation=24)
    shapes = ((1, 10, 10, 16),)
    last = replace(
        whole,
        layout="nhwc",
        inputs=shapes,
        outputs=shapes,
        implementation="Convolution:brgconv_avx512_f32",
    )
    assert amount(last, "work") == pytest.approx(whole.macs / 9 / 1e6)
    through_columns = replace(last, implementation="Convolution:jit_gemm_f32")
    assert amount(through_columns, "work") == pytest.approx(whole.macs / 1e6)
