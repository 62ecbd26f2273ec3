from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.op import (
    Op,
    as_operands,
    clip_bounds,
    conv_op,
    decode_op,
    describe,
    encode_op,
    op_fields,
)
from costmodel.testing import ops


@given(ops())
def test_json_gives_the_op_back(op: Op) -> None:
    assert op == decode_op(encode_op(op))


@given(ops(), ops())
def test_digests_tell_ops_apart(a: Op, b: Op) -> None:
    assert (a == b) == (a.digest == b.digest)


def test_the_digest_is_the_same_in_every_process() -> None:
    program = (
        "from costmodel.op import conv_op\n"
        "print(conv_op(in_channels=3, out_channels=8, size=(9, 9), kernel=(3, 3)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    op = conv_op(in_channels=3, out_channels=8, size=(9, 9), kernel=(3, 3))
    assert {op.digest} == digests


def test_equal_ops_have_equal_digests_whatever_number_type_they_hold() -> None:
    whole = Op(kind="clip", attributes=(("max", 6),), constants=((0, 6),))
    real = Op(kind="clip", attributes=(("max", 6.0),), constants=((0.0, 6.0),))
    assert whole == real
    assert whole.digest == real.digest


def test_defaults_are_left_out_of_the_json() -> None:
    op = Op(kind="relu", inputs=((1, 8, 4, 4),), outputs=((1, 8, 4, 4),))
    assert op_fields(op) == {"kind": "relu", "inputs": op.inputs, "outputs": op.outputs}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "missing required field `kind`"),
        ('{"kind": "conv", "inputs": [[1, -2]]}', r"inputs\[0\]\[1\]"),
        ('{"kind": "conv", "inputs": [[1e3]]}', "Expected `int`"),
        ('{"kind": "conv", "inputs": [[99999999999999999999]]}', r"inputs\[0\]\[0\]"),
        ('{"kind": "conv", "inputs": [[1,1,1,1,1,1,1,1,1]]}', "length <= 8"),
        ('{"kind": ""}', r"length >= 1 - at `\$.kind`"),
        ('{"kind": "conv", "groups": 0}', "groups"),
        ('{"kind": "conv", "stride": [0, 1]}', r"stride\[0\]"),
        ('{"kind": ', "truncated"),
        (b'{"kind": "\xff"}', "utf-8"),
        ('{"zz": ' + "[" * 100_000, "recursion"),
    ],
)
def test_malformed_json_is_refused_by_field(text: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        decode_op(text)


def test_macs_of_each_sort_of_product() -> None:
    conv = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    grouped = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3), groups=4)
    up = Op(
        kind="conv_transpose",
        inputs=((1, 16, 8, 8),),
        outputs=((1, 4, 16, 16),),
        weights=((16, 4, 2, 2),),
    )
    gemm = Op(kind="gemm", inputs=((2, 64),), outputs=((2, 10),), weights=((64, 10), (10,)))
    turned = Op(
        kind="gemm", inputs=((64, 2), (64, 10)), outputs=((2, 10),), attributes=(("transA", 1),)
    )
    pool = Op(kind="max_pool", inputs=((1, 16, 8, 8),), outputs=((1, 16, 4, 4),))
    expected = [8 * 8 * 32 * 16 * 9, 8 * 8 * 32 * 4 * 9, 8 * 8 * 16 * 4 * 4, 1280, 1280, 0]
    assert expected == [op.macs for op in (conv, grouped, up, gemm, turned, pool)]


def test_a_convolution_whose_weights_are_computed_reads_them_from_its_second_input() -> None:
    op = Op(kind="conv", inputs=((1, 4, 8, 8), (6, 4, 3, 3)), outputs=((1, 6, 6, 6),))
    assert op.kernel == (3, 3)
    assert op.macs == 6 * 6 * 6 * 4 * 9


def test_channels_last_shapes_are_read_as_such() -> None:
    op = Op(kind="relu", inputs=((2, 7, 9, 3),), outputs=((2, 7, 9, 3),), layout="nhwc")
    assert (op.batch, op.in_channels, op.spatial_in) == (2, 3, (7, 9))


def test_depthwise_is_one_channel_a_group() -> None:
    make: list[dict[str, Any]] = [
        {"in_channels": 8, "out_channels": 8, "groups": 8},
        {"in_channels": 8, "out_channels": 8, "groups": 4},
        {"in_channels": 1, "out_channels": 8, "groups": 1},
    ]
    found = [conv_op(size=(4, 4), kernel=(3, 3), **sizes).is_depthwise for sizes in make]
    assert found == [True, False, False]


