"""The Keras reader: exported networks compute the same, read ones have the right layers."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
from keras_layers import layer_of
from legacy_keras import resnet8, save_as_keras_2

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.readers.keras import export_onnx, read_keras
from costmodel.readers.onnx import read_onnx

pytestmark = [
    pytest.mark.keras,
    # TensorFlow's own imports and Keras's use of numpy warn; nothing of ours may.
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    return pytest.importorskip("keras", reason="needs the keras extra")


@pytest.fixture(scope="module")
def legacy_file(keras, tmp_path_factory):
    """MLPerf Tiny's ResNet-8 as Keras 2 wrote it."""
    return save_as_keras_2(resnet8(keras), tmp_path_factory.mktemp("legacy") / "resnet8.h5")


@pytest.fixture
def exporting(keras):
    """For tests that write ONNX files, which only one backend can."""
    if keras.config.backend() != "tensorflow":
        pytest.skip("only models on TensorFlow are converted to ONNX")


def randomised(keras, model):
    """Fill every variable, so that no bias or statistic is the identity by chance."""
    random = np.random.default_rng(0)
    for variable in model.variables:
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.3
        variable.assign(random.uniform(low, low + 0.6, variable.shape).astype("float32"))
    return model


def zoo(keras):
    """One network with most of the layers that convolutional networks are made of."""
    layers = keras.layers
    image = keras.Input((24, 20, 3), name="image")
    x = layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="top")(x)
    y = layers.SeparableConv2D(12, 3, padding="same", activation="relu", name="sep")(x)
    x = layers.Add(name="sum")([x, y, x])
    x = layers.DepthwiseConv2D(3, name="dw")(x)
    x = layers.LeakyReLU(name="leaky")(x)
    x = layers.ZeroPadding2D(((0, 1), (1, 0)), name="pad")(x)
    y = layers.AveragePooling2D(3, strides=1, padding="same", name="mean")(x)
    x = layers.Concatenate(name="cat")([x, y])
    x = layers.MaxPooling2D(2, name="max")(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="up")(x)
    z = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    z = layers.Conv2D(8, 1, activation="silu", name="gate")(z)
    x = layers.Multiply(name="scale")([x, z])
    x = layers.Conv2D(8, 3, dilation_rate=2, groups=2, name="grouped")(x)
    x = layers.Activation("gelu", name="gelu")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x), name="zoo")


def outputs_of(path, feed):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})[0]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.usefixtures("exporting")
def test_exported_network_computes_the_same(keras, tmp_path, suffix):
    model = randomised(keras, zoo(keras))
    path = tmp_path / f"zoo.{suffix}"
    model.save(path)
    exported = export_onnx(path, tmp_path / "zoo.onnx")
    feed = np.random.default_rng(1).standard_normal((1, 24, 20, 3)).astype(np.float32)
    expected = np.asarray(model(feed, training=False))
    np.testing.assert_allclose(outputs_of(exported, feed), expected, rtol=1e-4, atol=1e-5)
    assert read_onnx(exported).inputs == {"image": (1, 24, 20, 3)}


@pytest.mark.usefixtures("exporting")
def test_legacy_file_is_exported_and_computes_the_same(keras, legacy_file, tmp_path, capfd):
    exported = export_onnx(legacy_file, tmp_path / "resnet8.onnx")
    model = keras.models.load_model(legacy_file, compile=False)
    feed = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(model(feed, training=False))
    np.testing.assert_allclose(outputs_of(exported, feed), expected, rtol=1e-3, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_legacy_file_is_read_as_written(legacy_file):
    network = read_keras(legacy_file)
    network.check()
    kinds = [op.kind for op in network.ops]
    assert kinds.count("conv") == 9
    assert kinds.count("batch_norm") == 7
    assert network.inputs == {"input_1": (1, 3, 32, 32)}
    assert network.unread == {}
    # MLPerf Tiny's ResNet-8: 12.5 million multiply-adds.
    assert sum(op.macs for op in network.ops) == 12_501_632


def test_layers_as_written(keras):
    network = read_keras(zoo(keras))
    network.check()
    found = {layer.name: layer for layer in network.layers}
    assert network.unread == {}
    assert [layer.name for layer in network.layers][:9] == [
        "stem", "norm", "top", "sep", "sep/pointwise", "sep/relu", "sum", "sum/2", "dw",
    ]  # fmt: skip
    assert found["stem"].op.weights == ((12, 3, 3, 3),)
    assert found["stem"].op.pads == (0, 0, 1, 1)
    assert found["stem"].op.outputs == ((1, 12, 12, 10),)
    assert found["sep"].op.is_depthwise
    assert found["sep/pointwise"].op.weights == ((12, 12, 1, 1), (12,))
    assert found["sum/2"].inputs == ("sum", "top")
    assert found["pad"].op.constants == ((0, 0, 0, 1, 0, 0, 1, 0),)
    assert found["cat"].op.attributes == (("axis", 1),)
    assert found["cat"].op.outputs == ((1, 24, 11, 9),)
    assert found["up"].op.weights == ((24, 8, 3, 3), (8,))
    assert found["gate/silu"].inputs == ("gate", "gate/silu/gate")
    assert found["grouped"].op.groups == 2
    assert found["head"].op.weights == ((192, 10), (10,))
    assert found["head/softmax"].inputs == ("head",)


@pytest.mark.usefixtures("exporting")
def test_convolutions_agree_with_those_of_the_exported_file(keras, tmp_path):
    model = randomised(keras, zoo(keras))
    model.save(tmp_path / "zoo.keras")
    exported = read_onnx(export_onnx(tmp_path / "zoo.keras", tmp_path / "zoo.onnx"))
    window = lambda op: (op.weights[0], op.inputs, op.outputs, op.stride, op.pads, op.groups)  # noqa: E731

    def convs(network):
        return sorted(
            window(op) for op in network.ops if op.kind.startswith("conv") and op.groups in {1, 2}
        )

    assert convs(read_keras(model)) == convs(exported)


def test_nested_and_sequential_models_are_flattened(keras):
    layers = keras.layers
    inner = keras.Sequential([layers.Conv2D(4, 1, name="a"), layers.ReLU(name="b")], name="inner")
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Flatten(name="flat")(inner(image)))
    network = read_keras(model)
    network.check()
    assert [(layer.name, layer.inputs) for layer in network.layers] == [
        ("inner/a", ("image",)),
        ("inner/b", ("inner/a",)),
        ("flat", ("inner/b",)),
    ]
    alone = read_keras(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1, name="a")]))
    assert [layer.name for layer in alone.layers] == ["a"]


