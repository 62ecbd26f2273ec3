"""Figure f of MorphNet: branches that die in a real training run vanish, and nothing else changes.

A network with a residual branch and a concatenated branch that its task does not need is trained
under a strong price on Fashion-MNIST. Both branches must die by training alone; the shrunk network
must lack their layers, and equal the trained one whose dead channels are read as zero.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ledger
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import images

from morphnet_core.regularizer import CostRegularizer
from morphnet_core.surgery import masked, shrink

RESIDUAL, CONCAT = ("extra_1", "extra_2"), ("wide_1", "wide_2")


def network(size: tuple[int, ...]) -> Any:
    """A small network with two branches that cost much: few channels, wide windows."""
    layers = keras.layers

    def conv(x: Any, filters: int, kernel: int, name: str, stride: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, stride, padding="same", name=name)(x)
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    image = keras.Input(size, name="image")
    x = conv(image, 12, 3, "stem", 2)
    branch = conv(x, 4, 9, "extra_1")
    branch = layers.Conv2D(12, 9, padding="same", name="extra_2")(branch)
    branch = layers.BatchNormalization(name="extra_2_bn")(branch)
    x = layers.Add(name="add")([x, branch])
    narrow = conv(x, 16, 1, "narrow", 2)
    wide = conv(conv(x, 4, 9, "wide_1"), 4, 9, "wide_2", 2)
    x = layers.Concatenate(name="concat")([narrow, wide])
    x = conv(x, 32, 3, "last", 2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="two_branches")


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--strength", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--limit", type=int, default=12_800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = images.load_images("fashion_mnist", limit=options.limit)
    keras.utils.set_random_seed(options.seed)
    model = network(data.size)
    regularizer = CostRegularizer(model, "flops", strength=options.strength)
    # The rate falls, so that scales settle at zero instead of swinging around it.
    steps = options.epochs * -(-len(data.x_train) // 64)
    model.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.05, steps), momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        data.x_train, data.y_train, batch_size=64, epochs=options.epochs, verbose=2,
        callbacks=[regularizer],
    )  # fmt: skip
    print(regularizer.report())
    alive = regularizer.alive()
    grouping = regularizer.grouping
    small = shrink(model, alive, grouping=grouping)
    left = {layer.name for layer in small.layers}
    fed = data.x_test[:500]
    expected = np.asarray(keras.ops.convert_to_numpy(masked(model, grouping, alive)(fed)[0]))
    found = np.asarray(keras.ops.convert_to_numpy(small(fed, training=False)))
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    trained = np.asarray(keras.ops.convert_to_numpy(model(fed, training=False)))
    moved = float(np.mean(found.argmax(1) != trained.argmax(1)))
    accuracy = {
        "trained": float(np.mean(trained.argmax(1) == data.y_test[:500])),
        "shrunk": float(np.mean(found.argmax(1) == data.y_test[:500])),
    }
    figures = []
    for name, layers in (("residual", RESIDUAL), ("concat", CONCAT)):
        gone = not left & set(layers)
        figures.append(
            ledger.figure(
                f"f-{name}",
                f"a {name} branch that died in training is gone from the shrunk network",
                float(gone),
                "branch",
                target="gone",
                passed=gone,
                seed=options.seed,
            )
        )
    figures.append(
        ledger.figure(
            "f-exact",
            "largest error of the shrunk network against the trained one, dead channels zero",
            error,
            "share",
            at_most=1e-4,
            seed=options.seed,
        )
    )
    widths = {g.name: [int(alive[g.units].sum()), g.size] for g in grouping.groups}
    notes = [
        f"{moved:.1%} of 500 test images change class from the trained network as it was, whose "
        f"dead channels are near zero rather than zero; accuracy {accuracy['trained']:.1%} before, "
        f"{accuracy['shrunk']:.1%} after, without any training in between.",
        f"Layers left: {', '.join(layer.name for layer in small.layers)}.",
    ]
    ledger.write(
        "morphnet-dying",
        figures=figures,
        detail={"widths": widths, "accuracy": accuracy, "options": vars(options)},
        notes=notes,
        topic="morphnet",
    )


if __name__ == "__main__":
    main()
