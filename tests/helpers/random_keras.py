"""Random Keras models of every wiring that cutting must get right, drawn from a seed.

Ranks from 1-D to 3-D, either order of the channels, norms along every axis, shared layers, nested
models, own subclasses, recurrent and attention heads, tensors without channels, several inputs and
outputs. All in 64 bits, so that what differs is no rounding, but for poolings in 3-D.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

WIDTHS = (2, 3, 4, 6, 8)


class ReflectConv(layers.Conv2D):
    """Pads by reflection: harmless."""

    def compute_output_shape(self, shape: Any) -> Any:
        batch, *sides, width = shape
        return super().compute_output_shape((batch, *(side + 2 for side in sides), width))

    def call(self, x: Any) -> Any:
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        return super().call(ops.pad(x, pads, mode="reflect"))


class StandardConv(layers.Conv2D):
    """Standardises its kernel over all that a filter reads."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        spread = ops.std(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, (kernel - mean) / (spread + 1e-3))


class FanInDense(layers.Dense):
    """Divides by the root of how many channels it reads."""

    def call(self, x: Any) -> Any:
        return super().call(x) / float(x.shape[-1]) ** 0.5


class NamedConv(layers.Conv2D):
    """Changes nothing that it computes."""

    def __init__(self, *args: Any, note: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = note

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "note": self.note}


class MeanNorm(layers.BatchNormalization):
    """Takes off the mean over the channels first."""

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        return super().call(x - ops.mean(x, axis=-1, keepdims=True), training=training, mask=mask)


