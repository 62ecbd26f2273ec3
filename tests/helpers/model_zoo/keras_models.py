"""Small Keras models: every layer of ``keras.layers`` by itself, and drawn and hand-written wiring.

Nothing here imports Keras: each recipe is given the module, on whichever backend it runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

Recipe = Callable[[Any], Any]

# One layer of each kind: sizes of what it reads, and how it is made.

MAP1, MAP2, MAP3 = (12, 4), (8, 8, 4), (6, 6, 6, 4)
FIRST = (4, 8, 8)


def _window(rank: int) -> tuple[int, ...]:
    return (MAP1, MAP2, MAP3)[rank - 1]


def _made(name: str, args: Sequence[Any], more: Mapping[str, Any], layers: Any) -> Any:
    return getattr(layers, name)(*args, **more)


def _both_ways(name: str, layers: Any) -> Any:
    return layers.Bidirectional(getattr(layers, name)(6, return_sequences=True))


def _joined(name: str, layers: Any) -> Any:
    return lambda a, b: getattr(layers, name)()([a, b])


def _each_rank(name: str, *args: Any, **more: Any) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """``name`` holds a ``#`` for the number of axes."""
    return {
        f"{name.replace('#', str(rank))}{more or ''}": (
            [_window(rank)],
            partial(_made, name.replace("#", str(rank)), args, more),
        )
        for rank in (1, 2, 3)
        if not (name.startswith(("Depthwise", "Separable")) and rank == 3)
    }


def _one(name: str, *sizes: Any, args: Sequence[Any] = (), dtype: str = "", **more: Any) -> Any:
    shown = f"{name}{list(args) or ''}{more or ''}"
    inputs = [(size, dtype) if dtype else size for size in sizes]
    return {shown: (inputs, lambda layers: getattr(layers, name)(*args, **more))}


