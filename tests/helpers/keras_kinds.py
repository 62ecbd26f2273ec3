"""Small Keras models of every kind that people train, each with data and a way to compile it.

Nearly all are two convolutions with a normalisation behind a few unusual things: what is tried is
whether a model of the kind can be searched, cut, exported and checked, not what it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from morphnet_core.data import Data
from morphnet_core.data.nested import taken

SAMPLES, SIZE, CLASSES = 24, 8, 3
BATCH = 8
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable("shop")
class Sharpen(layers.Layer):
    """A layer of the user's own, with a weight and a setting."""

    def __init__(self, amount: float = 1.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amount = amount

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale * self.amount

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amount": self.amount}


@keras.saving.register_keras_serializable("shop")
class Net(keras.Model):
    """A model that is a class."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same", name="a")
        self.norm = layers.BatchNormalization(name="norm")
        self.drop = layers.Dropout(0.2, seed=3, name="drop")
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, inputs: Any, *, training: bool | None = None) -> Any:
        x = ops.relu(self.norm(self.conv(inputs), training=training))
        x = self.drop(ops.mean(x, axis=(1, 2)), training=training)
        return self.head(x)


class Batches(keras.utils.PyDataset):
    """Batches by number, as a loader of the user's own gives them."""

    def __init__(self, x: Any, y: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y) // BATCH

    def __getitem__(self, index: int) -> Any:
        part = slice(index * BATCH, (index + 1) * BATCH)
        return self.x[part], self.y[part]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model.

    Attributes:
        model: makes it.
        data: makes the data, without their batch size.
        compile: what it is compiled with.
        options: of ``morph``.
        shape: of its input, where a saved file does not tell.
        trusted: whether its file holds code.
    """

    model: Callable[[], Any]
    data: Callable[[], Mapping[str, Any]]
    compile: Mapping[str, Any] = field(default_factory=lambda: {"loss": LOGITS})
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: str = ""
    trusted: bool = False

    def made(self) -> Data:
        return Data(**{"batch_size": BATCH, **self.data()})

    def compiled(self, model: Any, steps: int) -> Any:
        schedule = keras.optimizers.schedules.CosineDecay(0.02, max(1, steps))
        model.compile(keras.optimizers.SGD(schedule, momentum=0.9), **self.compile)
        return model


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def labels(count: int = CLASSES) -> Any:
    return rng().integers(count, size=SAMPLES)


def images(channels: int = 3, dtype: str = "float32") -> Any:
    shape = (SAMPLES, SIZE, SIZE, channels)
    if dtype.startswith("float"):
        return rng().normal(size=shape).astype(dtype)
    most = {"uint8": 256, "int8": 100, "bool": 2}[dtype]
    return rng().integers(most, size=shape).astype(dtype)


def block(x: Any, name: str, width: int = 8, rank: int = 2, **settings: Any) -> Any:
    convolution = getattr(layers, f"Conv{rank}D")
    x = convolution(width, 3, padding="same", use_bias=False, name=name, **settings)(x)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))


def ended(inputs: Any, x: Any, rank: int = 2, units: int = CLASSES) -> Any:
    x = getattr(layers, f"GlobalAveragePooling{rank}D")()(x)
    return keras.Model(inputs, layers.Dense(units, name="head")(x), name="net")


def image(dtype: str = "float32", channels: int = 3, name: str = "image") -> Any:
    return keras.Input((SIZE, SIZE, channels), dtype=dtype, name=name)


def with_labels(x: Callable[[], Any]) -> Callable[[], Mapping[str, Any]]:
    return lambda: {
        "x": x(),
        "y": labels(),
        "x_val": taken(x(), 0, BATCH),
        "y_val": labels()[:BATCH],
    }


def plain() -> Any:
    inputs = image()
    return ended(inputs, block(block(inputs, "a"), "b"))


def scaled_bytes() -> Any:
    inputs = image("uint8")
    return ended(inputs, block(block(layers.Rescaling(1 / 255)(inputs), "a"), "b"))


def small_integers() -> Any:
    inputs = image("int8")
    return ended(inputs, block(block(ops.cast(inputs, "float32") / 64.0, "a"), "b"))


def half_inputs() -> Any:
    inputs = image("float16")
    return ended(inputs, block(block(inputs, "a"), "b"))


def tokens(dtype: str = "int32") -> Any:
    inputs = keras.Input((12,), dtype=dtype, name="ids")
    x = layers.Embedding(20, 6, name="embedding")(inputs)
    return ended(inputs, block(block(x, "a", rank=1), "b", rank=1), rank=1)


def ids(dtype: str) -> Callable[[], Any]:
    return lambda: rng().integers(20, size=(SAMPLES, 12)).astype(dtype)


def masked() -> Any:
    inputs, mask = image(), image("bool", 1, "mask")
    x = block(inputs, "a") * ops.cast(mask, "float32")
    return ended([inputs, mask], block(x, "b"))


def two_inputs() -> Any:
    left, right = image(name="left"), image(channels=2, name="right")
    x = layers.Concatenate()([block(left, "a"), block(right, "b")])
    return ended([left, right], block(x, "c"))


def dict_inputs() -> Any:
    left, numbers = image(name="left"), keras.Input((5,), name="numbers")
    x = layers.GlobalAveragePooling2D()(block(left, "a"))
    x = layers.Concatenate()([x, layers.Dense(4, name="embed")(numbers)])
    outputs = layers.Dense(CLASSES, name="head")(x)
    return keras.Model({"numbers": numbers, "left": left}, outputs, name="net")


def heads(x: Any) -> tuple[Any, Any]:
    pooled = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(CLASSES, name="kind")(pooled), layers.Dense(2, name="place")(pooled)


def two_outputs() -> Any:
    inputs = image()
    return keras.Model(inputs, list(heads(block(block(inputs, "a"), "b"))), name="net")


def dict_outputs() -> Any:
    inputs = image()
    kind, place = heads(block(block(inputs, "a"), "b"))
    return keras.Model(inputs, {"place": place, "kind": kind}, name="net")


def nested_structure() -> Any:
    a, b = image(name="a"), image(name="b")
    numbers = keras.Input((5,), name="numbers")
    x = block(block(a, "first") + block(b, "second"), "third")
    kind, place = heads(x)
    place = layers.Add(name="moved")([place, layers.Dense(2, name="by")(numbers)])
    outputs = {"kind": kind, "place": place}  # Keras itself trains no deeper ones
    return keras.Model({"pictures": [a, b], "numbers": numbers}, outputs, name="net")


def places() -> Any:
    return rng().normal(size=(SAMPLES, 2)).astype("float32")


def own_layers() -> Any:
    inputs = image()
    x = Sharpen(1.2, name="sharpen")(block(inputs, "a"))
    return ended(inputs, block(x, "b"))


def lambdas() -> Any:
    inputs = image()
    return ended(
        inputs, block(layers.Lambda(lambda t: t * 2.0, name="twice")(block(inputs, "a")), "b")
    )


def in_policy(policy: str) -> Callable[[], Any]:
    def made() -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return plain()
        finally:
            keras.config.set_dtype_policy(before)

    return made


def one_dimensional() -> Any:
    inputs = keras.Input((16, 2), name="signal")
    return ended(inputs, block(block(inputs, "a", rank=1), "b", rank=1), rank=1)


def three_dimensional() -> Any:
    inputs = keras.Input((4, 6, 6, 1), name="volume")
    return ended(inputs, block(block(inputs, "a", 6, 3), "b", 6, 3), rank=3)


def recurrent_head() -> Any:
    inputs = image()
    x = layers.Reshape((SIZE * SIZE, 8))(block(block(inputs, "a"), "b"))
    x = layers.LSTM(6, name="lstm")(layers.AveragePooling1D(8)(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="head")(x), name="net")


def group_norm() -> Any:
    inputs = image()
    x = layers.Conv2D(8, 3, padding="same", name="b")(block(inputs, "a"))
    x = layers.ReLU()(layers.GroupNormalization(4, name="group_norm")(x))
    return ended(inputs, block(x, "c"))


def nested_model() -> Any:
    inner = keras.Input((SIZE, SIZE, 8))
    body = keras.Model(inner, block(block(inner, "a"), "b"), name="body")
    inputs = image()
    return ended(inputs, body(block(inputs, "stem")))


def shared_layer() -> Any:
    inputs = image()
    conv = layers.Conv2D(8, 3, padding="same", name="twice")
    x = block(inputs, "a")
    x = layers.ReLU()(layers.BatchNormalization(name="one")(conv(x)))
    x = layers.ReLU()(layers.BatchNormalization(name="two")(conv(x)))
    return ended(inputs, x)


def unbuilt() -> Any:
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, name="a"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, name="head"),
        ],
        name="net",
    )


def preprocessed() -> Any:
    inputs = image()
    norm = layers.Normalization(axis=-1, mean=[0.1, 0.2, 0.3], variance=[1.0, 1.5, 2.0])
    x = layers.Rescaling(0.5, offset=np.array([0.1, -0.1, 0.2], dtype="float32"))(norm(inputs))
    return ended(inputs, block(block(x, "a"), "b"))


def attention() -> Any:
    inputs = image()
    x = layers.AveragePooling2D(4)(block(block(inputs, "a"), "b"))
    x = layers.Reshape((4, 8))(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(x, x)])
    return ended(inputs, layers.LayerNormalization()(x), rank=1)


def flat_output() -> Any:
    inputs = image()
    x = layers.GlobalAveragePooling2D()(block(block(inputs, "a"), "b"))
    return keras.Model(inputs, ops.squeeze(layers.Dense(1, name="head")(x), axis=-1), name="net")


def open_sizes() -> Any:
    inputs = keras.Input((None, None, 3), name="image")
    return ended(inputs, block(block(inputs, "a"), "b"))


def noisy() -> Any:
    inputs = image()
    x = layers.RandomFlip(seed=1)(layers.GaussianNoise(0.1, seed=2)(inputs))
    x = layers.SpatialDropout2D(0.2, seed=3)(block(x, "a"))
    return ended(inputs, block(layers.Dropout(0.1)(x), "b"))


def scaleless() -> Any:
    inputs = image()
    x = layers.Conv2D(8, 3, use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(scale=False, name="norm")(x))
    return ended(inputs, x)


def fixed_batch() -> Any:
    inputs = keras.Input(batch_shape=(BATCH, SIZE, SIZE, 3), name="image")
    return ended(inputs, block(block(inputs, "a"), "b"))


def dataset() -> Mapping[str, Any]:
    import tensorflow as tf

    made = tf.data.Dataset.from_tensor_slices((images(), labels()))
    return {"x": made.shuffle(SAMPLES, seed=1).batch(BATCH), "x_val": made.batch(BATCH)}


def generated() -> Mapping[str, Any]:
    def batches() -> Iterator[Any]:
        random = rng()
        while True:
            x = random.normal(size=(BATCH, SIZE, SIZE, 3)).astype("float32")
            yield x, random.integers(CLASSES, size=BATCH)

    return {"x": batches(), "steps_per_epoch": 3}


def huber(y_true: Any, y_pred: Any) -> Any:
    """A loss of the user's own."""
    hot = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), CLASSES)
    return ops.mean(ops.sqrt(1.0 + ops.square(y_pred - hot)), axis=-1)


