"""Groups of Keras models: what is tied, what is frozen and why, and the options."""

from __future__ import annotations

import numpy as np
import pytest
from keras_layers import layer_of

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import NOBODY, find_groups, resize

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|jax|torch)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
INPUT, OUTPUT = "it is the network's input", "it is the network's output"


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras", reason="needs the keras extra")


@pytest.fixture(scope="module")
def layers(keras):
    return keras.layers


def grouping_of(keras, call, shape=(8, 8, 3), **options):
    image = keras.Input(shape, name="image")
    network = read_keras(keras.Model(image, call(image)))
    grouping = find_groups(network, **options)
    assert resize(grouping, grouping.full()) == network
    return grouping


def found(grouping):
    """Name, size and producers of every group that may shrink."""
    return [(g.name, g.size, g.producers) for g in grouping.groups if not g.frozen]


def frozen(grouping):
    return {g.name: g.frozen for g in grouping.groups if g.frozen}


def conv(layers, width, name, kernel=1, **more):
    return layers.Conv2D(width, kernel, padding="same", name=name, **more)


def test_a_chain(keras, layers):
    def call(x):
        x = layers.ReLU()(layers.BatchNormalization()(conv(layers, 6, "a", 3)(x)))
        x = layers.Dropout(0.5)(layers.Activation("silu")(conv(layers, 5, "b")(x)))
        return conv(layers, 4, "c")(x)

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 6, ("a",)), ("b", 5, ("b",))]
    assert frozen(grouping) == {"image": INPUT, "c": OUTPUT}
    assert [group.minimum for group in grouping.groups] == [1, 1, 1, 1]
    assert grouping.share_prunable == pytest.approx(11 / 15)
    assert grouping.notes == {}


def test_additions_and_concatenations_line_up(keras, layers):
    def call(x):
        parts = [conv(layers, 4, name)(x) for name in "ab"]
        joined = layers.Concatenate()(parts)
        total = layers.Add()([joined, conv(layers, 8, "c")(x)])
        return conv(layers, 2, "head")(total)

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 4, ("a", "c")), ("b", 4, ("b", "c"))]
    np.testing.assert_array_equal(
        grouping.units["c"], np.concatenate([grouping.units["a"], grouping.units["b"]])
    )


def test_depthwise_repeats_and_separable_ties(keras, layers):
    def call(x):
        x = conv(layers, 4, "a")(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x)
        x = layers.SeparableConv2D(6, 3, depth_multiplier=3, name="sep")(x)
        return conv(layers, 2, "head")(x)

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 4, ("a",)), ("sep", 6, ("sep",))]
    np.testing.assert_array_equal(grouping.units["dw"], np.repeat(grouping.units["a"], 2))
    np.testing.assert_array_equal(grouping.units["sep"], np.repeat(grouping.units["a"], 6))


def test_groups_of_a_convolution_keep_equally_many(keras, layers):
    def call(x):
        x = conv(layers, 4, "a")(x)
        return conv(layers, 2, "head")(conv(layers, 6, "g", groups=2)(x))

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 2, ("a",)), ("g", 3, ("g",))]
    assert grouping.units["a"].tolist() == [3, 4, 3, 4]


@pytest.mark.parametrize("keep", [True, False])
def test_squeeze_and_excite(keras, layers, keep):
    def call(x):
        x = conv(layers, 4, "a")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=keep)(x)
        gate = gate if keep else layers.Reshape((1, 1, 4))(gate)
        gate = conv(layers, 2, "reduce", activation="relu")(gate)
        gate = conv(layers, 4, "expand", activation="sigmoid")(gate)
        return conv(layers, 2, "head")(layers.Multiply()([x, gate]))

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 4, ("a", "expand")), ("reduce", 2, ("reduce",))]
    # Without the gate's middle the gate is a constant; without the rest nothing is left.
    assert [grouping.by_name[name].minimum for name in ("a", "reduce")] == [1, 0]


def test_a_gate_of_one_channel_is_frozen(keras, layers):
    def call(x):
        x = conv(layers, 4, "a")(x)
        gate = conv(layers, 1, "gate", activation="sigmoid")(x)
        return conv(layers, 2, "head")(layers.Multiply()([x, gate]))

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 4, ("a",))]
    assert "broadcasts it over the channels" in frozen(grouping)["gate"]