SINGLE: Mapping[str, tuple[Any, Callable[[Any], Any]]] = {
    **_each_rank("Conv#D", 6, 3),
    **_each_rank("Conv#D", 6, 3, padding="same", strides=2, activation="relu"),
    **_each_rank("Conv#D", 8, 3, groups=2, use_bias=False),
    **_each_rank("Conv#D", 5, 2, dilation_rate=2),
    **_each_rank("Conv#DTranspose", 6, 3),
    **_each_rank("Conv#DTranspose", 6, 3, strides=2, padding="same"),
    **_each_rank("DepthwiseConv#D", 3),
    **_each_rank("DepthwiseConv#D", 3, depth_multiplier=2, padding="same"),
    **_each_rank("SeparableConv#D", 7, 3),
    **_each_rank("SeparableConv#D", 7, 3, depth_multiplier=2, strides=2, padding="same"),
    **_each_rank("MaxPooling#D", 2),
    **_each_rank("AveragePooling#D", 2, padding="same"),
    **_each_rank("GlobalAveragePooling#D"),
    **_each_rank("GlobalMaxPooling#D", keepdims=True),
    **_each_rank("AdaptiveAveragePooling#D", 3),
    **_each_rank("AdaptiveMaxPooling#D", 2),
    **_each_rank("Cropping#D", 1),
    **_each_rank("ZeroPadding#D", 1),
    **_each_rank("UpSampling#D", 2),
    **_each_rank("SpatialDropout#D", 0.3),
    **_one("Conv1D", MAP1, args=(6, 3), padding="causal"),
    **_one("Conv2D", FIRST, args=(6, 3), data_format="channels_first"),
    **_one("Conv2DTranspose", FIRST, args=(6, 3), data_format="channels_first"),
    **_one("SeparableConv2D", FIRST, args=(6, 3), data_format="channels_first"),
    **_one("MaxPooling2D", FIRST, data_format="channels_first"),
    **_one("GlobalAveragePooling2D", FIRST, data_format="channels_first"),
    **_one("UpSampling2D", MAP2, args=(2,), interpolation="bilinear"),
    **_one("Resizing", MAP2, args=(5, 6)),
    **_one("Resizing", MAP2, args=(12, 12), interpolation="nearest"),
    **_one("CenterCrop", MAP2, args=(5, 6)),
    **_one("Rescaling", MAP2, args=(0.5,), offset=0.1),
    **_one("Normalization", (6,), mean=[0.1] * 6, variance=[1.0] * 6),
    **_one("Dense", (6,), args=(5,), activation="gelu"),
    **_one("Dense", (3, 4, 6), args=(5,)),
    **_one("EinsumDense", (7, 6), args=("abc,cd->abd",), output_shape=(None, 5)),
    **_one("EinsumDense", (7, 6), args=("abc,cde->abde",), output_shape=(None, 2, 5)),
    **_one("Embedding", (7,), args=(20, 6), dtype="int32"),
    **_one("ReversibleEmbedding", (7,), args=(20, 6), dtype="int32"),
    **_one("LSTM", (7, 5), args=(6,)),
    **_one("LSTM", (7, 5), args=(6,), return_sequences=True),
    **_one("LSTM", (7, 5), args=(6,), unroll=True),
    **_one("GRU", (7, 5), args=(6,), return_sequences=True),
    **_one("GRU", (7, 5), args=(6,), reset_after=False),
    **_one("SimpleRNN", (7, 5), args=(6,), go_backwards=True),
    **{f"Bidirectional({kind})": ([(7, 5)], partial(_both_ways, kind)) for kind in ("LSTM", "GRU")},
    "Bidirectional(LSTM, sum)": ([(7, 5)], lambda layers: layers.Bidirectional(
        layers.LSTM(6), merge_mode="sum")),
    "RNN(cells)": ([(7, 5)], lambda layers: layers.RNN([layers.GRUCell(6), layers.LSTMCell(4)])),
    "RNN(SimpleRNNCell)": ([(7, 5)], lambda layers: layers.RNN(layers.SimpleRNNCell(6))),
    **_one("ConvLSTM1D", (3, 8, 2), args=(4, 3), padding="same"),
    **_one("ConvLSTM2D", (3, 6, 6, 2), args=(4, 3)),
    **_one("ConvLSTM3D", (2, 4, 4, 4, 2), args=(3, 2)),
    "TimeDistributed(Dense)": ([(7, 5)], lambda layers: layers.TimeDistributed(layers.Dense(4))),
    "TimeDistributed(Conv2D)": ([(3, 8, 8, 2)], lambda layers: layers.TimeDistributed(
        layers.Conv2D(4, 3))),
    "SpectralNormalization": ([MAP2], lambda layers: layers.SpectralNormalization(
        layers.Conv2D(4, 3))),
    **_one("MultiHeadAttention", (7, 8), (7, 8), num_heads=2, key_dim=4),
    **_one("MultiHeadAttention", (7, 8), (5, 8), num_heads=2, key_dim=3, value_dim=5),
    **_one("GroupQueryAttention", (7, 8), (7, 8), head_dim=4, num_query_heads=4,
           num_key_value_heads=2),
    "Attention": ([(7, 8), (5, 8)], lambda layers: lambda q, v: layers.Attention()([q, v])),
    "Attention(scaled)": ([(7, 8), (5, 8)], lambda layers: lambda q, v: layers.Attention(
        use_scale=True)([q, v])),
    "AdditiveAttention": ([(7, 8), (5, 8)], lambda layers: lambda q, v:
        layers.AdditiveAttention()([q, v])),
    "Dot": ([(7, 8), (5, 8)], lambda layers: lambda a, b: layers.Dot(axes=2)([a, b])),
    "Dot(normalised)": ([(8,), (8,)], lambda layers: lambda a, b: layers.Dot(
        axes=1, normalize=True)([a, b])),
    **{kind: ([MAP2, MAP2], partial(_joined, kind))
       for kind in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")},
    "Concatenate": ([MAP2, MAP2], lambda layers: lambda a, b: layers.Concatenate()([a, b])),
    "Concatenate(axis=1)": ([MAP2, MAP2], lambda layers: lambda a, b: layers.Concatenate(
        axis=1)([a, b])),
    "Add(broadcast)": ([MAP2, (1, 1, 4)], lambda layers: lambda a, b: layers.Add()([a, b])),
    **_one("BatchNormalization", MAP2),
    **_one("BatchNormalization", MAP2, axis=1),
    **_one("BatchNormalization", (6,)),
    **_one("LayerNormalization", MAP2),
    **_one("LayerNormalization", MAP2, axis=[1, 2, 3]),
    **_one("GroupNormalization", MAP2, args=(2,)),
    **_one("GroupNormalization", MAP2, args=(-1,)),
    **_one("RMSNormalization", MAP2),
    **_one("UnitNormalization", MAP2),
    **{f"Activation({kind})": ([MAP2], partial(_made, "Activation", (kind,), {})) for kind in (
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
        "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6",
        "selu", "sigmoid", "silu", "softmax", "soft_shrink", "softplus", "softsign", "sparse_plus",
        "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold")},
    **_one("ReLU", MAP2, max_value=4.0, negative_slope=0.1),
    **_one("LeakyReLU", MAP2, negative_slope=0.2),
    **_one("PReLU", MAP2, shared_axes=[1, 2]),
    **_one("PReLU", MAP2),
    **_one("ELU", MAP2, alpha=0.5),
    **_one("Softmax", MAP2, axis=-1),
    **_one("Flatten", MAP2),
    **_one("Reshape", MAP2, args=((16, -1),)),
    **_one("Permute", MAP2, args=((3, 1, 2),)),
    **_one("RepeatVector", (6,), args=(3,)),
    **_one("Masking", (7, 5)),
    **_one("Identity", MAP2),
    **_one("Dropout", MAP2, args=(0.3,)),
    **_one("AlphaDropout", MAP2, args=(0.3,)),
    **_one("GaussianDropout", MAP2, args=(0.3,)),
    **_one("GaussianNoise", MAP2, args=(0.3,)),
    **_one("ActivityRegularization", MAP2, l1=0.1),
    **_one("RandomFlip", MAP2),
    **_one("RandomRotation", MAP2, args=(0.1,)),
    **_one("CategoryEncoding", (3,), dtype="int32", num_tokens=6, output_mode="multi_hot"),
    **_one("Discretization", (3,), bin_boundaries=[0.2, 0.5]),
    "Lambda": ([MAP2], lambda layers: layers.Lambda(lambda x: x * 2)),
    **_one("MelSpectrogram", (400,), sequence_length=64, fft_length=64, sequence_stride=32,
           num_mel_bins=8),
    **_one("STFTSpectrogram", (64, 2), frame_length=16, frame_step=8, fft_length=16),
}  # fmt: skip


def _single(name: str) -> Recipe:
    sizes, make = SINGLE[name]

    def build(keras: Any) -> Any:
        inputs = [
            keras.Input(size[0], dtype=size[1]) if isinstance(size[-1], str) else keras.Input(size)
            for size in sizes
        ]
        return keras.Model(inputs, make(keras.layers)(*inputs))

    return build


# Wiring, by hand


def _norm_block(keras: Any, x: Any, width: int) -> Any:
    layers = keras.layers
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def dict_model(keras: Any) -> Any:
    """Named inputs and outputs."""
    layers = keras.layers
    image, extra = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="extra")
    x = layers.GlobalAveragePooling2D()(_norm_block(keras, image, 6))
    x = layers.Concatenate()([x, layers.Dense(4, activation="relu")(extra)])
    outputs = {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(1, name="size")(x)}
    return keras.Model({"image": image, "extra": extra}, outputs)


