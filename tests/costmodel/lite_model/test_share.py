"""Which layers a converter keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costmodel.lite_model.share import drop_unread
from costmodel.network import Layer, Network, Opaque
from costmodel.op import Op

SIZE = (1, 4)


def layer(name: str, *reads: str) -> Layer:
    op = Op(kind="add" if len(reads) > 1 else "exp", inputs=(SIZE,) * len(reads), outputs=(SIZE,))
    return Layer(name=name, op=op, inputs=reads, outputs=(name,))


@pytest.fixture
def network() -> Network:
    """``side`` and what only it reads lead nowhere."""
    layers = (layer("a", "x"), layer("b", "a"), layer("side", "b", "a"), layer("c", "a"))
    return Network(name="net", layers=layers, inputs={"x": SIZE}, outputs=("c",))


def names(network: Network) -> list[str]:
    return [item.name for item in network.layers]


def test_what_nothing_returned_depends_on_goes(network: Network) -> None:
    assert names(drop_unread(network)) == ["a", "c"]


def test_what_is_returned_or_read_stays(network: Network) -> None:
    assert names(drop_unread(replace(network, outputs=("c", "b")))) == ["a", "b", "c"]


def test_a_layer_that_could_not_be_read_keeps_what_it_reads(network: Network) -> None:
    opaque = {"odd": Opaque(inputs=("b",), outputs=("odd",), sizes=(SIZE,), reason="odd")}
    odd = replace(network, unread={"odd": "odd"}, opaque=opaque)
    assert names(drop_unread(odd)) == ["a", "b", "c"]


def test_where_nobody_can_tell_everything_stays(network: Network) -> None:
    assert names(drop_unread(replace(network, unread={"odd": "odd"}))) == names(network)
    assert names(drop_unread(replace(network, outputs=()))) == names(network)