def test_flatten_repeats_each_channel_in_the_order_of_the_layer(keras, layers):
    def call(x):
        x = layers.Flatten(name="flat")(conv(layers, 3, "a")(x))
        return layers.Dense(2, name="head")(layers.Dense(5, activation="relu", name="hidden")(x))

    grouping = grouping_of(keras, call, (2, 2, 1))
    assert found(grouping) == [("a", 3, ("a",)), ("hidden", 5, ("hidden",))]
    assert grouping.units["flat"].tolist() == [*grouping.units["a"].tolist()] * 4


def test_channels_first_models(keras, layers):
    first = {"data_format": "channels_first"}

    def call(x):
        x = layers.Conv2D(3, 1, name="a", **first)(x)
        x = layers.BatchNormalization(axis=1, name="norm")(x)
        return layers.Dense(2, name="head")(layers.Flatten(name="flat", **first)(x))

    grouping = grouping_of(keras, call, (1, 2, 2))
    assert found(grouping) == [("a", 3, ("a",))]
    assert grouping.units["flat"].tolist() == grouping.units["a"].tolist() * 4
    assert grouping.axes["flat/transpose"] == 3

    def reshaped(x):
        return layers.Reshape((12,), name="flat")(layers.Conv2D(3, 1, name="a", **first)(x))

    grouping = grouping_of(keras, reshaped, (1, 2, 2))
    assert grouping.units["flat"].tolist() == np.repeat(grouping.units["a"], 4).tolist()


def test_dense_to_image(keras, layers):
    def call(x):
        x = layers.Reshape((2, 2, 3), name="square")(layers.Dense(12, name="wide")(x))
        return layers.Conv2DTranspose(2, 2, strides=2, name="up")(x)

    grouping = grouping_of(keras, call, (4,))
    assert found(grouping) == [("wide", 3, ("wide",))]
    assert grouping.units["wide"].tolist() == grouping.units["square"].tolist() * 4
    assert len(set(grouping.units["wide"].tolist())) == 3


def test_channel_shuffle_is_followed(keras, layers):
    def call(x):
        x = conv(layers, 6, "a", groups=1)(x)
        x = layers.Reshape((8, 8, 2, 3))(x)
        x = layers.Reshape((8, 8, 6), name="mixed")(layers.Permute((1, 2, 4, 3))(x))
        return conv(layers, 2, "head")(x)

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("a", 3, ("a",))]
    assert grouping.units["a"].tolist() == [3, 4, 5, 3, 4, 5]
    assert grouping.units["mixed"].tolist() == [3, 3, 4, 4, 5, 5]


def test_slices_splits_and_padded_channels(keras, layers):
    ops = keras.ops

    def call(x):
        x = conv(layers, 6, "a")(x)
        left, right = ops.split(x, [2], axis=-1)
        padded = ops.pad(left, [[0, 0], [0, 0], [0, 0], [1, 1]])
        total = padded + right
        return conv(layers, 2, "head")(ops.concatenate([total, x[..., 5:]], axis=-1))

    grouping = grouping_of(keras, call)
    own = grouping.units["a"].tolist()
    # Padded zeros belong to whom they are added to: channel 1 of four is "a"'s first and fourth.
    assert own[0] == own[3]
    assert own[1] == own[4]
    assert len(set(own)) == 4
    assert all(group.producers == ("a",) for group in grouping.groups if not group.frozen)
    assert [g.name for g in grouping.groups if not g.frozen] == ["a", "a#2", "a#3"]


def test_zeros_alone_are_nobodys(keras, layers):
    def call(x):
        x = keras.ops.pad(conv(layers, 2, "a")(x), [[0, 0], [0, 0], [0, 0], [0, 3]])
        return conv(layers, 2, "head")(x)

    grouping = grouping_of(keras, call)
    padded = grouping.network.layers[1].outputs[0]
    assert grouping.units[padded].tolist()[2:] == [NOBODY] * 3
    alive = grouping.full()
    alive[grouping.by_name["a"].start] = False
    assert grouping.kept(padded, alive).tolist() == [1, 2, 3, 4]
    assert resize(grouping, alive).ops[-1].weights[0] == (2, 4, 1, 1)


def test_layers_called_twice_have_one_set_of_channels(keras, layers):
    def call(x):
        shared = layers.Conv2D(4, 1, name="shared")
        a, b = conv(layers, 5, "a")(x), conv(layers, 5, "b")(x)
        return conv(layers, 2, "head")(layers.Concatenate()([shared(a), shared(b)]))

    grouping = grouping_of(keras, call)
    # Keras runs branches of one depth in an order of its own.
    assert found(grouping) == [("b", 5, ("b", "a")), ("shared", 4, ("shared",))]


