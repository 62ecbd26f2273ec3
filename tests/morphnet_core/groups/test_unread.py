"""Groups of networks with layers that could not be read and whose wiring nobody knows."""

from __future__ import annotations

import numpy as np
import pytest
from model_zoo import onnx_files, onnx_older
from model_zoo.case import Draft

from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.readers.onnx import read_onnx
from morphnet_core.groups import find_groups


def places():
    draft = Draft(13)
    return draft.case("places", draft.node("NonZero", draft.feed(2, 2, dtype=np.bool_)))


MODELS = {
    "sizes that depend on data": places,
    "a loop": lambda: onnx_files.make("classifier with a loop"),
    "lists of tensors": lambda: onnx_older.make("sequences@11"),
    "a branch": lambda: onnx_files.make("classifier with a branch"),
    "chosen boxes": lambda: onnx_files.make("detector that selects"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_an_unread_layer_may_read_stays(tmp_path, name):
    network = read_onnx(MODELS[name]().save(tmp_path))
    assert network.unread
    grouping = find_groups(network)
    assert all(group.frozen for group in grouping.groups)
    assert set(network.unread) & set(grouping.notes)


def test_what_an_unread_layer_writes_stays():
    conv = conv_op(in_channels=4, out_channels=6, size=(8, 8), kernel=(3, 3))
    relu = Op(kind="relu", inputs=((1, 6, 8, 8),), outputs=((1, 6, 8, 8),))
    network = Network(
        name="net",
        layers=(
            Layer(name="conv", op=conv, inputs=("unknown",), outputs=("conv",)),
            Layer(name="relu", op=relu, inputs=("conv",), outputs=("relu",)),
        ),
        inputs={"x": (1, 3, 8, 8)},
        outputs=("relu",),
        unread={"odd": "nobody knows it"},
    )
    grouping = find_groups(network)
    assert all(group.frozen for group in grouping.groups)
    assert "nobody knows it" in grouping.notes["odd"]


def test_networks_that_are_read_whole_are_as_before(tmp_path):
    draft = Draft(17)
    x = draft.node("Relu", draft.conv(draft.feed(1, 3, 8, 8), 3, 6))
    network = read_onnx(draft.case("case", draft.conv(x, 6, 4)).save(tmp_path))
    assert [group.size for group in find_groups(network).groups if not group.frozen] == [6]
