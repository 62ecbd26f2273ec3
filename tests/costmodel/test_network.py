from __future__ import annotations

import pytest

from costmodel.errors import ModelFormatError
from costmodel.network import Layer, Network
from costmodel.op import Op

RELU = Op(kind="relu", inputs=((1, 8),), outputs=((1, 8),))
FIRST = Layer(name="first", op=RELU, inputs=("x",), outputs=("y",))
SECOND = Layer(name="second", op=RELU, inputs=("y",), outputs=("z",))


def test_a_sound_network_passes_and_lists_its_ops() -> None:
    network = Network(name="net", layers=(FIRST, SECOND), inputs={"x": (1, 8)}, outputs=("z",))
    network.check()
    assert network.ops == (RELU, RELU)
    assert network.source == "written"


@pytest.mark.parametrize(
    ("layers", "inputs", "problem"),
    [
        ((FIRST, FIRST), {"x": (1, 8)}, "two layers named 'first'"),
        ((FIRST,), {}, "'first'.*reads 'x'"),
        ((SECOND, FIRST), {"x": (1, 8)}, "'second'.*reads 'y'"),
    ],
)
def test_unsound_networks_are_refused(
    layers: tuple[Layer, ...], inputs: dict[str, tuple[int, ...]], problem: str
) -> None:
    with pytest.raises(ModelFormatError, match=problem):
        Network(name="net", layers=layers, inputs=inputs).check()


def test_kernels_that_a_runtime_added_belong_to_those_beside_them() -> None:
    def kernel(name: str, kind: str, read: str, written: str, *covers: str) -> Layer:
        op = Op(kind=kind, inputs=((1, 8),), outputs=((1, 8),))
        return Layer(name=name, op=op, inputs=(read,), outputs=(written,), covers=covers)

    network = Network(
        name="net",
        layers=(
            kernel("into", "reorder_input", "x", "a"),
            kernel("conv", "conv", "a", "b", "c1", "relu"),
            kernel("out", "reorder_output", "b", "c"),
            kernel("flat", "reshape", "c", "d"),
            kernel("product", "gemm", "d", "e"),
            kernel("back", "reshape", "e", "f", "matmul", "add"),
            kernel("last", "gemm", "f", "g"),
            Layer(name="session", op=Op(kind="session", inputs=((1,),), outputs=((1,),))),
        ),
    )
    assert network.beside() == {
        "into": ("c1", "relu"),  # nobody wrote what it stores another way
        "out": ("c1", "relu"),
        "flat": ("c1", "relu"),
        "product": ("matmul", "add"),  # stands for what its reader names
        "last": ("matmul", "add"),  # nobody reads what it makes
    }


def test_layers_as_written_have_none_beside_them() -> None:
    assert Network(name="net", layers=(FIRST, SECOND), inputs={"x": (1, 8)}).beside() == {}