def test_layer_without_a_rule_is_listed(keras):
    class Own(keras.layers.Layer):  # type: ignore[name-defined]
        def call(self, x):
            return keras.ops.cumsum(x, axis=1)

    image = keras.Input((6, 8))
    network = read_keras(keras.Model(image, Own(name="own")(image)))
    assert network.layers == ()
    assert "no rule" in network.unread["own"]


def test_open_sizes_are_bound_or_named(keras, tmp_path):
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="c")(image))
    with pytest.raises(ModelFormatError, match="--size image:1=224"):
        read_keras(model)
    sizes = {"image:1": 10, "image:2": 12}
    assert read_keras(model, sizes).ops[0].outputs == ((1, 4, 10, 12),)
    if keras.config.backend() != "tensorflow":
        with pytest.raises(InvalidInputError, match="KERAS_BACKEND=tensorflow"):
            export_onnx(tmp_path / "open.keras", tmp_path / "open.onnx", sizes)
        return
    model.save(tmp_path / "open.keras")
    exported = export_onnx(tmp_path / "open.keras", tmp_path / "open.onnx", sizes)
    assert read_onnx(exported).inputs == {"image": (1, 10, 12, 3)}


def test_code_in_a_file_is_never_run(keras, tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))
    for name in ("lambda.keras", "lambda.h5"):
        model.save(tmp_path / name)
        with pytest.raises(ModelFormatError, match="code of its own, which is not run"):
            read_keras(tmp_path / name)


@pytest.mark.parametrize(
    "function", [["4wE=", None, None], {"class_name": "__lambda__", "config": {"code": "4wE="}}]
)
def test_code_in_an_old_file_is_refused_before_keras_sees_it(
    keras, tmp_path, monkeypatch, function
):
    import h5py

    path = tmp_path / "old.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer = {"class_name": "Lambda", "config": {"name": "l", "function": function}}
        config["config"]["layers"].append(layer)
        file.attrs["model_config"] = json.dumps(config)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ModelFormatError, match="code of its own, which is not run"):
        read_keras(path)


@pytest.mark.parametrize("data", [b"", b"not a model" * 50])
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_bad_file_is_named(keras, tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=f"{name} cannot be loaded"):
        read_keras(path)


def test_missing_file_and_subclassed_model_are_explained(keras, tmp_path):
    with pytest.raises(ModelFormatError, match="is not a file"):
        read_keras(tmp_path / "no.keras")

    model_class: Any = keras.Model

    class Bare(model_class):
        def call(self, x):
            return x

    with pytest.raises(ModelFormatError, match="no graph of layers"):
        read_keras(Bare())


def one(keras, call, *shapes):
    """The network of a model that is one function of its inputs."""
    inputs = [keras.Input(shape, name=f"in{i}") for i, shape in enumerate(shapes)]
    network = read_keras(keras.Model(inputs, call(*inputs)))
    network.check()
    return network