def list_model(keras: Any) -> Any:
    """Two images, two outputs of different ranks."""
    layers = keras.layers
    left, right = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    both = layers.Concatenate()([_norm_block(keras, left, 4), _norm_block(keras, right, 4)])
    return keras.Model(
        [left, right], [layers.Conv2D(2, 1)(both), layers.Dense(3)(layers.Flatten()(both))]
    )


def nested_model(keras: Any) -> Any:
    """A model in a model, twice the same, and a Sequential."""
    layers = keras.layers
    inner = keras.Input((8, 8, 4))
    block = keras.Model(inner, _norm_block(keras, inner, 4))
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(image)
    x = layers.Add()([block(x), block(layers.ReLU()(x))])
    head = keras.Sequential([layers.Flatten(), layers.Dense(6, activation="relu"), layers.Dense(2)])
    return keras.Model(image, head(x))


def nested_twice(keras: Any) -> Any:
    """A model with two inputs and two outputs inside another."""
    layers = keras.layers
    a, b = keras.Input((6,)), keras.Input((6,))
    inner = keras.Model([a, b], [layers.Dense(4)(layers.Add()([a, b])), layers.Subtract()([a, b])])
    x, y = keras.Input((6,)), keras.Input((5,))
    one, two = inner([x, layers.Dense(6)(y)])
    return keras.Model([x, y], layers.Concatenate()([one, two]))


def shared_layers(keras: Any) -> Any:
    """One convolution and one dense layer called three times each."""
    layers = keras.layers
    conv, dense = layers.Conv2D(4, 3, padding="same"), layers.Dense(5)
    image = keras.Input((8, 8, 4))
    x = conv(conv(conv(image)))
    parts = [dense(layers.GlobalAveragePooling2D()(item)) for item in (image, x, layers.ReLU()(x))]
    return keras.Model(image, layers.Add()(parts))