@given(
    size=st.integers(1, 64),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
)
def test_same_padding_keeps_the_size_over_the_stride(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    op = conv_op(
        in_channels=1,
        out_channels=1,
        size=(size,),
        kernel=(kernel,),
        stride=stride,
        dilation=dilation,
    )
    assert op.spatial_out == (math.ceil(size / stride),)
    reach = (kernel - 1) * dilation + 1
    # The window's last position lies within the padded input.
    assert (op.spatial_out[0] - 1) * stride + reach <= size + sum(op.pads)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"out_channels": 0}, "at least 1"),
        ({"groups": 3}, "divide"),
        ({"kernel": (3,)}, "as many axes"),
        ({"kernel": (9, 9), "padding": "valid"}, "does not fit"),
    ],
)
def test_impossible_convolutions_are_refused(wrong: dict[str, Any], problem: str) -> None:
    right: dict[str, Any] = {"in_channels": 8, "out_channels": 8, "size": (8, 8), "kernel": (3, 3)}
    with pytest.raises(InvalidInputError, match=problem):
        conv_op(**right | wrong)


def test_labels_tell_what_matters() -> None:
    op = conv_op(
        in_channels=8,
        out_channels=8,
        size=(14, 14),
        kernel=(3, 3),
        stride=2,
        groups=8,
        batch=4,
        epilogue=("relu",),
    )
    assert describe(op) == "conv 3x3 8->8 @14x14 s2 dw n4 +relu"
    assert describe(Op(kind="session")) == "session"


OPERANDS = st.text("dwc-", max_size=8)


@given(OPERANDS)
def test_slots_are_every_operand_in_the_operators_order(letters: str) -> None:
    op = Op(
        kind="add",
        inputs=tuple((1, n + 1) for n in range(letters.count("d"))),
        weights=tuple((n + 1,) for n in range(letters.count("w"))),
        constants=tuple((n,) for n in range(letters.count("c"))),
        operands=as_operands(letters),
        input_dtypes=tuple(f"int{n}" for n in range(letters.count("d"))),
    )
    slots = op.slots()
    assert "".join(slot.letter for slot in slots) == op.order
    assert op.order.rstrip("-") == letters.rstrip("-")
    data, weights, constants = ([s for s in slots if s.letter == letter] for letter in "dwc")
    assert tuple(slot.shape for slot in data) == op.inputs
    assert tuple(slot.dtype for slot in data) == op.input_types
    assert tuple(slot.shape for slot in weights) == op.weights
    assert tuple(slot.values for slot in constants) == op.constants
    for kind in (data, weights, constants):
        assert [slot.index for slot in kind] == list(range(len(kind)))


@given(OPERANDS)
def test_the_usual_order_is_not_written(letters: str) -> None:
    usual = "".join(sorted(letters, key="dwc-".index))
    assert as_operands(letters) == ("" if letters == usual else letters)


def test_letters_of_a_runtime_are_never_the_usual_order() -> None:
    assert as_operands("dszw") == "dszw"
    slot = Op(kind="conv", inputs=((1, 8),), operands="ds").slots()[1]
    assert (slot.letter, slot.index, slot.shape, slot.values) == ("s", 0, (), ())


def test_operands_that_are_not_there_are_refused() -> None:
    op = Op(kind="add", inputs=((1, 8),), operands="dd")
    with pytest.raises(InvalidInputError, match="'dd' are more than it has"):
        op.slots()
    op = Op(kind="add", inputs=((1, 8),), input_dtypes=("int8", "int8"))
    with pytest.raises(InvalidInputError, match="the element type of each operand"):
        op.slots()


@given(ops(), st.text(max_size=4))
def test_an_attribute_is_what_its_pair_says(op: Op, name: str) -> None:
    pairs = dict(op.attributes)
    assert {key: op.attribute(key) for key in pairs} == pairs
    assert op.attribute(name, 7) == pairs.get(name, 7)


def test_an_attribute_has_the_type_of_its_default() -> None:
    op = Op(kind="gemm", attributes=(("alpha", 1), ("axis", 2.0), ("mode", "x"), ("scale", 0.5)))
    assert isinstance(op.attribute("alpha", 1.0), float)
    assert isinstance(op.attribute("axis", 0), int)
    for name, default in (("mode", 1), ("scale", 1), ("axis", ""), ("alpha", ())):
        with pytest.raises(InvalidInputError, match=f"gemm: its attribute {name} must be like"):
            op.attribute(name, default)


def test_bounds_of_a_clip_are_operands_or_attributes() -> None:
    shape = ((1, 4),)
    upper = Op(kind="clip", inputs=shape, operands="d-c", constants=((6.0,),))
    assert clip_bounds(upper) == (-math.inf, 6.0)
    old = Op(kind="clip", inputs=shape, attributes=(("min", -1), ("since", 6)))
    assert clip_bounds(old, 3e38) == (-1.0, 3e38)
