"""Ops of pieces: the same after JSON, the same piece again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import UnsupportedOpError
from costmodel.network import Layer
from costmodel.op import Op, conv_op, decode_op, encode_op
from costmodel.runners.tpu_aot.ops import PROGRAM, SUBGRAPH, kernel_op, op_of, piece_of
from costmodel.runners.tpu_aot.pieces import BIAS, OUTSIDE, Piece, bias_op

WORDS = st.lists(st.sampled_from(["sum", "relu", "relu6", "sigmoid"]), max_size=3).map(tuple)


@given(
    words=WORDS,
    into=st.integers(1, 64),
    out=st.integers(1, 64),
    size=st.integers(1, 30),
    has_bias=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_a_kernel_is_its_piece_and_back(
    *, words: tuple[str, ...], into: int, out: int, size: int, has_bias: bool
) -> None:
    op = conv_op(
        in_channels=into, out_channels=out, size=(size, size + 1), kernel=(3, 3), batch=8,
        bias=has_bias,
    )  # fmt: skip
    op = replace(op, inputs=op.inputs + op.outputs * words.count("sum"), epilogue=words)
    kernel = kernel_op(op, "bfloat16")
    assert (kernel.in_channels, kernel.out_channels, kernel.spatial_in) == (
        into, out, (size, size + 1),
    )  # fmt: skip
    assert kernel.macs == op.macs
    network, stored = piece_of(decode_op(encode_op(kernel)))
    kinds = [layer.op.kind for layer in network.layers]
    assert kinds[0] == "conv"
    assert len(kinds) == 1 + has_bias + len(words)
    assert tuple(network.inputs.values()) == op.inputs
    assert set(stored.values()) == {(1, 2, 0, 3)}
    layers = [
        replace(layer, name=layer.name + BIAS if layer.op.weights and i else layer.name)
        for i, layer in enumerate(network.layers)
    ]
    piece = Piece(
        layers=tuple(layers),
        inputs=network.inputs,
        outputs=network.outputs,
        stored=stored,
        cycles=1,
    )
    assert op_of(piece, "bfloat16") == kernel


def chain(width: int, suffix: str = "") -> Piece:
    """Two convolutions in one kernel."""
    first = conv_op(in_channels=8, out_channels=width, size=(6, 6), kernel=(1, 1), bias=False)
    second = conv_op(in_channels=width, out_channels=4, size=(6, 6), kernel=(3, 3), bias=False)
    bias = bias_op(first.outputs[0], "float32")
    return Piece(
        layers=(
            Layer(name="a" + suffix, op=first, inputs=("x" + suffix,), outputs=("r" + suffix,)),
            Layer(name="a:bias", op=bias, inputs=("r" + suffix,), outputs=("b" + suffix,)),
            Layer(name="c" + suffix, op=second, inputs=("b" + suffix,), outputs=("y" + suffix,)),
        ),
        inputs={"x" + suffix: first.inputs[0]},
        outputs=("y" + suffix,),
        stored={"x" + suffix: OUTSIDE, "y" + suffix: (1, 2, 0, 3)},
        cycles=10,
    )


def test_names_never_enter_an_op() -> None:
    assert op_of(chain(16), "bfloat16") == op_of(chain(16, "/other"), "bfloat16")
    assert op_of(chain(16), "bfloat16") != op_of(chain(17), "bfloat16")


def test_what_fields_cannot_say_is_kept_layer_by_layer() -> None:
    op = decode_op(encode_op(op_of(chain(16), "bfloat16")))
    assert op.kind == SUBGRAPH
    assert op.epilogue == ("conv", "bias", "conv")
    assert op.num_weights == 8 * 16 + 16 + 16 * 4 * 9
    network, stored = piece_of(op)
    assert [layer.op.kind for layer in network.layers] == ["conv", "add", "conv"]
    assert [layer.op.macs for layer in network.layers] == [
        layer.op.macs for layer in chain(16).layers
    ]
    assert stored == {"t0": OUTSIDE, network.outputs[0]: (1, 2, 0, 3)}


def test_a_prologue_leaves_the_main_layer_its_fields() -> None:
    piece = chain(16)
    shape = piece.layers[0].op.inputs[0]
    relu = Layer(
        name="relu", op=Op(kind="relu", inputs=(shape,), outputs=(shape,)), inputs=("z",),
        outputs=("x",),
    )  # fmt: skip
    found = op_of(
        replace(piece, layers=(relu, piece.layers[0]), inputs={"z": shape}, outputs=("r",)),
        "bfloat16",
    )
    assert (found.kind, found.in_channels, found.out_channels) == ("conv", 8, 16)
    assert found.epilogue == ("relu",)
    assert dict(found.attributes)[PROGRAM]


@pytest.mark.parametrize("implementation", ["", "com.microsoft.nchwc:Conv"])
def test_ops_of_other_runtimes_are_refused(implementation: str) -> None:
    op = conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1))
    with pytest.raises(UnsupportedOpError, match="lower"):
        piece_of(replace(op, implementation=implementation))
