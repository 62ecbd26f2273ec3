"""Channels with small weights, where they are written or read, are worth less."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_graphs import Graph

from morphnet_core.alignment import paddable, read_source
from morphnet_core.planning import weight_importance


def rated(model):
    source = read_source(model, {})
    grouping = paddable(source)
    found = weight_importance(source, grouping)
    return {group.name: found[group.units] for group in grouping.groups}


def scaled(model, place, axis, channel, factor):
    item = [item for item in model.graph.initializer if len(item.dims) > 1][place]
    value = np.moveaxis(onnx.numpy_helper.to_array(item).copy(), axis, 0)
    value[channel] *= factor
    item.CopyFrom(onnx.numpy_helper.from_array(np.moveaxis(value, 0, axis), item.name))
    return model


def network():
    """Convolution, depthwise, transposed, flattened into a product with turned weights."""
    graph = Graph()
    x = graph.batch_norm(graph.conv("image", 8))
    x = graph.depthwise(x)
    x = graph.transposed(x, 6)
    hidden = graph.dense(graph.flat(x), 12, turned=True)
    return graph.model(graph.dense(hidden, 4, product=True))


@pytest.mark.parametrize(
    ("place", "axis", "group"),
    [(0, 0, "conv0"), (1, 0, "conv0"), (2, 0, "conv0"), (2, 1, "convtranspose3"), (3, 0, "gemm5"),
     (4, 0, "gemm5")],
)  # fmt: skip
def test_each_axis_that_runs_over_channels_counts(place, axis, group):
    before, after = rated(network()), rated(scaled(network(), place, axis, 2, 0.01))
    assert after[group][2] < before[group][2]
    assert np.argmin(after[group] - before[group]) == 2


def test_a_flattened_channel_is_read_at_all_its_positions():
    model = network()
    for position in range(2 * 36, 3 * 36):
        scaled(model, 3, 1, position, 0.01)
    assert np.argmin(rated(model)["convtranspose3"]) == 2


def test_channels_count_as_many_times_as_there_are_layers_whatever_their_scale_is():
    model = scaled(network(), 0, 0, slice(None), 100.0)
    means = {name: values.mean() for name, values in rated(model).items()}
    # Written, through the depthwise one, read; the normalisation is none.
    assert means == pytest.approx(
        {"image": 1.0, "conv0": 3.0, "convtranspose3": 2.0, "gemm5": 2.0, "matmul6": 1.0}
    )


def test_weights_that_are_all_zero_tell_nothing():
    model = scaled(network(), 0, 0, slice(None), 0.0)
    assert np.isfinite(rated(model)["conv0"]).all()
