"""FLOPs and size terms, and their gradients, equal the original MorphNet's closed form.

The original is written out here operation by operation, without any of our code: for each one a
coefficient, the vectors of its input and its output channels, and the rule of its kind

    cost             c * a_i * a_o                       depthwise: c * a_o
    regularisation   c * (a_i * r_o + a_o * r_i)         depthwise: c * (r_i + r_o)

with ``a`` the sum of the alive vector (constant to the gradient) and ``r`` that of the
regularisation vector. Layers that are tied share one vector; a concatenation's is its parts' one
after the other; the image and the logits have no regularizer, so ``r = 0`` and all are alive.

Differences on purpose, each with its reason:

* A depthwise layer's memory: ours has k * k weights per channel; the original multiplies by the
  channels once more (``test_closed.py`` and ``test_bytes_of_a_depthwise_layer`` below).
* ``get_cost`` of the original counts a convolution whose inputs are all dead as long as its own
  gammas live; ours does the same here, the network being priced as it is given, but training
  prices what is left after ``cascade``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from morphnet_core.groups import find_groups
from morphnet_core.pricing import Pricer

pytestmark = pytest.mark.keras

#: By operation: kind, output (or, transposed, input) pixels, kernel taps, inputs, output.
Step = tuple[str, int, int, tuple[str, ...], tuple[str, ...]]
IMAGE, LOGITS = ("image",), ("logits",)


def chain(keras: Any) -> tuple[Any, list[Step], dict[str, int]]:
    layers = keras.layers
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="a")(image)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(7, (3, 1), padding="valid", name="b")(layers.ReLU()(x))
    x = layers.Conv2DTranspose(5, 2, strides=2, name="c")(x)
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    steps: list[Step] = [
        ("conv", 6 * 5, 9, IMAGE, ("a",)),
        ("conv", 4 * 5, 3, ("a",), ("b",)),
        ("transposed", 4 * 5, 4, ("b",), ("c",)),
        ("product", 1, 1, ("c",), LOGITS),
    ]
    return keras.Model(image, x), steps, {"a": 8, "b": 7, "c": 5}


def residual(keras: Any) -> tuple[Any, list[Step], dict[str, int]]:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    stem = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    x = layers.ReLU()(layers.Conv2D(9, 1, name="inner")(stem))
    x = layers.Conv2D(6, 3, padding="same", name="back")(x)
    x = layers.Add()([x, stem])
    x = layers.Add()([layers.Conv2D(6, 5, padding="same", name="loop")(x), x])
    x = layers.Dense(4, name="logits")(layers.Flatten()(layers.MaxPooling2D(4)(x)))
    steps: list[Step] = [
        ("conv", 64, 9, IMAGE, ("stem",)),
        ("conv", 64, 1, ("stem",), ("inner",)),
        ("conv", 64, 9, ("inner",), ("stem",)),
        ("conv", 64, 25, ("stem",), ("stem",)),
        # Four pixels of each channel are inputs of their own.
        ("product", 1, 1, ("stem",) * 4, LOGITS),
    ]
    return keras.Model(image, x), steps, {"stem": 6, "inner": 9}


def concat(keras: Any) -> tuple[Any, list[Step], dict[str, int]]:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    left = layers.Conv2D(5, 1, name="left")(image)
    right = layers.Conv2D(7, 3, padding="same", name="right")(left)
    both = layers.Concatenate()([left, right])
    x = layers.Conv2D(6, 3, padding="same", name="after")(layers.ReLU()(both))
    x = layers.Concatenate()([x, both])
    x = layers.Dense(4, name="logits")(layers.GlobalMaxPooling2D()(x))
    steps: list[Step] = [
        ("conv", 64, 1, IMAGE, ("left",)),
        ("conv", 64, 9, ("left",), ("right",)),
        ("conv", 64, 9, ("left", "right"), ("after",)),
        ("product", 1, 1, ("after", "left", "right"), LOGITS),
    ]
    return keras.Model(image, x), steps, {"left": 5, "right": 7, "after": 6}


def depthwise(keras: Any) -> tuple[Any, list[Step], dict[str, int]]:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, strides=2, padding="same", name="deep")(x))
    x = layers.Conv2D(5, 1, name="point")(x)
    x = layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2, name="double")(x)
    x = layers.SeparableConv2D(7, 3, padding="same", name="last")(x)
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    steps: list[Step] = [
        ("conv", 64, 9, IMAGE, ("stem",)),
        ("depthwise", 16, 9, ("stem",), ("stem",)),
        ("conv", 16, 1, ("stem",), ("point",)),
        ("depthwise", 16, 25, ("point",), ("point",) * 2),
        ("depthwise", 16, 9, ("point",) * 2, ("point",) * 2),
        ("conv", 16, 1, ("point",) * 2, ("last",)),
        ("product", 1, 1, ("last",), LOGITS),
    ]
    return keras.Model(image, x), steps, {"stem": 6, "point": 5, "last": 7}


class Original:
    """The original's two sums over operations, for vectors given by name."""

    def __init__(self, steps: list[Step], *, flops: bool, image: int = 3, logits: int = 4) -> None:
        self.steps, self.flops = steps, flops
        self.constant = {"image": image, "logits": logits}

    def coefficient(self, pixels: int, taps: int) -> float:
        return 2.0 * pixels * taps if self.flops else float(taps)

    def alive(self, names: tuple[str, ...], alive: dict[str, np.ndarray]) -> float:
        return sum(float(self.constant.get(n) or alive[n].sum()) for n in names)

    @staticmethod
    def penalty(names: tuple[str, ...], vectors: dict[str, np.ndarray]) -> float:
        return sum(float(vectors[name].sum()) for name in names if name in vectors)

    def cost(self, alive: dict[str, np.ndarray]) -> float:
        total = 0.0
        for kind, pixels, taps, inputs, outputs in self.steps:
            a_o = self.alive(outputs, alive)
            a_i = 1.0 if kind == "depthwise" else self.alive(inputs, alive)
            total += self.coefficient(pixels, taps) * a_i * a_o
        return total

    def regularisation(self, alive: dict[str, np.ndarray], vectors: dict[str, np.ndarray]) -> float:
        total = 0.0
        for kind, pixels, taps, inputs, outputs in self.steps:
            c = self.coefficient(pixels, taps)
            r_i, r_o = self.penalty(inputs, vectors), self.penalty(outputs, vectors)
            if kind == "depthwise":
                total += c * (r_i + r_o)
            else:
                total += c * (self.alive(inputs, alive) * r_o + self.alive(outputs, alive) * r_i)
        return total

    def gradient(
        self, alive: dict[str, np.ndarray], vectors: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """By central differences; the term is linear, so that they are exact."""
        result = {}
        for name, vector in vectors.items():
            result[name] = np.zeros(len(vector))
            for place in range(len(vector)):
                ends = []
                for step in (0.5, -0.5):
                    moved = vector.copy()
                    moved[place] += step
                    ends.append(self.regularisation(alive, {**vectors, name: moved}))
                result[name][place] = ends[0] - ends[1]
        return result


@pytest.mark.parametrize("target", ["flops", "params"])
@pytest.mark.parametrize("build", [chain, residual, concat, depthwise])
def test_terms_and_gradients_are_those_of_the_original(build: Any, target: str) -> None:
    import keras

    from costmodel.readers.keras import read_keras

    model, steps, sizes = build(keras)
    grouping = find_groups(read_keras(model))
    groups = {g.name: i for i, g in enumerate(grouping.groups) if not g.frozen}
    assert {name: grouping.groups[i].size for name, i in groups.items()} == sizes
    original = Original(steps, flops=target == "flops")
    pricer = Pricer(grouping, target)
    rng = np.random.default_rng(5)
    for _ in range(3):
        alive = {name: rng.random(size) < 0.7 for name, size in sizes.items()}
        # Dead channels have small values, not none: they are charged too.
        vectors = {
            n: np.abs(rng.normal(size=size)) * (0.01 + alive[n]) for n, size in sizes.items()
        }
        mask = grouping.full()
        for name, index in groups.items():
            mask[grouping.groups[index].units] = alive[name]
        prices = pricer.channel_prices(mask)
        assert prices.total == pytest.approx(original.cost(alive), rel=1e-6)
        ours = sum(prices.values[groups[name]] * vectors[name].sum() for name in sizes)
        assert ours == pytest.approx(original.regularisation(alive, vectors), rel=1e-6)
        for name, wanted in original.gradient(alive, vectors).items():
            np.testing.assert_allclose(prices.values[groups[name]], wanted, rtol=1e-6)


def test_bytes_of_a_depthwise_layer() -> None:
    """14 x 14 x 512 at batch 1: 0.82 MB, where the original's formula gives 10.24 MB."""
    import keras

    from costmodel.readers.keras import read_keras

    image = keras.Input((14, 14, 512))
    deep = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(image)
    total = Pricer(find_groups(read_keras(keras.Model(image, deep))), "bytes").seed
    maps = 2 * 14 * 14 * 512
    original = 4 * (maps + 3 * 3 * 512 * 512)
    assert total == 4 * (maps + 3 * 3 * 512)
    assert original / total == pytest.approx(12.5, rel=0.01)