@pytest.mark.parametrize(
    ("call", "kind", "output"),
    [
        (lambda _, x: x[..., 1:3], "slice", (1, 2, 6, 5)),
        (lambda _, x: x[:, 2, :, :], "reshape", (1, 4, 5)),
        (lambda _, x: 1.0 - x, "sub", (1, 4, 6, 5)),
        (lambda k, x: k.ops.split(x, 2, axis=-1), "split", (1, 2, 6, 5)),
        (lambda k, x: k.ops.transpose(x, (0, 3, 1, 2)), "transpose", (1, 5, 4, 6)),
        (lambda k, x: k.ops.moveaxis(x, -1, 1), "transpose", (1, 5, 4, 6)),
        (lambda k, x: k.ops.swapaxes(x, 1, 2), "transpose", (1, 4, 5, 6)),
        (lambda k, x: k.ops.mean(x, axis=(1, 2), keepdims=True), "reduce_mean", (1, 4, 1, 1)),
        (lambda k, x: k.ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]]), "pad", (1, 7, 6, 5)),
        (lambda k, x: k.layers.Dense(3)(x), "conv", (1, 3, 6, 5)),
        (lambda k, x: k.layers.Permute((2, 1, 3))(x), "transpose", (1, 4, 5, 6)),
        (lambda k, x: k.layers.GroupNormalization(2)(x), "group_norm", (1, 4, 6, 5)),
        (lambda k, x: k.layers.LayerNormalization()(x), "layer_norm", (1, 4, 6, 5)),
        (lambda k, x: layer_of(k, "RMSNormalization")()(x), "rms_norm", (1, 4, 6, 5)),
        (lambda k, x: k.layers.UnitNormalization()(x), "unit_norm", (1, 4, 6, 5)),
        (lambda k, x: k.layers.Activation("mish")(x), "mish", (1, 4, 6, 5)),
    ],
)
def test_functions_and_layers_along_axes(keras, call, kind, output):
    network = one(keras, lambda x: call(keras, x), (6, 5, 4))
    assert (network.layers[-1].op.kind, network.ops[-1].outputs[0]) == (kind, output)
    assert network.unread == {}


def test_axes_are_those_of_the_neutral_sizes(keras):
    ops = keras.ops
    op = one(keras, lambda x: ops.transpose(x, (0, 3, 1, 2)), (6, 5, 4)).ops[0]
    assert tuple(op.inputs[0][axis] for axis in dict(op.attributes)["perm"]) == op.outputs[0]
    op = one(keras, lambda x: x[:, 1:4, ..., :2], (6, 5, 4)).ops[0]
    assert op.constants == ((1, 0), (4, 2), (2, 1), (1, 1))
    op = one(keras, lambda x: x * np.ones(4, "float32"), (6, 5, 4)).ops[0]
    assert op.weights == ((1, 4, 1, 1),)
    op = one(keras, keras.layers.PReLU(), (6, 5, 4)).ops[0]
    assert op.weights == ((4, 6, 5),)
    concat = keras.layers.Concatenate(axis=1)
    op = one(keras, lambda x, y: concat([x, y]), (3, 3, 3), (3, 3, 3)).ops[0]
    assert (op.attributes, op.outputs) == ((("axis", 2),), ((1, 3, 6, 3),))


def test_causal_convolutions_look_back_only(keras):
    op = one(keras, keras.layers.Conv1D(4, 3, dilation_rate=2, padding="causal"), (9, 2)).ops[0]
    assert op.pads == (4, 0)


def test_the_wiring_of_unread_layers_is_kept(keras):
    layers = keras.layers

    def call(x):
        x = layers.Conv2D(4, 1, name="before")(x)
        x = layers.Lambda(lambda t: t * 2, output_shape=(6, 5, 4), name="odd")(x)
        return layers.Conv2D(2, 1, name="after")(x)

    network = one(keras, call, (6, 5, 3))
    opaque = network.opaque["odd"]
    assert (opaque.inputs, opaque.outputs) == (("before",), ("odd:0",))
    assert opaque.sizes == ((1, 4, 6, 5),)
    assert "Lambda" in opaque.reason
    assert network.unread == {"odd": opaque.reason}
    assert network.layers[-1].inputs == ("odd:0",)


def test_steps_and_calls_have_the_origin_of_their_layer(keras):
    layers = keras.layers
    shared = layers.Conv2D(3, 1, activation="relu", name="shared")
    inner = keras.Sequential([layers.Conv2D(3, 1, name="a")], name="inner")
    network = one(keras, lambda x: inner(shared(inner(shared(x)))), (6, 5, 3))
    assert [(item.origin, item.call) for item in network.layers] == [
        ("shared", 0), ("shared", 0), ("inner/a", 0), ("shared", 1), ("shared", 1), ("inner/a", 1),
    ]  # fmt: skip
    assert len({item.name for item in network.layers}) == 6


def test_channels_first_models_are_read_as_they_are(keras):
    layers = keras.layers
    first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [keras.Input((4, 6, 5)), layers.ZeroPadding2D(1, **first), layers.Flatten(**first)]
    )
    network = read_keras(model)
    assert not network.channels_last
    assert [op.kind for op in network.ops] == ["pad", "transpose", "reshape"]
    assert network.ops[0].outputs == ((1, 4, 8, 7),)
    assert network.ops[1].outputs == ((1, 8, 7, 4),)