def test_nested_models_are_entered_in_every_call(keras, layers):
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), conv(layers, 4, "one"), conv(layers, 3, "two")], name="inner"
    )
    grouping = grouping_of(keras, lambda x: conv(layers, 2, "head")(inner(inner(x))))
    assert found(grouping) == [("inner/one", 4, ("inner/one",))]
    # The first call reads the image, and the second what the first wrote.
    assert frozen(grouping) == {"inner/two": INPUT, "head": OUTPUT}


def test_unread_layers_freeze_what_they_touch_and_are_noted(keras, layers):
    def call(x):
        x = conv(layers, 4, "a")(x)
        x = layers.Lambda(lambda t: t * 2, output_shape=(8, 8, 4), name="odd")(x)
        return conv(layers, 2, "head")(conv(layers, 5, "b")(x))

    grouping = grouping_of(keras, call)
    assert found(grouping) == [("b", 5, ("b",))]
    assert "odd cannot be followed" in frozen(grouping)["a"]
    assert "Lambda" in frozen(grouping)["odd"]
    assert list(grouping.notes) == ["odd"]


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization"])
def test_normalisations_over_channels(keras, layers, kind):
    norm = layer_of(keras, kind)

    def call(x):
        x = norm(name="norm")(conv(layers, 4, "a")(x))
        return conv(layers, 2, "head")(x)

    assert "normalises over channels" in frozen(grouping_of(keras, call))["a"]
    assert "norm" in grouping_of(keras, call).notes
    assert found(grouping_of(keras, call, normalisations=True)) == [("a", 4, ("a",))]


@pytest.mark.parametrize(("groups", "units"), [(1, 0), (2, 2), (4, 4), (-1, 4)])
def test_channels_of_one_group_of_a_normalisation_go_together(keras, layers, groups, units):
    def call(x):
        x = layers.GroupNormalization(groups, name="norm")(conv(layers, 4, "a")(x))
        return conv(layers, 2, "head")(x)

    grouping = grouping_of(keras, call)
    assert found(grouping) == ([("a", units, ("a",))] if units else [])
    assert units or "normalises over channels" in frozen(grouping)["a"]


def test_what_mixes_channels_is_frozen(keras, layers):
    def call(x):
        a, b, c = (conv(layers, 4, name)(x) for name in "abc")
        mean = keras.ops.mean(a, axis=-1, keepdims=True)
        turned = layers.Permute((3, 1, 2), name="turn")(b)
        turned = conv(layers, 3, "turned")(turned)
        soft = layers.Softmax(name="soft")(c)
        return [conv(layers, 2, f"head{i}")(t) for i, t in enumerate((mean, turned, soft))]

    grouping = grouping_of(keras, call)
    reasons = frozen(grouping)
    assert "reduces the channels" in reasons["a"]
    assert "slides its window along the channels" in reasons["b"]
    assert "soft works across all channels" in reasons["c"]
    assert found(grouping) == [("turned", 3, ("turned",))]


@pytest.mark.parametrize("rank", [1, 3])
def test_other_numbers_of_dimensions(keras, layers, rank):
    kind = lambda name: getattr(layers, f"{name}{rank}D")  # noqa: E731

    def call(x):
        x = kind("Conv")(4, 3, padding="same", name="a")(x)
        x = kind("MaxPooling")(2)(layers.BatchNormalization()(x))
        x = kind("UpSampling")(2)(kind("ZeroPadding")(1)(x))
        x = kind("Conv")(6, 1, name="b")(kind("Cropping")(1)(x))
        return layers.Dense(2, name="head")(kind("GlobalAveragePooling")()(x))

    grouping = grouping_of(keras, call, (8,) * rank + (2,))
    assert found(grouping) == [("a", 4, ("a",)), ("b", 6, ("b",))]
    assert grouping.notes == {}


def block(layers, x, name, width):
    y = conv(layers, 4, f"{name}1")(x)
    y = conv(layers, width, f"{name}2")(y)
    return layers.Add(name=f"{name}_sum")([x, y])


def residual(layers):
    def call(x):
        x = conv(layers, 6, "stem")(x)
        x = block(layers, x, "p", 6)
        return conv(layers, 2, "head")(block(layers, x, "q", 6))

    return call


