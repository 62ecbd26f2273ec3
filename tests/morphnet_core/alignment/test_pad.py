"""Padding any group by any number of channels leaves the function as it is."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_graphs import Graph, drawn_models

from costmodel.errors import InvalidInputError
from morphnet_core.alignment import TOLERANCE, agreement, cut, pad, paddable, read_source


def padded(model, add, **options):
    """The model with ``add`` more units, or ``add(group)``, in each group that is free."""
    source = read_source(model, {}, **options)
    grouping = paddable(source)
    more = [add(group) if callable(add) else add for group in grouping.groups]
    sizes = [
        group.size + (0 if group.frozen else extra)
        for group, extra in zip(grouping.groups, more, strict=True)
    ]
    counts = np.array(sizes)
    return source, grouping, pad(source, grouping, counts)


def difference(source, model):
    return agreement(source.path, source.model, model, {}).difference


@settings(
    max_examples=45,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(model=drawn_models(), data=st.data())
def test_any_padding_of_any_network_keeps_its_function(model, data):
    source, grouping, wider = padded(
        model, lambda group: data.draw(st.integers(0, 5), label=group.name)
    )
    # Random weights may end in sums that nearly cancel, which magnifies rounding; a channel in a
    # wrong place shows by far more.
    assert difference(source, wider) <= 10 * TOLERANCE
    # What is drawn is understood: nothing stays as it is but the network's own ends, and groups
    # that are taken apart between the channels that one filter makes of one channel.
    for group in grouping.groups:
        assert re.search("^$|the network's|other groups of channels", group.frozen), group
    onnx.checker.check_model(wider)
    back = cut_back(wider, grouping)
    for before, after in zip(results(model), results(back), strict=True):
        assert np.array_equal(before, after)


def cut_back(wider, grouping):
    """The padded network without what was added: the first units of every group."""
    source = read_source(wider, {})
    now = paddable(source)
    alive = now.full()
    for group, was in zip(now.groups, grouping.groups, strict=True):
        alive[group.start + was.size : group.start + group.size] = False
    return cut(source, now, alive)


def results(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(0)
    feed = {item.name: rng.standard_normal(item.shape, np.float32) for item in session.get_inputs()}
    return session.run(None, feed)


def chain(**options):
    graph = Graph(**options)
    first = graph.node("Relu", graph.batch_norm(graph.conv("image", 13)))
    last = graph.conv(graph.depthwise(first), 7, kernel=1)
    return graph, last


def test_new_channels_read_and_write_nothing():
    graph, last = chain()
    _, grouping, wider = padded(graph.model(last), 3)
    assert [group.size for group in grouping.groups] == [3, 13, 7]
    assert grouping.groups[-1].frozen == "it is the network's output"
    weights = {item.name: onnx.numpy_helper.to_array(item) for item in wider.graph.initializer}
    convs = [node for node in wider.graph.node if node.op_type == "Conv"]
    made, deep, read = (weights[node.input[1]] for node in convs)
    assert (made.shape[0], deep.shape[0], read.shape[1]) == (16, 16, 16)
    assert not made[13:].any()
    assert not deep[13:].any()
    assert not read[:, 13:].any()
    norm = next(node for node in wider.graph.node if node.op_type == "BatchNormalization")
    scale, offset, mean, variance = (weights[name][13:] for name in norm.input[1:])
    assert not np.any([scale, offset, mean])
    assert (variance == 1).all()
    assert next(item.i for item in convs[1].attribute if item.name == "group") == 16


def test_channels_are_added_behind_each_operand_of_a_concatenation():
    graph = Graph()
    first, other = graph.conv("image", 3), graph.conv("image", 5)
    last = graph.conv(graph.concat(first, other), 2, kernel=1)
    _, _, wider = padded(graph.model(last), 1)
    weight = onnx.numpy_helper.to_array(
        next(i for i in wider.graph.initializer if i.name == wider.graph.node[-1].input[1])
    )
    assert (weight.any(axis=(0, 2, 3)) == [1, 1, 1, 0, 1, 1, 1, 1, 1, 0]).all()


def test_a_weight_that_two_layers_share_is_padded_for_each():
    graph = Graph()
    wide = graph.conv("image", 5)
    size = graph.sizes[wide]
    shared = graph.normal(5, 5, 1, 1)
    first = graph.node("Conv", wide, shared, size=size)
    second = graph.node("Conv", graph.node("Relu", first), shared, size=size)
    last = graph.conv(second, 2)
    source, _, wider = padded(graph.model(last), lambda group: 1 + group.start % 5)
    assert difference(source, wider) <= TOLERANCE


def test_open_sizes_stay_open():
    graph, last = chain(batch="n")
    source, _, wider = padded(graph.model(graph.flat(last, "computed")), 2)
    assert wider.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert agreement(source.path, source.model, wider, {"n": 3}).difference <= TOLERANCE


def test_a_scale_of_one_is_no_single_channel():
    graph = Graph()
    wide = graph.conv("image", 1)
    scaled = graph.node("Resize", wide, "", graph.constant([1.0, 1.0, 1.0, 1.0]))
    source, grouping, wider = padded(graph.model(graph.conv(scaled, 2)), 3)
    assert [group.frozen for group in grouping.groups][1] == ""
    assert difference(source, wider) <= TOLERANCE


def test_weights_that_nodes_make_are_padded_too():
    graph = Graph()
    turned = graph.node("Transpose", graph.normal(3, 13, 1, 1), size=(), perm=[1, 0, 2, 3])
    wide = graph.node("Conv", "image", turned, size=(1, 13, 6, 6))
    source, grouping, wider = padded(graph.model(graph.conv(wide, 2)), 3)
    assert not grouping.groups[1].frozen
    assert difference(source, wider) <= TOLERANCE


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_parts_without_sizes_get_some(opset):
    graph = Graph(opset=opset)
    wide = graph.conv("image", 6)
    extra = {"num_outputs": 2} if opset >= 18 else {}
    parts = graph.nodes_of("Split", wide, sizes=[(1, 3, 6, 6)] * 2, axis=1, **extra)
    last = graph.conv(graph.node("Relu", parts[0]), 2), graph.conv(parts[1], 2)
    source, grouping, wider = padded(graph.model(*last), lambda group: group.start % 5)
    assert sum(not group.frozen for group in grouping.groups) == 2
    assert difference(source, wider) <= TOLERANCE


def frozen(model, **options):
    grouping = paddable(read_source(model, {}, **options))
    return {group.name: group.frozen for group in grouping.groups if group.size == 13}


@pytest.mark.parametrize("kind", ["Log", "Reciprocal", "Sqrt"])
def test_what_may_not_be_finite_is_frozen(kind):
    graph = Graph()
    wide = graph.node(kind, graph.node("Exp", graph.conv("image", 13)))
    assert "may not be finite" in frozen(graph.model(graph.conv(wide, 2)))["conv0"]


def test_a_division_by_another_tensor_is_frozen():
    graph = Graph()
    wide, other = graph.conv("image", 13), graph.conv("image", 13)
    last = graph.conv(graph.node("Div", wide, graph.node("Exp", other)), 2)
    assert "divided by zero" in frozen(graph.model(last))["conv0"]


@pytest.mark.parametrize(("power", "stays"), [(2.0, False), (-1.0, True)])
def test_powers_are_padded_where_zero_has_one(power, stays):
    graph = Graph()
    wide = graph.node("Exp", graph.conv("image", 13))
    made = graph.node("Pow", wide, graph.constant(power))
    model = graph.model(graph.conv(made, 2))
    assert bool(frozen(model)["conv0"]) is stays
    source, _, wider = padded(model, 3)
    assert difference(source, wider) <= TOLERANCE


def test_a_size_that_is_computed_but_means_channels_is_told_anew():
    graph = Graph()
    wide = graph.conv("image", 13)
    shape = graph.node("Shape", wide, size=(4,))
    batch = graph.node("Gather", shape, graph.integers(0), size=(1,), axis=0)
    # 26 is twice the channels, which nothing in the graph says.
    target = graph.node("Concat", batch, graph.integers(26, 18), size=(3,), axis=0)
    made = graph.node("Reshape", wide, target, size=(1, 26, 18))
    source, grouping, wider = padded(graph.model(graph.dense(graph.flat(made), 2)), 3)
    assert not grouping.groups[1].frozen
    assert difference(source, wider) <= TOLERANCE


def test_a_size_that_cannot_be_told_freezes_what_it_means():
    graph = Graph(batch="n")
    wide = graph.conv("image", 13)
    shape = graph.node("Shape", wide, size=(4,))
    batch = graph.node("Gather", shape, graph.integers(0), size=(1,), axis=0)
    target = graph.node("Concat", batch, graph.integers(13, 6, 6), size=(4,), axis=0)
    made = graph.node("Expand", wide, target)
    last = graph.conv(graph.node("Relu", graph.conv(made, 13)), 2)
    model = graph.model(last)
    assert "padded, its size would be" in frozen(model)["conv0"]
    source, grouping, wider = padded(model, 3)
    assert [group.size for group in grouping.groups if not group.frozen] == [13]
    assert agreement(source.path, source.model, wider, {"n": 2}).difference <= TOLERANCE


def test_unread_nodes_freeze_what_they_read():
    graph = Graph()
    wide, free = graph.conv("image", 13), graph.conv("image", 13)
    found = graph.node("NonZero", wide, size=())
    kept = graph.conv(graph.node("Relu", wide), 2)
    reasons = frozen(graph.model(found, kept, graph.conv(free, 2)))
    assert "NonZero" in reasons["conv0"]
    assert reasons["conv1"] == ""


def test_weights_that_may_be_fed_are_fixed_on_request():
    graph, last = chain()
    model = graph.model(last)
    for item in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        model.graph.input.append(info)
    assert "its weights are inputs too" in frozen(model)["conv0"]
    source, grouping, wider = padded(model, 3, fix_weights=True)
    assert not grouping.groups[1].frozen
    assert [item.name for item in wider.graph.input] == ["image"]
    assert difference(source, wider) <= TOLERANCE


def test_groups_never_shrink():
    graph, last = chain()
    source = read_source(graph.model(last), {})
    grouping = paddable(source)
    with pytest.raises(InvalidInputError, match="cannot take channels away"):
        pad(source, grouping, np.array([3, 12, 7]))
    with pytest.raises(InvalidInputError, match="the network's output"):
        pad(source, grouping, np.array([3, 13, 8]))


def test_a_group_keeps_a_channel():
    graph, last = chain()
    source = read_source(graph.model(last), {})
    grouping = paddable(source)
    alive = grouping.full()
    alive[grouping.groups[1].units] = False
    with pytest.raises(InvalidInputError, match="lose all its channels"):
        cut(source, grouping, alive)