BOTH = {"loss": [LOGITS, "mse"], "loss_weights": [1.0, 0.5], "metrics": [["accuracy"], ["mae"]]}
KINDS: Mapping[str, Kind] = {
    "uint8 images": Kind(model=scaled_bytes, data=with_labels(lambda: images(dtype="uint8"))),
    "int8 images": Kind(model=small_integers, data=with_labels(lambda: images(dtype="int8"))),
    "float16 images": Kind(model=half_inputs, data=with_labels(lambda: images(dtype="float16"))),
    "int32 ids": Kind(model=tokens, data=with_labels(ids("int32"))),
    "int64 ids": Kind(model=lambda: tokens("int64"), data=with_labels(ids("int64"))),
    "bool mask": Kind(model=masked, data=with_labels(lambda: [images(), images(1, "bool")])),
    "two inputs": Kind(model=two_inputs, data=with_labels(lambda: [images(), images(2)])),
    "inputs by name": Kind(
        model=dict_inputs,
        data=lambda: {
            "x": {"left": images(), "numbers": rng().normal(size=(SAMPLES, 5))},
            "y": labels(),
        },
    ),
    "two outputs": Kind(
        model=two_outputs, data=lambda: {"x": images(), "y": [labels(), places()]}, compile=BOTH
    ),
    "outputs by name": Kind(
        model=dict_outputs,
        data=lambda: {"x": images(), "y": {"kind": labels(), "place": places()}},
        compile={
            "loss": {"kind": LOGITS, "place": "mse"},
            "loss_weights": {"kind": 1.0, "place": 0.5},
        },
    ),
    "structures in structures": Kind(
        model=nested_structure,
        data=lambda: {
            "x": {"pictures": [images(), images()], "numbers": rng().normal(size=(SAMPLES, 5))},
            "y": {"kind": labels(), "place": places()},
        },
        compile={"loss": {"kind": LOGITS, "place": "mse"}},
    ),
    "own layers": Kind(model=own_layers, data=with_labels(images)),
    "own loss": Kind(model=plain, data=with_labels(images), compile={"loss": huber}),
    "Lambda": Kind(model=lambdas, data=with_labels(images), trusted=True),
    "mixed_float16": Kind(model=in_policy("mixed_float16"), data=with_labels(images)),
    "mixed_bfloat16": Kind(model=in_policy("mixed_bfloat16"), data=with_labels(images)),
    "1-D": Kind(
        model=one_dimensional,
        data=with_labels(lambda: rng().normal(size=(SAMPLES, 16, 2)).astype("float32")),
    ),
    "3-D": Kind(
        model=three_dimensional,
        data=with_labels(lambda: rng().normal(size=(SAMPLES, 4, 6, 6, 1)).astype("float32")),
    ),
    "recurrent head": Kind(model=recurrent_head, data=with_labels(images)),
    "group normalisation": Kind(model=group_norm, data=with_labels(images)),
    "nested model": Kind(model=nested_model, data=with_labels(images)),
    "shared layer": Kind(model=shared_layer, data=with_labels(images)),
    "a class": Kind(model=Net, data=with_labels(images), shape="1x8x8x3"),
    "unbuilt sequential": Kind(model=unbuilt, data=with_labels(images), shape="1x8x8x3"),
    "preprocessing arrays": Kind(model=preprocessed, data=with_labels(images)),
    "attention": Kind(model=attention, data=with_labels(images)),
    "(batch,) output": Kind(
        model=flat_output,
        data=lambda: {"x": images(), "y": places()[:, 0]},
        compile={"loss": "mse"},
    ),
    "several metrics and weights": Kind(
        model=plain,
        data=lambda: {**with_labels(images)(), "weights": rng().uniform(0.5, 1.5, SAMPLES)},
        compile={
            "loss": LOGITS,
            "metrics": ["accuracy", "sparse_categorical_crossentropy"],
            "weighted_metrics": ["accuracy"],
        },
    ),
    "open sizes": Kind(model=open_sizes, data=with_labels(images), shape="1x8x8x3"),
    "random layers": Kind(model=noisy, data=with_labels(images)),
    "no scale": Kind(
        model=scaleless, data=with_labels(images),
        options={"signal": "group_lasso", "importance": "signal"},
    ),
    "fixed batch": Kind(model=fixed_batch, data=with_labels(images)),
    "tf.data": Kind(model=plain, data=dataset),
    "PyDataset": Kind(model=plain, data=lambda: {"x": Batches(images(), labels())}),
    "generator": Kind(model=plain, data=generated),
}  # fmt: skip
