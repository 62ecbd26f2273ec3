"""The same network cut to half of its milliseconds for a phone's GPU and for a CPU.

Channels are rated alike for both; only prices differ. Nothing is timed: what each structure takes
on each device is predicted.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

import ledger
import numpy as np

PHONE = "pixel-4-gpu-adreno-640/tflite-gpu-float16"
CPU = "amd-epyc-family-25-model-17/onnxruntime-float32"
TARGET = "50%"
SEEDS = (0, 1, 2)
SIDE = 96


def run() -> dict[str, Any]:
    """Structures for both devices and their prices, per network and seed."""
    import costmodel as cm

    costs = {"phone": cm.fit(PHONE), "cpu": cm.fit(CPU)}
    return {
        f"{name}-{seed}": _cut(make, seed, costs)
        for name, make in NETWORKS.items()
        for seed in SEEDS
    }


def _cut(make: Any, seed: int, costs: dict[str, Any]) -> dict[str, Any]:
    import keras

    from costmodel.readers.keras import read_keras
    from morphnet_core.data import Data
    from morphnet_core.groups import find_groups
    from morphnet_core.morphing.recipe import Recipe, standard
    from morphnet_core.pricing import Pricer
    from morphnet_core.uses.resizing import shrink_to_budget

    keras.utils.set_random_seed(seed)
    model = make(keras.layers)
    draw = np.random.default_rng(seed)
    images = draw.normal(size=(64, SIDE, SIDE, 3)).astype("float32")
    data = Data(x=images, y=draw.integers(0, 10, 64), batch_size=32)
    recipe = Recipe(data=data, compiled=standard)
    grouping = find_groups(read_keras(model))
    pricers = {name: Pricer(grouping, cost) for name, cost in costs.items()}
    found: dict[str, Any] = {"seed_ms": {name: p.seed for name, p in pricers.items()}}
    for own, cost in costs.items():
        small = shrink_to_budget(model, recipe, cost, TARGET)
        counts = np.array(small.counts)
        found[own] = {
            "counts": counts.tolist(),
            "ms": {name: float(p.at_counts(counts)) for name, p in pricers.items()},
            "weights": int(small.model.count_params()),
        }
    return found


def _norm(layers: Any, x: Any, relu: bool = True) -> Any:  # noqa: FBT001, FBT002
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x


def _inverted(layers: Any, x: Any, width: int, stride: int) -> Any:
    wide = x.shape[-1] * 6
    y = _norm(layers, layers.Conv2D(wide, 1, use_bias=False)(x))
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y)
    y = layers.Conv2D(width, 1, use_bias=False)(_norm(layers, y))
    y = _norm(layers, y, relu=False)
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == width else y


def mobile(layers: Any) -> Any:
    """Blocks like those of MobileNetV2."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = _norm(layers, layers.Conv2D(32, 3, 2, padding="same", use_bias=False)(image))
    for width, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1), (96, 1)):
        x = _inverted(layers, x, width, stride)
    x = _norm(layers, layers.Conv2D(512, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x), name="mobile")


def residual(layers: Any) -> Any:
    """Blocks like those of ResNet."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = _norm(layers, layers.Conv2D(64, 3, 2, padding="same", use_bias=False)(image))
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        y = _norm(layers, layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(x))
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
        y = _norm(layers, y, relu=False)
        if stride > 1 or x.shape[-1] != width:
            x = layers.Conv2D(width, 1, stride, padding="same", use_bias=False)(x)
            x = _norm(layers, x, relu=False)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x), name="residual")


NETWORKS = {"mobile": mobile, "residual": residual}


def figures_of(found: dict[str, Any]) -> tuple[list[ledger.Figure], str]:
    """Figures, and a table of prices: rows are structures, columns are devices."""
    figures: list[ledger.Figure] = []
    lines: list[str] = []
    for name in NETWORKS:
        own = [found[f"{name}-{seed}"] for seed in SEEDS]
        differ = fmean(
            fmean(a != b for a, b in zip(x["phone"]["counts"], x["cpu"]["counts"], strict=True))
            for x in own
        )
        # Each structure must be the cheaper one where it was made for.
        fits = [x["phone"]["ms"]["phone"] <= x["cpu"]["ms"]["phone"] for x in own]
        fits += [x["cpu"]["ms"]["cpu"] <= x["phone"]["ms"]["cpu"] for x in own]
        figures += [
            ledger.figure(
                f"f-differ-{name}", "groups of other width for the phone than for the CPU", differ,
                "share", at_least=0.1, seed=len(SEEDS),
            ),
            ledger.figure(
                f"f-fit-{name}", "structures no dearer on their own device than the other's",
                fmean(fits), "share", at_least=1.0, seed=len(SEEDS),
            ),
        ]  # fmt: skip
        for seed, item in zip(SEEDS, own, strict=True):
            seeds = item["seed_ms"]
            lines.append(
                f"{name} {seed} | seed | {seeds['phone']:.3f} (100 %) | {seeds['cpu']:.3f} (100 %)"
            )
            for made in ("phone", "cpu"):
                cells = [
                    f"{item[made]['ms'][on]:.3f} ({item[made]['ms'][on] / seeds[on]:.0%})"
                    for on in ("phone", "cpu")
                ]
                lines.append(f"{name} {seed} | for the {made} | {cells[0]} | {cells[1]}")
    columns = f"network, seed | structure | ms on {PHONE} | ms on {CPU}"
    return figures, ledger.table(columns, lines)
