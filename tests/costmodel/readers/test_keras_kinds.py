"""Every layer that the Keras reader knows: in the vocabulary, with the work that it does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from keras_layers import layer_of

from costmodel.costs.counts import COUNTED_KINDS, Flops, Params
from costmodel.readers import keras_ops
from costmodel.readers.keras import read_keras

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SEQUENCE, IMAGE, VOLUME, FILM = (6, 5), (8, 7, 4), (5, 6, 7, 4), (3, 8, 7, 4)


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    return pytest.importorskip("keras", reason="needs the keras extra")


def network_of(keras: Any, make: Any, *shapes: tuple[int, ...], **options: Any) -> Any:
    inputs = [keras.Input(shape, **options) for shape in shapes]
    model = keras.Model(inputs, make(*inputs))
    network = read_keras(model)
    network.check()
    assert network.unread == {}
    return model, network


def macs_of(network: Any) -> int:
    return sum(op.macs for op in network.ops)


#: What layers need that do not work on an image with the settings ``{}``.
SETTINGS: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "relu"},
    "CenterCrop": {"height": 4, "width": 4},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 7)},
    "Embedding": {"input_dim": 9, "output_dim": 4},
    "GroupNormalization": {"groups": 2},
    "Permute": {"dims": (2, 1)},
    "Rescaling": {"scale": 2.0},
    "Reshape": {"target_shape": (5, 6)},
    "RepeatVector": {"n": 3},
    "Resizing": {"height": 4, "width": 4},
}
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {"filters": 4, "kernel_size": 2},
    {"kernel_size": 2},
    {"pool_size": 2},
    {"output_size": 2},
    {"units": 4},
    {"num_heads": 2, "key_dim": 3},
    {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
    {"rate": 0.2},
    {"axes": 2},
    {"stddev": 0.1},
    {"factor": 0.2},
    {"height_factor": 0.2, "width_factor": 0.2},
)


def called(keras: Any, name: str) -> tuple[Any, list[Any]] | None:
    """A layer of this class name on the first kind of input that it takes."""
    layers = keras.layers
    if name in ELSEWHERE or name.startswith("Adaptive"):
        made: Any = getattr(layers, name, None)
    else:
        made = layer_of(keras, name)
    if name in {"Bidirectional", "TimeDistributed", "SpectralNormalization"}:
        inner = {"Bidirectional": layers.GRU(3)}.get(name, layers.Dense(3))
        sequence = keras.Input(SEQUENCE)
        return made(inner)(sequence), [sequence]
    if name == "RNN":
        sequence = keras.Input(SEQUENCE)
        return layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)])(sequence), [sequence]
    if made is None:
        return None  # of an application, or of another package
    for settings in [SETTINGS[name]] if name in SETTINGS else ARGUMENTS:
        for shape in (SEQUENCE, IMAGE, VOLUME, (3, *VOLUME), (4,), (6, 6, 3)):
            for count in (1, 2):
                inputs = [keras.Input(shape) for _ in range(count)]
                try:
                    layer = made(**settings)
                    fed = inputs if count > 1 and "eads" not in str(settings) else inputs[0]
                    out = layer(*inputs) if "eads" in str(settings) else layer(fed)
                except Exception:
                    continue
                return out, inputs
    message = f"no settings make a {name}"
    raise AssertionError(message)


#: Layers of ``keras.applications`` and of others, and a class that is exported by another name.
ELSEWHERE = {"CustomScaleLayer", "Divide", "GroupedQueryAttention", "LayerScale", "StochasticDepth"}
NAMES = sorted({*keras_ops._RULES, *keras_ops._CALL_RULES, *keras_ops._MANY_RULES})


@pytest.mark.parametrize("name", sorted(keras_ops.IDENTITY - ELSEWHERE))
def test_a_layer_that_is_read_as_nothing_does_nothing_at_inference(keras, name: str) -> None:
    made = called(keras, name)
    assert made is not None
    out, inputs = made
    model = keras.Model(inputs, out)
    fed = np.random.default_rng(0).uniform(0, 255, (2, *inputs[0].shape[1:])).astype(np.float32)
    found = keras.ops.convert_to_numpy(model(fed, training=False))
    np.testing.assert_array_equal(found, fed)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_that_a_layer_is_read_as_is_counted(keras, name: str) -> None:
    made = called(keras, name)
    if made is None:
        return
    out, inputs = made
    network = read_keras(keras.Model(inputs, out))
    assert {op.kind for op in network.ops} <= COUNTED_KINDS
    assert not Flops().price(network.ops).reasons
    for step in network.unread.values():
        assert step


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"return_sequences": True}, {"return_state": True}, {"go_backwards": True},
     {"use_bias": False}],
)  # fmt: skip
@pytest.mark.parametrize("both", ["one way", "both ways"])
def test_recurrent_layers_work_at_every_step(keras, name: str, settings: Any, both: str) -> None:
    if both == "both ways":
        settings = {**settings, "go_backwards": False}
    made = getattr(keras.layers, name)(7, **settings)
    layer = keras.layers.Bidirectional(made) if both == "both ways" else made
    model, network = network_of(keras, lambda x: layer(x), SEQUENCE)
    kernels = [w for w in model.weights if len(w.shape) == 2 and "bias" not in w.path]
    assert macs_of(network) == 6 * sum(int(np.prod(w.shape)) for w in kernels)
    assert Params().price(network.ops).values.sum() == model.count_params()


def test_states_that_are_fed_add_nothing(keras) -> None:
    def call(x, state, memory):
        return keras.layers.LSTM(3)(x, initial_state=[state, memory])

    _, network = network_of(keras, call, SEQUENCE, (3,), (3,))
    (op,) = network.ops
    assert (op.operands, op.macs) == ("dwww-dd", 6 * 12 * (5 + 3))


def test_cells_on_top_of_each_other_count_each(keras) -> None:
    cells = [keras.layers.LSTMCell(3), keras.layers.GRUCell(4)]
    _, network = network_of(keras, lambda x: keras.layers.RNN(cells)(x), SEQUENCE)
    assert macs_of(network) == 6 * (12 * (5 + 3) + 12 * (3 + 4))


@pytest.mark.parametrize("sequences", [True, False])
def test_a_convolved_cell_works_at_every_step_and_place(keras, sequences) -> None:
    layer = keras.layers.ConvLSTM2D(5, 3, return_sequences=sequences)
    model, network = network_of(keras, lambda x: layer(x), FILM)
    assert macs_of(network) == 3 * 6 * 5 * 20 * 9 * (4 + 5)
    assert Params().price(network.ops).values.sum() == model.count_params()


@pytest.mark.parametrize(
    ("inner", "shape", "macs"),
    [
        (lambda k: k.layers.Dense(3), SEQUENCE, 6 * 5 * 3),
        (lambda k: k.layers.Conv2D(3, 2), FILM, 3 * 7 * 6 * 3 * 4 * 4),
        (lambda k: k.layers.DepthwiseConv2D(2), FILM, 3 * 7 * 6 * 4 * 4),
    ],
)
def test_a_layer_at_every_step_counts_every_step_and_is_not_followed(keras, inner, shape, macs):
    from morphnet_core.groups.find import find_groups

    def call(x):
        return keras.layers.TimeDistributed(inner(keras))(x)

    model, network = network_of(keras, call, shape)
    assert macs_of(network) == macs
    assert Params().price(network.ops).values.sum() == model.count_params()
    assert all(layer.frozen for layer in network.layers)
    assert not [group for group in find_groups(network).groups if not group.frozen]


@pytest.mark.parametrize(
    ("equation", "shape", "output", "macs"),
    [
        ("abc,cd->abd", SEQUENCE, (None, 7), 6 * 5 * 7),
        ("abc,bd->adc", SEQUENCE, (7, None), 6 * 5 * 7),
        ("...x,xy->...y", IMAGE, 3, 8 * 7 * 4 * 3),
        ("abcd,de->abce", IMAGE, (None, None, 3), 8 * 7 * 4 * 3),
        ("abc,cde->abde", SEQUENCE, (None, 2, 3), 6 * 5 * 6),
    ],
)
def test_products_by_an_equation(keras, equation, shape, output, macs) -> None:
    layer = keras.layers.EinsumDense(equation, output_shape=output)
    _, network = network_of(keras, lambda x: layer(x), shape)
    assert macs_of(network) == macs
    for earlier, later in pairwise(network.layers):
        assert later.op.inputs == earlier.op.outputs


@pytest.mark.parametrize(
    ("call", "shapes", "macs"),
    [
        (lambda k, x, y: k.ops.matmul(x, k.ops.transpose(y, (0, 2, 1))), (SEQUENCE,) * 2, 180),
        (lambda k, x, y: k.ops.einsum("abc,adc->abd", x, y), (SEQUENCE,) * 2, 6 * 6 * 5),
        (lambda k, x, y: k.layers.Dot(axes=2)([x, y]), (SEQUENCE,) * 2, 6 * 6 * 5),
        (lambda k, x, y: k.layers.Dot(axes=(1, 1))([x, y]), (SEQUENCE,) * 2, 5 * 5 * 6),
        (lambda k, x, y: k.layers.Dot(axes=1)([x, y]), ((6,), (6,)), 6),
        (lambda k, x, y: k.ops.matmul(x, y), ((2, 6, 5), (2, 5, 3)), 2 * 6 * 5 * 3),
        (lambda k, x, y: k.layers.Attention()([x, y]), ((6, 5), (4, 5)), 2 * 6 * 4 * 5),
        (lambda k, x, y: k.layers.AdditiveAttention()([x, y]), ((6, 5), (4, 5)), 6 * 4 * 5),
        (
            lambda k, x, y: k.layers.MultiHeadAttention(2, 3, value_dim=4)(x, y),
            ((6, 5), (4, 5)),
            6 * 5 * 6 + 4 * 5 * 6 + 4 * 5 * 8 + 2 * 6 * 4 * (3 + 4) + 6 * 8 * 5,
        ),
        (
            lambda k, x, y: k.layers.GroupQueryAttention(3, 4, 2)(x, y),
            ((6, 5), (4, 5)),
            6 * 5 * 12 + 2 * 4 * 5 * 6 + 2 * 4 * 6 * 4 * 3 + 6 * 12 * 5,
        ),
    ],
)
def test_products_of_tensors_and_attention(keras, call, shapes, macs) -> None:
    model, network = network_of(keras, lambda *x: call(keras, *x), *shapes)
    assert macs_of(network) == macs
    assert Params().price(network.ops).values.sum() == model.count_params()


def test_a_table_of_rows_has_parameters_and_no_work(keras) -> None:
    model, network = network_of(
        keras, lambda x: keras.layers.Embedding(9, 4)(x), (6,), dtype="int32"
    )
    assert macs_of(network) == 0
    assert Params().price(network.ops).values.sum() == model.count_params() == 36


def test_a_normalised_kernel_counts_as_the_layer_inside(keras) -> None:
    layer = keras.layers.SpectralNormalization(keras.layers.Conv2D(3, 2))
    _, network = network_of(keras, lambda x: layer(x), IMAGE)
    assert macs_of(network) == 7 * 6 * 3 * 4 * 4
    assert all(layer.frozen for layer in network.layers)
