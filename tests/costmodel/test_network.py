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