def subclass_model(keras: Any) -> Any:
    """A model that is a class: it has no graph of layers."""
    layers = keras.layers

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = layers.Conv2D(4, 3, activation="relu"), layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.head(keras.ops.mean(self.conv(x), axis=(1, 2)))

    model = Own()
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def subclass_layer(keras: Any) -> Any:
    """A layer of one's own between standard ones."""
    layers = keras.layers

    class Doubled(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, units: int) -> None:
            super().__init__()
            self.one, self.two = layers.Dense(units), layers.Dense(units)

        def call(self, x: Any) -> Any:
            return self.one(x) + self.two(x)

    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(2)(Doubled(5)(x)))


def own_conv(keras: Any) -> Any:
    """A convolution whose kernel is standardised when it runs."""
    layers = keras.layers

    class Standardised(layers.Conv2D):  # type: ignore[misc, name-defined]
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            mean = keras.ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
            return super().convolution_op(inputs, kernel - mean)

    x = keras.Input((8, 8, 3))
    return keras.Model(x, layers.Conv2D(3, 1)(layers.ReLU()(Standardised(6, 3)(x))))


def built_sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)]
    )


def sequential_of_sequentials(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]
    )
    return keras.Sequential(
        [keras.Input((8, 8, 3)), inner, layers.GlobalMaxPooling2D(), layers.Dense(2)]
    )


def operations(keras: Any) -> Any:
    """Functions of ``keras.ops`` instead of layers."""
    layers, ops = keras.layers, keras.ops
    x = keras.Input((8, 8, 4))
    y = ops.relu(layers.Conv2D(4, 3, padding="same")(x)) + x
    y = ops.concatenate([y, ops.sigmoid(y) * 2.0], axis=-1)
    y = ops.transpose(ops.reshape(y, (-1, 64, 8)), (0, 2, 1))
    y = ops.matmul(y, ops.transpose(y, (0, 2, 1))) / 3.0
    return keras.Model(x, ops.mean(y, axis=(1, 2)))


def einsums(keras: Any) -> Any:
    layers, ops = keras.layers, keras.ops
    x = keras.Input((7, 8))
    q, k = layers.Dense(8)(x), layers.Dense(8)(x)
    scores = ops.softmax(ops.einsum("btc,bsc->bts", q, k))
    return keras.Model(x, layers.Dense(3)(ops.einsum("bts,bsc->btc", scores, x)))


def operations_conv(keras: Any) -> Any:
    """A convolution and pools of ``keras.ops`` with a kernel that is computed."""
    layers, ops = keras.layers, keras.ops
    x = keras.Input((8, 8, 4))
    y = ops.max_pool(layers.Conv2D(6, 3, padding="same")(x), 2)
    y = ops.average_pool(ops.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0))), 2)
    return keras.Model(x, ops.squeeze(ops.mean(y, axis=(1, 2), keepdims=True), axis=(1, 2)))


def no_channels(keras: Any) -> Any:
    """An output that is one number per image."""
    layers = keras.layers
    x = keras.Input((12, 12, 3))
    y = layers.GlobalAveragePooling2D()(_norm_block(keras, x, 8))
    return keras.Model(x, keras.ops.squeeze(layers.Dense(1)(y), axis=-1))


def indexed(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((9, 6))
    y = layers.Dense(8)(x)
    return keras.Model(x, [y[:, 0], y[:, -1, :4], y[..., 2]])


def timestep(keras: Any) -> Any:
    """A vector of frequencies beside the network: a step of time, embedded."""
    layers, ops = keras.layers, keras.ops
    step, image = keras.Input(()), keras.Input((8, 8, 3))
    waves = ops.expand_dims(step, -1) * np.linspace(0.1, 1.0, 4).astype(np.float32)
    waves = layers.Dense(6)(ops.concatenate([ops.sin(waves), ops.cos(waves)], axis=-1))
    y = layers.Conv2D(6, 3, padding="same")(image) + ops.reshape(waves, (-1, 1, 1, 6))
    return keras.Model([image, step], layers.Conv2D(3, 1)(ops.silu(y)))


def transformer(keras: Any) -> Any:
    layers = keras.layers
    ids = keras.Input((9,), dtype="int32")
    x = layers.Embedding(20, 8)(ids)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
    return keras.Model(
        ids, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x + y)))
    )