def test_only_what_may_vanish_has_no_minimum(keras, layers):
    grouping = grouping_of(keras, residual(layers))
    assert [(g.name, g.minimum) for g in grouping.groups if not g.frozen] == [
        ("stem", 1), ("p1", 0), ("q1", 0),
    ]  # fmt: skip
    kept = grouping_of(keras, residual(layers), minimum=2, multiple=4)
    assert {(g.minimum, g.multiple) for g in kept.groups if not g.frozen} == {(2, 4)}


def test_force_group_ties_what_it_is_found_in(keras, layers):
    grouping = grouping_of(keras, residual(layers), force_group=["^[pq]1$"])
    assert found(grouping) == [("stem", 6, ("stem", "p2", "q2")), ("p1", 4, ("p1", "q1"))]
    with pytest.raises(InvalidInputError, match="'stem' with 6 channels and in 'p1' with 4"):
        grouping_of(keras, residual(layers), force_group=["stem|p1"])


def test_excluded_layers_keep_their_channels(keras, layers):
    grouping = grouping_of(keras, residual(layers), exclude=["^p"])
    assert found(grouping) == [("q1", 4, ("q1",))]
    assert frozen(grouping)["p1"] == "p1 is excluded by '^p'"
    assert frozen(grouping)["stem"] == "p2 is excluded by '^p'"


@pytest.mark.parametrize("option", ["force_group", "exclude"])
def test_expressions_that_say_nothing_are_errors(keras, layers, option):
    with pytest.raises(InvalidInputError, match=f"{option}: 'conv' is found in no layer"):
        grouping_of(keras, residual(layers), **{option: ["conv"]})
    with pytest.raises(InvalidInputError, match="not a regular expression"):
        grouping_of(keras, residual(layers), **{option: ["("]})
    with pytest.raises(InvalidInputError, match="must be a list"):
        grouping_of(keras, residual(layers), **{option: "p1"})


def test_bounds_leave_the_rest_as_it_is(keras, layers):
    part = grouping_of(keras, residual(layers), inputs=["stem"], outputs=["p_sum"])
    assert found(part) == [("p1", 4, ("p1",))]
    assert "lies outside" in frozen(part)["q1"]
    after = grouping_of(keras, residual(layers), inputs=["p_sum"])
    assert found(after) == [("q1", 4, ("q1",))]
    before = grouping_of(keras, residual(layers), outputs=["p_sum"])
    assert found(before) == [("p1", 4, ("p1",))]
    with pytest.raises(InvalidInputError, match="no layer 'nowhere'"):
        grouping_of(keras, residual(layers), outputs=["nowhere"])
    with pytest.raises(InvalidInputError, match="no layer between"):
        grouping_of(keras, residual(layers), inputs=["q1"], outputs=["p1"])


def test_numbers_out_of_range(keras, layers):
    with pytest.raises(InvalidInputError, match="multiple=0"):
        grouping_of(keras, residual(layers), multiple=0)
    grouping = grouping_of(keras, residual(layers))
    with pytest.raises(InvalidInputError, match="truth values, one per unit"):
        grouping.counts(np.ones(3, dtype=bool))
    with pytest.raises(InvalidInputError, match="whole numbers, one per group"):
        resize(grouping, [1, 2])
    with pytest.raises(InvalidInputError, match="Nothing would reach 'head'"):
        resize(grouping, [0 if g.name == "stem" else g.size for g in grouping.groups])
    with pytest.raises(InvalidInputError, match="cannot have 1: it is the network's output"):
        resize(grouping, [1 if g.name == "head" else g.size for g in grouping.groups])


def test_scores_say_which_channels_come_back(keras, layers):
    grouping = grouping_of(keras, residual(layers), multiple=2)
    stem = grouping.by_name["stem"].units
    alive = grouping.full()
    alive[stem] = [True, False, False, False, True, True]
    scores = np.zeros(grouping.num_units)
    scores[stem] = [0, 1, 3, 2, 0, 0]
    assert grouping.allowed(alive, scores)[stem].tolist() == [True, False, True, False, True, True]
    assert grouping.allowed(alive)[stem].tolist() == [True, True, False, False, True, True]


def test_a_dead_residual_branch_leaves_the_network(keras, layers):
    grouping = grouping_of(keras, residual(layers))
    alive = grouping.full()
    alive[grouping.by_name["p1"].units] = False
    small = resize(grouping, alive)
    small.check()
    assert [layer.name for layer in small.layers] == ["stem", "q1", "q2", "q_sum", "head"]
    assert small.layers[3].inputs == ("stem", "q2")