class Scale(layers.Layer):
    """A layer of one's own."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

    def call(self, x: Any) -> Any:
        return x * self.gamma


class Block(layers.Layer):
    """A layer of one's own around others."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.inner = layers.Dense(width, dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return ops.tanh(self.inner(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class RandomKeras:
    """One model in the making.

    Args:
        seed: draws everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rank = self.random.choice([1, 2, 2, 2, 2, 3])
        self.pooled = "float32" if self.rank == 3 else "float64"
        self.side = self.random.choice([4, 5, 6])
        self.inputs = [keras.Input((*(self.side,) * self.rank, 3), name="image", dtype="float64")]
        self.live: list[Any] = [self.inputs[0]]
        self.shared: list[Any] = []

    def model(self) -> Any:
        """The finished model, its weights at random."""
        self.live.append(self.conv(self.live[0]))
        for _ in range(self.random.randint(2, 7)):
            self.step()
        outputs = [self.head()]
        while self.random.random() < 0.3:
            outputs.append(self.head())
        fed = self.inputs if len(self.inputs) > 1 else self.inputs[0]
        model = keras.Model(fed, outputs, name="drawn")
        noise = np.random.default_rng(self.random.randrange(1 << 30))
        for variable in model.weights:
            if str(variable.dtype).startswith("float"):
                name = variable.path.rpartition("/")[2]
                low, high = (0.5, 1.5) if name in {"moving_variance", "gamma"} else (-0.6, 0.6)
                variable.assign(noise.uniform(low, high, variable.shape))
        return model

    def step(self) -> None:
        """One more tensor."""
        x = self.random.choice(self.live[-3:])
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("draw_")]
        made = self.random.choice(kinds)(x)
        if made is not None and made.shape[-1] <= 24:
            self.live.append(made)

    def pick(self, *items: Any) -> Any:
        return self.random.choice(items)

    def layer(self, kind: str) -> Any:
        """A class by its name without the rank."""
        return getattr(layers, f"{kind}{self.rank}D")

    def like(self, x: Any) -> Any:
        """A live tensor of the same size, perhaps the very same."""
        return self.pick(*(t for t in self.live if t.shape == x.shape))

    def conv(self, x: Any, width: int = 0, **more: Any) -> Any:
        settings = {
            "kernel_size": self.pick(1, 3),
            "padding": "same",
            "use_bias": self.random.random() < 0.7,
            "activation": self.pick(None, None, "relu", "sigmoid"),
            **more,
        }
        return self.layer("Conv")(width or self.pick(*WIDTHS), dtype="float64", **settings)(x)

    def again(self, kind: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        return kind(*args, dtype="float64", **settings)

    def draw_conv(self, x: Any) -> Any:
        return self.conv(x, strides=self.pick(1, 1, 1, 2))

    def draw_grouped(self, x: Any) -> Any:
        width = x.shape[-1]
        groups = self.pick(2, width)
        if width % groups == 0:
            return self.conv(x, width * self.pick(1, 2), groups=groups)
        return None

    def draw_deep(self, x: Any) -> Any:
        if self.rank == 3:
            return self.again(layers.Conv3DTranspose, self.pick(*WIDTHS), 2, padding="same")(x)
        kind = self.pick("Depthwise", "Separable", "Transposed")
        more = {"kernel_size": 3, "padding": "same"}
        if kind == "Depthwise":
            kinds = self.layer("DepthwiseConv")
            return self.again(kinds, depth_multiplier=self.pick(1, 2), **more)(x)
        if kind == "Separable":
            return self.again(self.layer("SeparableConv"), self.pick(*WIDTHS), **more)(x)
        name = f"Conv{self.rank}DTranspose"
        return self.again(getattr(layers, name), self.pick(*WIDTHS), **more)(x)

    def draw_norm(self, x: Any) -> Any:
        rank, width = len(x.shape), x.shape[-1]
        axis = self.random.randrange(1, rank)
        several = sorted(self.random.sample(range(1, rank), self.random.randint(1, rank - 1)))
        # Older versions have no RMSNormalization, and draw another layer for the same number.
        rms = getattr(layers, "RMSNormalization", layers.LayerNormalization)
        return self.pick(
            lambda: self.again(layers.BatchNormalization)(x),
            lambda: self.again(layers.BatchNormalization, axis=axis)(x),
            lambda: self.again(layers.BatchNormalization, axis=axis - rank)(x),
            lambda: self.again(layers.LayerNormalization, axis=several)(x),
            lambda: self.again(rms, axis=list(range(axis, rank)))(x),
            lambda: self.again(layers.UnitNormalization, axis=several)(x),
            lambda: self.again(layers.GroupNormalization, self.pick(-1, 1, width))(x),
            lambda: self.again(layers.GroupNormalization, 2)(x) if width % 2 == 0 else None,
            lambda: self.again(layers.GroupNormalization, -1, axis=axis)(x),
        )()

    def draw_activation(self, x: Any) -> Any:
        axis = self.random.randrange(1, len(x.shape))
        return self.pick(
            lambda: self.again(layers.ReLU)(x),
            lambda: self.again(layers.Activation, "gelu")(x),
            lambda: self.again(layers.PReLU, shared_axes=self.pick(None, [axis]))(x),
            lambda: self.again(layers.Softmax, axis=axis)(x),
            lambda: ops.sigmoid(x) * x,
            lambda: ops.tanh(x) + 0.5,
        )()

    def draw_join(self, x: Any) -> Any:
        kind = self.pick("Add", "Multiply", "Subtract", "Maximum", "Average")
        return self.again(getattr(layers, kind))([x, self.like(x)])

    def draw_residual(self, x: Any) -> Any:
        y = self.again(layers.BatchNormalization)(self.conv(x, self.pick(*WIDTHS)))
        return self.again(layers.Add)([x, self.conv(y, x.shape[-1])])

    def draw_concat(self, x: Any) -> Any:
        other = self.conv(self.like(x))
        return self.again(layers.Concatenate)([x, other])

    def draw_window(self, x: Any) -> Any:
        more = [(1, 1)] * self.rank
        # TensorFlow has no kernels for poolings of three sides in 64 bits.
        pooling = {"strides": 1, "padding": "same", "dtype": self.pooled}
        return self.pick(
            lambda: self.layer("MaxPooling")(2, **pooling)(x),
            lambda: self.layer("AveragePooling")(3, **pooling)(x),
            lambda: self.again(self.layer("ZeroPadding"), 1)(x),
            lambda: self.again(self.layer("Cropping"), 1)(x) if min(x.shape[1:-1]) > 3 else None,
            lambda: ops.pad(x, [(0, 0), *more, (1, 0)]),
            lambda: self.again(self.layer("UpSampling"), 2)(x) if x.shape[1] < 5 else None,
        )()

    def draw_gate(self, x: Any) -> Any:
        squeezed = self.again(self.layer("GlobalAveragePooling"), keepdims=True)(x)
        gate = self.conv(squeezed, 3, kernel_size=1)
        gate = self.conv(gate, x.shape[-1], kernel_size=1, activation="sigmoid")
        return self.again(layers.Multiply)([x, gate])

    def draw_dense(self, x: Any) -> Any:
        equation = {1: "abc,cd->abd", 2: "abcd,de->abce", 3: "abcde,ef->abcdf"}[self.rank]
        width = self.pick(*WIDTHS)
        shape = (*x.shape[1:-1], width)
        return self.pick(
            lambda: self.again(layers.Dense, width)(x),
            lambda: self.again(layers.EinsumDense, equation, shape, bias_axes=equation[-1])(x),
        )()

    def draw_turned(self, x: Any) -> Any:
        """Something while the channels lie elsewhere."""
        order = list(range(1, len(x.shape)))
        self.random.shuffle(order)
        back = [order.index(axis) + 1 for axis in range(1, len(x.shape))]
        y = self.again(layers.Permute, tuple(order))(x)
        y = self.pick(
            self.again(layers.BatchNormalization, axis=self.pick(1, -1)),
            self.again(layers.LayerNormalization),
            self.again(layers.Dense, y.shape[-1]),
            self.again(layers.PReLU, shared_axes=[1]),
            self.again(layers.ReLU),
        )(y)
        return self.again(layers.Permute, tuple(back))(y)

    def draw_channels_first(self, x: Any) -> Any:
        order = (self.rank + 1, *range(1, self.rank + 1))
        y = self.again(layers.Permute, order)(x)
        y = self.pick(
            self.again(self.layer("ZeroPadding"), 1, data_format="channels_first")
            if self.rank > 1
            else self.again(layers.ReLU),
            self.again(layers.GroupNormalization, -1, axis=1),
        )(y)
        return self.again(layers.Permute, (*range(2, self.rank + 2), 1))(y)

    def draw_slices(self, x: Any) -> Any:
        width = x.shape[-1]
        cut = self.random.randrange(1, width)
        return self.pick(
            lambda: ops.concatenate([x[..., cut:], ops.relu(x[..., :cut])], axis=-1),
            lambda: x[..., ::2] if width > 2 else None,
            lambda: ops.concatenate(list(reversed(ops.split(x, [cut], axis=-1))), axis=-1),
            lambda: x[:, :-1] if x.shape[1] > 3 else None,
            lambda: x * np.linspace(0.5, 1.5, width),
        )()

    def draw_shuffle(self, x: Any) -> Any:
        width = x.shape[-1]
        if width % 2:
            return None
        sides = x.shape[1:-1]
        y = self.again(layers.Reshape, (*sides, 2, width // 2))(x)
        order = (*range(1, self.rank + 1), self.rank + 2, self.rank + 1)
        return self.again(layers.Reshape, x.shape[1:])(self.again(layers.Permute, order)(y))

    def draw_shared(self, x: Any) -> Any:
        other = self.like(x)
        again = self.layer("Conv")(
            x.shape[-1], 3, padding="same", activation="relu", dtype="float64"
        )
        return self.again(layers.Concatenate)([again(x), again(again(other))])

    def draw_nested(self, x: Any) -> Any:
        inner = keras.Input(x.shape[1:], dtype="float64")
        y = self.again(layers.BatchNormalization, axis=self.pick(1, -1))(self.conv(inner))
        y = self.conv(y, x.shape[-1])
        model = self.pick(keras.Model(inner, y), keras.Model(inner, [y, self.conv(inner)]))
        results = model(x)
        if isinstance(results, list):
            return self.again(layers.Concatenate)(results)
        return self.again(layers.Add)([results, model(self.like(x))])

    def draw_own(self, x: Any) -> Any:
        width = self.pick(*WIDTHS)
        if self.rank != 2 or self.random.random() < 0.3:
            return self.pick(
                self.again(Scale), self.again(Block, width), self.again(FanInDense, width)
            )(x)
        if min(x.shape[1:-1]) < 2:
            return None
        return self.pick(
            self.again(ReflectConv, width, 3),
            self.again(StandardConv, width, 3, padding="same"),
            self.again(NamedConv, width, 3, padding="same", note="as it is"),
            self.again(MeanNorm),
        )(x)

    def draw_bare(self, x: Any) -> Any:
        """A tensor without channels beside others."""
        axes = tuple(range(1, len(x.shape)))
        one = (-1, *(1,) * len(axes))
        other = self.conv(x)
        # The numbers stand first: as a second operand Keras takes them for a bias, one a channel,
        # once the batch has as many pictures as there are channels.
        return self.pick(
            lambda: other * ops.mean(x),
            lambda: ops.reshape(ops.max(x, axis=axes), one) + other,
            lambda: other * ops.reshape(ops.sum(x[..., 0], axis=axes[:-1]), one),
        )()

    def draw_timestep(self, x: Any) -> Any:
        """A number beside the picture, as diffusion models have it."""
        if len(self.inputs) > 2:
            return None
        step = keras.Input((), name=f"step{len(self.inputs)}", dtype="float64")
        self.inputs.append(step)
        waves = ops.expand_dims(step, -1) * np.array([1.0, 0.5, 0.25])
        waves = ops.concatenate([ops.sin(waves), ops.cos(waves)], axis=-1)
        shift = self.again(layers.Dense, x.shape[-1])(self.again(layers.Dense, 5)(waves))
        return x + self.again(layers.Reshape, (*(1,) * self.rank, x.shape[-1]))(shift)

    def head(self) -> Any:
        """An output of some kind."""
        x = self.conv(self.random.choice(self.live[-3:]))
        steps = self.again(layers.Reshape, (-1, x.shape[-1]))(x)
        pooled = self.again(self.layer("GlobalAveragePooling"))(x)
        cell = self.pick(layers.LSTM, layers.GRU, layers.SimpleRNN)
        return self.pick(
            lambda: self.again(layers.Dense, 3)(pooled),
            lambda: self.again(layers.Dense, 3)(self.again(layers.Dense, 6)(pooled)),
            lambda: self.again(layers.Dense, 3)(self.again(layers.Flatten)(x)),
            lambda: self.again(layers.Dense, 3)(self.again(cell, 4)(steps)),
            lambda: self.again(layers.Bidirectional, self.again(cell, 3))(steps),
            lambda: self.again(layers.TimeDistributed, self.again(layers.Dense, 3))(steps),
            lambda: self.again(layers.MultiHeadAttention, 2, 3)(steps, steps),
            lambda: self.conv(x, 2),
            lambda: ops.squeeze(self.again(layers.Dense, 1)(pooled), axis=-1),
            lambda: self.again(layers.Dense, 3)(pooled)[:, 0],
            lambda: ops.mean(self.again(layers.Dense, 3)(pooled)),
            lambda: ops.sum(x, axis=tuple(range(1, len(x.shape)))),
            lambda: ops.argmax(self.again(layers.Dense, 3)(pooled), axis=-1),
            lambda: self.again(layers.Dot, axes=1)([pooled, pooled]),
        )()