def recurrent_head(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((16, 12, 1))
    y = layers.MaxPooling2D((1, 2))(_norm_block(keras, x, 4))
    y = layers.Reshape((16, 24))(y)
    return keras.Model(
        x, layers.Dense(5)(layers.Bidirectional(layers.LSTM(6, return_sequences=True))(y))
    )


def encoder_decoder(keras: Any) -> Any:
    """Two recurrent layers, the state of one into the other."""
    layers = keras.layers
    x, y = keras.Input((6, 4)), keras.Input((5, 3))
    _, state = layers.GRU(7, return_state=True)(x)
    return keras.Model(
        [x, y], layers.Dense(2)(layers.GRU(7, return_sequences=True)(y, initial_state=state))
    )


def bytes_model(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((16, 16, 3), dtype="uint8")
    y = layers.GlobalAveragePooling2D()(_norm_block(keras, layers.Rescaling(1 / 255)(x), 4))
    return keras.Model(x, layers.Dense(5)(y))


def _with_policy(policy: str, inner: Recipe) -> Recipe:
    def build(keras: Any) -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return inner(keras)
        finally:
            keras.config.set_dtype_policy(before)

    return build


def _with_format(inner: Recipe) -> Recipe:
    """Channels first, for layers that are not told otherwise."""

    def build(keras: Any) -> Any:
        before = keras.config.image_data_format()
        keras.config.set_image_data_format("channels_first")
        try:
            return inner(keras)
        finally:
            keras.config.set_image_data_format(before)

    return build


def _first_net(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((3, 8, 8))
    y = layers.Conv2D(6, 3, padding="same")(x)
    y = layers.ReLU()(layers.BatchNormalization(axis=1)(y))
    y = layers.MaxPooling2D()(layers.DepthwiseConv2D(3, padding="same")(y))
    return keras.Model(
        x, layers.Dense(3)(layers.Flatten()(layers.Conv2DTranspose(4, 2, strides=2)(y)))
    )


# Wiring, drawn


class Net:
    """A random functional model of one number of spatial axes."""

    def __init__(self, keras: Any, seed: int) -> None:
        self.keras, self.layers = keras, keras.layers
        self.random = random.Random(seed)
        self.rank = self.random.choice([1, 2, 2, 2, 3])
        side = {1: 12, 2: 8, 3: 4}[self.rank]
        self.inputs = [keras.Input((*(side,) * self.rank, self.random.choice([1, 3, 4])))]
        self.live = list(self.inputs)
        steps = [self.conv] * 5 + [self.norm, self.norm, self.act, self.act, self.join, self.concat,
                 self.pool, self.depthwise, self.excite, self.transpose, self.up, self.pad,
                 self.drop, self.sequence]  # fmt: skip
        for _ in range(self.random.randint(3, 10)):
            self.random.choice(steps)(self.random.choice(self.live[-2:]))
        if self.random.random() < 0.2:
            self.inputs.append(keras.Input(self.live[0].shape[1:]))
            self.live.append(self.layers.Conv2D(4, 1)(self.inputs[-1]) if self.rank == 2
                             else self.layers.Dense(4)(self.inputs[-1]))  # fmt: skip

    def layer(self, name: str) -> Any:
        return getattr(self.layers, name.replace("#", str(self.rank)))

    def conv(self, x: Any) -> None:
        groups = 2 if x.shape[-1] % 2 == 0 and self.random.random() < 0.2 else 1
        width = groups * self.random.choice([2, 3, 4, 6, 8])
        more = {"groups": groups, "use_bias": self.random.random() < 0.7,
                "strides": self.random.choice([1, 1, 2]),
                "activation": self.random.choice([None, None, "relu", "silu"])}  # fmt: skip
        kernel = self.random.choice([1, 3])
        self.live.append(self.layer("Conv#D")(width, kernel, padding="same", **more)(x))

    def norm(self, x: Any) -> None:
        groups = 2 if x.shape[-1] % 2 == 0 else 1
        kind = self.random.choice(["Batch", "Batch", "Layer", "Group", "RMS"])
        more = {"groups": groups} if kind == "Group" else {}
        self.live.append(self.layer(f"{kind}Normalization")(**more)(x))

    def act(self, x: Any) -> None:
        kind = self.random.choice(["relu", "gelu", "silu", "hard_silu", "leaky_relu", "elu"])
        self.live.append(self.layers.Activation(kind)(x))

    def join(self, x: Any) -> None:
        other = self.random.choice([t for t in self.live if t.shape == x.shape])
        self.live.append(self.random.choice([self.layers.Add, self.layers.Multiply])()([x, other]))

    def concat(self, x: Any) -> None:
        fitting = [t for t in self.live if t.shape[:-1] == x.shape[:-1]]
        self.live.append(self.layers.Concatenate()([x, self.random.choice(fitting)]))

    def pool(self, x: Any) -> None:
        kind = self.random.choice(["MaxPooling#D", "AveragePooling#D"])
        self.live.append(self.layer(kind)(2, padding="same")(x))

    def depthwise(self, x: Any) -> None:
        if self.rank < 3:
            times = self.random.choice([1, 2])
            self.live.append(
                self.layer("DepthwiseConv#D")(3, padding="same", depth_multiplier=times)(x)
            )

    def excite(self, x: Any) -> None:
        width = x.shape[-1]
        gate = self.layer("GlobalAveragePooling#D")(keepdims=True)(x)
        gate = self.layers.Dense(width, activation="sigmoid")(
            self.layers.Dense(3, activation="relu")(gate)
        )
        self.live.append(self.layers.Multiply()([x, gate]))

    def transpose(self, x: Any) -> None:
        if x.shape[1] <= 12:
            self.live.append(self.layer("Conv#DTranspose")(4, 3, strides=2, padding="same")(x))

    def up(self, x: Any) -> None:
        if x.shape[1] <= 8:
            self.live.append(self.layer("UpSampling#D")(2)(x))

    def pad(self, x: Any) -> None:
        self.live.append(self.layer("ZeroPadding#D")(1)(x))

    def drop(self, x: Any) -> None:
        self.live.append(self.layers.Dropout(0.3)(x))

    def sequence(self, x: Any) -> None:
        if self.rank == 1:
            self.live.append(self.layers.GRU(4, return_sequences=True)(x))

    def model(self) -> Any:
        x = self.live[-1]
        outputs = [x]
        if self.random.random() < 0.7:
            outputs = [self.layers.Dense(3)(self.layer("GlobalAveragePooling#D")()(x))]
        if self.random.random() < 0.3 and len(self.live) > 3:
            outputs.append(self.layer("Conv#D")(2, 1)(self.live[-2]))
        inputs = self.inputs if len(self.inputs) > 1 else self.inputs[0]
        if len(self.inputs) > 1:
            flat = [self.layers.Flatten()(item) for item in (outputs[0], self.live[-1])]
            outputs[0] = self.layers.Concatenate()(flat)
        return self.keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


WRITTEN: Mapping[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        dict_model, list_model, nested_model, nested_twice, shared_layers, subclass_model,
        subclass_layer, own_conv, built_sequential, sequential_of_sequentials, operations, einsums,
        operations_conv, no_channels, indexed, timestep, transformer, recurrent_head,
        encoder_decoder, bytes_model,
    )
} | {
    "mixed_float16": _with_policy("mixed_float16", list_model),
    "mixed_bfloat16": _with_policy("mixed_bfloat16", list_model),
    "float64": _with_policy("float64", shared_layers),
    "float16": _with_policy("float16", shared_layers),
    "mixed_float16 text": _with_policy("mixed_float16", transformer),
    "channels first": _with_format(_first_net),
}  # fmt: skip


def names(count: int, seed: int = 0) -> list[str]:
    """``count`` models: every layer, all that is written by hand, then drawn ones."""
    fixed = [*(f"layer {name}" for name in SINGLE), *(f"net {name}" for name in WRITTEN)]
    drawn = [f"drawn {seed * 1_000_000 + index}" for index in range(max(0, count - len(fixed)))]
    return [*fixed, *drawn][:count]


def make(name: str, keras: Any) -> Any:
    """The model of one of ``names``, with the same weights every time on one backend."""
    keras.utils.set_random_seed(0)
    way, _, rest = name.partition(" ")
    if way == "drawn":
        return Net(keras, int(rest)).model()
    return (_single(rest) if way == "layer" else WRITTEN[rest])(keras)


def feeds(model: Any) -> list[np.ndarray]:
    """Numbers for each input, a batch of one, in the order of ``model.inputs``."""
    rng = np.random.default_rng(0)
    found = []
    for item in model.inputs:
        shape = [1 if size is None else size for size in item.shape]
        if "int" in str(item.dtype):
            found.append(rng.integers(0, 5, shape).astype(str(item.dtype)))
        else:
            found.append(rng.uniform(0.1, 0.9, shape).astype(np.float32))
    return found
