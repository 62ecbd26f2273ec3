"""Multiply-adds against counts of another making: sums of products of ones, and plain loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from costmodel.costs.counts import Flops, Params
from costmodel.costs.features import TERMS, Table, is_learnable
from costmodel.op import Attribute, Op, Shape
from costmodel.products import PRODUCT_KINDS, Work, multiply_adds
from costmodel.readers.onnx import read_onnx

SIZES = st.integers(1, 6)


def product(letters: str, *sizes: Shape, kind: str = "matmul", **attributes: int) -> Op:
    """A product as numpy does it, of operands that are data or weights."""
    out = np.matmul(*(np.zeros(size) for size in _turned(sizes, attributes))).shape
    given_ = {letter: tuple(s for x, s in zip(letters, sizes, strict=True) if x == letter)
              for letter in "dw"}  # fmt: skip
    return Op(
        kind=kind,
        inputs=given_["d"],
        weights=given_["w"],
        outputs=(out,),
        operands="wd" if letters == "wd" else "",
        attributes=tuple(sorted(attributes.items())),
    )


def _turned(sizes: Sequence[Shape], attributes: dict[str, int]) -> list[Shape]:
    """Sizes as numpy multiplies them, what FusedMatMul turns undone."""
    found = []
    for side, size in zip("AB", sizes, strict=True):
        if attributes.get(f"transBatch{side}"):
            size = (*size[1:-1], size[0], size[-1])
        if attributes.get(f"trans{side}"):
            size = (*size[:-2], size[-1], size[-2])
        found.append(size)
    return found


def ones_of(sizes: Sequence[Shape], attributes: dict[str, int]) -> int:
    """Each product of ones adds one to the sum over the result."""
    return int(np.matmul(*(np.ones(size) for size in _turned(sizes, attributes))).sum())


@st.composite
def placed_products(draw: st.DrawFn) -> tuple[Op, int]:
    """A product of any rank, batch and transposition, and its multiply-adds."""
    rows, length, columns = (draw(SIZES) for _ in range(3))
    batch = draw(st.lists(SIZES, max_size=3))
    attributes: dict[str, int] = {}
    sizes: list[Shape] = []
    for side, matrix in zip("AB", ((rows, length), (length, columns)), strict=True):
        axes = batch[draw(st.integers(0, len(batch))) :]
        size = (*(draw(st.sampled_from((1, axis))) for axis in axes), *matrix)
        if draw(st.booleans()):
            attributes[f"trans{side}"] = 1
            size = (*size[:-2], size[-1], size[-2])
        if len(size) > 2 and draw(st.booleans()):
            attributes[f"transBatch{side}"] = 1
            size = (size[-2], *size[:-2], size[-1])
        sizes.append(size)
    if not attributes and draw(st.booleans()):
        sizes[0] = (length,)
    if not attributes and draw(st.booleans()):
        sizes[1] = (length,)
    letters = draw(st.sampled_from(("dw", "wd", "dd")))
    return product(letters, *sizes, kind="matmul", **attributes), ones_of(sizes, attributes)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(placed_products())
def test_any_product_is_the_sum_of_products_of_ones(case: tuple[Op, int]) -> None:
    op, expected = case
    assert op.macs == expected
    assert Flops().price([op]).values[0] == 2 * expected
    assert is_learnable(op)
    assert Table([op]).terms[0, TERMS.index("work")] * 1e6 >= expected


def test_a_constant_that_stands_first_counts_like_one_that_stands_second() -> None:
    assert product("wd", (1024, 1024), (1024, 8)).macs == 8_388_608
    assert product("wd", (512, 64), (64, 512)).macs == 512 * 64 * 512
    assert product("wd", (5, 7), (7, 3), kind="gemm").macs == 5 * 7 * 3
    assert product("wd", (7, 5), (7, 3), kind="gemm", transA=1).macs == 5 * 7 * 3
    assert product("wd", (5, 7), (2, 3, 7, 4)).macs == 2 * 3 * 5 * 7 * 4


@pytest.mark.parametrize("names", ["wx", "xw"])
@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4), (4,), (2, 5, 3, 4)])
def test_files_tell_which_operand_is_the_constant(tmp_path, names: str, size: Shape) -> None:
    rows = size[-2] if len(size) > 1 else size[0]
    weight = (6, rows) if names == "wx" else (4, 6)
    graph = helper.make_graph(
        [helper.make_node("MatMul", list(names), ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.ones(weight, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "product.onnx")
    (op,) = read_onnx(tmp_path / "product.onnx").ops
    x = np.ones(size, dtype=np.float32)
    assert op.macs == ReferenceEvaluator(model).run(None, {"x": x})[0].sum()


def test_a_flattening_product_sums_over_all_that_it_flattens() -> None:
    op = Op(kind="gemm", inputs=((2, 4, 4, 8),), weights=((10, 128),), outputs=((2, 10),))
    assert op.macs == 2 * 10 * 128
    kept = Op(kind="gemm", inputs=((2, 7, 8),), weights=((10, 8),), outputs=((2, 7, 10),))
    assert kept.macs == 2 * 7 * 8 * 10


EQUATIONS = (
    "ij,jk->ik", "ij,kj->ik", "bij,bjk->bik", "bhid,bhjd->bhij", "...ij,jk->...ik", "i,j->ij",
    "ij,jk", "bqhd,bkhd->bhqk", "i,i->", "abc,cd->abd", "bii,ij->bj", "ij , jk -> ik",
    "...ij,...jk->...ik",
)  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_an_einsum_is_the_sum_of_products_of_ones(equation: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = {label: int(rng.integers(1, 6)) for label in "abcdhijkqz"}
    terms = equation.partition("->")[0].replace(" ", "").split(",")
    sizes = [tuple(lengths[x] for x in term.replace("...", "z")) for term in terms]
    out = np.einsum(equation, *(np.ones(size) for size in sizes))
    op = Op(
        kind="einsum",
        inputs=tuple(sizes),
        outputs=(out.shape,),
        attributes=(("equation", equation),),
    )
    assert op.macs == int(out.sum())


def test_an_einsum_goes_pair_by_pair_and_sums_away_what_nobody_needs() -> None:
    def macs(equation: str, *sizes: Shape) -> int | None:
        return Op(
            kind="einsum", inputs=sizes, outputs=((1,),), attributes=(("equation", equation),)
        ).multiply_adds

    assert macs("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)) == 2 * 3 * 4 + 2 * 4 * 5
    assert macs("ij,jk->k", (2, 3), (3, 4)) == 3 * 4  # i is summed away first
    assert macs("ij->i", (2, 3)) == 0
    assert macs("ij,jk->ik", (2, 3)) is None
    assert macs("ij,jk->ik", (2, 3, 4), (3, 4)) is None


def recurrent(kind: str, gates: int, sizes: tuple[int, ...], lengths: tuple[int, ...]) -> Op:
    steps, batch, width, hidden, directions = sizes
    return Op(
        kind=kind,
        inputs=((steps, batch, width),),
        weights=((directions, gates * hidden, width), (directions, gates * hidden, hidden)),
        outputs=((steps, directions, batch, hidden),),
        operands="dww-c" if lengths else "",
        constants=(lengths,) if lengths else (),
        constant_dtypes=("int32",) if lengths else (),
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    kind=st.sampled_from([("lstm", 4), ("gru", 3), ("rnn", 1)]),
    sizes=st.tuples(SIZES, SIZES, SIZES, SIZES, st.integers(1, 2)),
    data=st.data(),
)
def test_a_recurrent_layer_counts_each_step_of_each_sequence(
    kind: tuple[str, int], sizes: tuple[int, ...], data: st.DataObject
) -> None:
    steps, batch, width, hidden, directions = sizes
    lengths = data.draw(
        st.one_of(
            st.just(()),
            st.lists(st.integers(1, steps), min_size=batch, max_size=batch).map(tuple),
        )
    )
    expected = 0
    for length in lengths or (steps,) * batch:
        for _ in range(length * directions):
            gate = np.ones((hidden, width)).sum() + np.ones((hidden, hidden)).sum()
            expected += kind[1] * int(gate)
    op = recurrent(*kind, sizes, lengths)
    assert op.macs == expected
    # Batch first, or channels first as Keras models are read: the same work.
    turned = replace(op, inputs=((batch, width, steps),))
    assert turned.macs == expected


def test_an_integer_recurrent_layer_keeps_its_matrices_turned() -> None:
    op = recurrent("lstm", 4, (7, 2, 3, 5, 1), ())
    integer = replace(
        op, kind="dynamic_quantize_lstm", weights=(), inputs=(*op.inputs, (1, 3, 20), (1, 5, 20))
    )
    assert integer.macs == op.macs
    assert Params().price([integer]).values[0] == Params().price([op]).values[0]


def conv_model(kind: str, x: Shape, w: Shape) -> onnx.ModelProto:
    group = 1 if x[1] == w[1] else x[1]
    element = TensorProto.UINT8 if kind != "Conv" else TensorProto.FLOAT
    names = {"Conv": ["x", "w"], "ConvInteger": ["x", "w"],
             "QLinearConv": ["x", "s", "z", "w", "s", "z", "s", "z"]}[kind]  # fmt: skip
    filters = np.ones(w, dtype=helper.tensor_dtype_to_np_dtype(element))
    stored = [numpy_helper.from_array(filters, "w")]
    if kind == "QLinearConv":
        stored += [
            numpy_helper.from_array(np.float32(1), "s"),
            numpy_helper.from_array(np.uint8(0), "z"),
        ]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], group=group)],
        "conv",
        [helper.make_tensor_value_info("x", element, x)],
        [onnx.ValueInfoProto(name="y")],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


@pytest.mark.parametrize("kind", ["Conv", "ConvInteger", "QLinearConv"])
@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((1, 2, 5, 5), (3, 2, 1, 1)),  # so few numbers that they are kept by value
        ((2, 4, 6, 5), (8, 4, 3, 2)),
        ((1, 4, 6, 6), (4, 1, 3, 3)),  # depthwise
        ((1, 3, 9), (5, 3, 4)),
    ],
)
def test_integer_convolutions_count_as_float_ones(tmp_path, kind: str, x: Shape, w: Shape) -> None:
    onnx.save(conv_model(kind, x, w), tmp_path / "conv.onnx")
    (op,) = read_onnx(tmp_path / "conv.onnx").ops
    ones = np.ones(x, dtype=np.float32)
    (out,) = ReferenceEvaluator(conv_model("Conv", x, w)).run(None, {"x": ones})
    assert op.macs == out.sum()
    scales = 0 if kind != "QLinearConv" else 3
    assert Params().price([op]).values[0] == np.prod(w) + scales


def op_of(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape], **more: object) -> Op:
    attributes: dict[str, Attribute] = more.pop("attributes", {})  # type: ignore[assignment]
    return Op(
        kind=kind,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attributes=tuple(sorted(attributes.items())),
        **more,  # type: ignore[arg-type]
    )


B, S, L, N, H = 2, 6, 7, 4, 8
HEADS = {"num_heads": N}
PAST = (B, N, 3, H)


@pytest.mark.parametrize(
    ("op", "macs"),
    [
        # ONNX: four axes, three axes, with a memory, with values of another width.
        (op_of("attention", [(B, N, S, H), (B, N, L, H), (B, N, L, 5)], [(B, N, S, 5)]),
         B * N * S * L * (H + 5)),
        (op_of("attention", [(B, S, N * H), (B, L, N * H), (B, L, N * H)], [(B, S, N * H)],
               attributes={"q_num_heads": N, "kv_num_heads": N}), 2 * B * S * L * N * H),
        (op_of("attention", [(B, N, S, H), (B, N, L, H), (B, N, L, H), PAST, PAST], [(B, N, S, H)],
               operands="ddd-dd"), 2 * B * N * S * (L + 3) * H),
        # com.microsoft: by a projection of its own.
        (op_of("attention", [(B, S, 5)], [(B, S, N * H)], weights=((5, 3 * N * H), (3 * N * H,)),
               attributes=HEADS), B * S * 5 * 3 * N * H + 2 * B * S * S * N * H),
        (op_of("multi_head_attention", [(B, S, N * H), (B, L, N * H), (B, L, N * H)],
               [(B, S, N * H)], attributes=HEADS), 2 * B * S * L * N * H),
        (op_of("multi_head_attention", [(B, S, N, 3, H)], [(B, S, N * H)], attributes=HEADS),
         2 * B * S * S * N * H),
        (op_of("multi_head_attention", [(B, S, N * H), (B, N, L, H), (B, N, L, H)],
               [(B, S, N * H)], attributes=HEADS), 2 * B * S * L * N * H),
        (op_of("group_query_attention", [(B, 1, N * H), (B, 1, 2 * H), (B, 1, 2 * H)],
               [(B, 1, N * H), (B, 2, 9, H), (B, 2, 9, H)],
               attributes={"num_heads": N, "kv_num_heads": 2}), 2 * B * 9 * N * H),
        (op_of("group_query_attention", [(B, S, (N + 4) * H)], [(B, S, N * H)],
               attributes={"num_heads": N, "kv_num_heads": 2}), 2 * B * S * S * N * H),
        (op_of("deform_conv", [(1, 4, 6, 6), (1, 18, 6, 6)], [(1, 8, 6, 6)], operands="dwd",
               weights=((8, 4, 3, 3),)), 8 * 36 * 4 * 9),
        (op_of("qlinear_mat_mul", [(5, 6), (6, 30)], [(5, 30)], operands="dwcdwcwc",
               weights=((),) * 3, constants=((3,),) * 3), 5 * 6 * 30),
        (op_of("qgemm", [(5, 6), (30, 6)], [(5, 30)], operands="dwcdwc", weights=((),) * 2,
               constants=((3,),) * 2, attributes={"transA": 0, "transB": 1}), 5 * 6 * 30),
        (op_of("mat_mul_integer", [(6, 30)], [(5, 30)], operands="cd",
               constants=((1,) * 30,)), 5 * 6 * 30),
        (op_of("mat_mul_nbits", [(5, 64), (30, 2, 16)], [(5, 30)],
               attributes={"K": 64, "N": 30}), 5 * 64 * 30),
        (op_of("conv_lstm", [(1, 3, 7, 8, 8)], [(1, 5, 6, 6)],
               weights=((20, 3, 3, 3), (20, 5, 3, 3)),
               attributes={"steps": 7, "positions": 36}), 7 * 36 * 20 * 8 * 9),
        (op_of("matmul", [(2, 5, 6), (2, 5, 7)], [(2, 6, 7)], attributes={"adj_x": 1, "adj_y": 0}),
         2 * 5 * 6 * 7),
        (op_of("affine_grid", [(2, 2, 3)], [(2, 8, 9, 2)]), 2 * 8 * 9 * 2 * 3),
        (op_of("cdist", [(5, 3), (7, 3)], [(5, 7)]), 5 * 7 * 3),
    ],
)  # fmt: skip
def test_kernels_of_other_forms_count_what_they_multiply(op: Op, macs: int) -> None:
    assert op.multiply_adds == macs
    assert Flops().price([op]).values[0] == 2 * macs


@pytest.mark.parametrize("kind", sorted(PRODUCT_KINDS))
def test_sizes_that_say_nothing_are_named_not_guessed(kind: str) -> None:
    assert multiply_adds(kind, Work(operands=(), outputs=(), attributes={})) is None
    op = Op(kind=kind)
    assert (op.macs, op.multiply_adds) == (0, None)
    assert not is_learnable(op)
    assert Flops().price([op]).reasons == {0: f"this {kind!r} lacks its shapes"}


@pytest.mark.parametrize("kind", sorted(PRODUCT_KINDS))
@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=5).map(tuple), max_size=5),
    operands=st.sampled_from(["", "d", "wd", "-d", "cd", "dszw", "dddddddd"]),
    equation=st.sampled_from(["", "ij,jk->ik", "...", "->", "i..j,k"]),
)
def test_no_sizes_whatever_raise(
    kind: str, shapes: list[Shape], operands: str, equation: str
) -> None:
    half = len(shapes) // 2
    op = Op(
        kind=kind,
        inputs=tuple(shapes[:half]),
        outputs=tuple(shapes[half:]),
        operands=operands,
        attributes=(("equation", equation), ("num_heads", 2)),
    )
    assert op.macs >= 0
    prices = Flops().price([op])
    assert (0 in prices.reasons) == bool(np.isnan(prices.values[0]))
