"""MorphNet's eight steps on an image set, in the order in which people know them.

    python scripts/train_morphnet.py                       # FLOPs, Fashion-MNIST
    python scripts/train_morphnet.py --target cpu.jsonl    # a latency table: milliseconds
    python scripts/train_morphnet.py --data cifar10 --target params --cycles 2

Shrinks a small residual network, retrains the proposed structure from scratch, and grows it back to
the cost it began with. Files land in ``--out``: the structure as JSON and the models.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images
import keras
import networks
import numpy as np

from costmodel.costs.regression import fit_regression
from costmodel.protocols import CostModel
from costmodel.readers.keras import read_keras
from costmodel.table import LatencyTable
from morphnet_core.expansion import expand_to
from morphnet_core.exporter import StructureExporter
from morphnet_core.groups import find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.regularizer import CostRegularizer
from morphnet_core.structure import Structure
from morphnet_core.surgery import expand, rebuild


def compiled(model: Any, rate: float, steps: int, *, fixed: bool = False) -> Any:
    """``model`` ready to train; the rate is fixed while the structure is learned."""
    schedule = rate if fixed else keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        optimizer=keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def priced(model: Any, target: str | CostModel) -> Pricer:
    """What a model and its other widths cost."""
    return Pricer(find_groups(read_keras(model)), target)


def train(model: Any, data: images.Images, options: argparse.Namespace) -> float:
    """Train a network by the standard recipe and return its test accuracy."""
    steps = options.epochs * -(-len(data.x_train) // options.batch)
    compiled(model, options.rate, steps)
    model.fit(
        data.x_train, data.y_train, batch_size=options.batch, epochs=options.epochs, verbose=2
    )
    return float(model.evaluate(data.x_test, data.y_test, batch_size=500, verbose=0)[1])


def load_target(text: str) -> str | CostModel:
    """A target by name, or the regression of a latency table."""
    if text.endswith(".jsonl"):
        return fit_regression(LatencyTable.load(Path(text)))
    return text


def learn_structure(
    model: Any, data: images.Images, options: argparse.Namespace, target: str | CostModel
) -> Structure:
    """Steps 1 to 6: from a model to the structure that the regularizer proposes."""
    # 1. Choose a regularizer. 2. Its signal is the scale (gamma) of BatchNormalization, which must
    # be enabled: scale=True is the default of Keras. 3. Initialise it with a threshold and the
    # outputs of the model.
    regularizer = CostRegularizer(
        model, target, signal=options.signal, threshold=options.threshold, strength=options.strength
    )
    # 4. Add its term to the loss: the callback does. 5. Train.
    learner = compiled(regularizer.model, options.rate, 0, fixed=True)
    learner.fit(
        data.x_train,
        data.y_train,
        batch_size=options.batch,
        epochs=options.learn_epochs,
        callbacks=[regularizer],
        verbose=2,
    )
    # 6. Save the proposed structure as JSON.
    path = StructureExporter(regularizer).create_file_and_save_alive_counts(
        options.out, options.learn_epochs
    )
    print(f"Structure: {path}")
    print(regularizer.report())
    return Structure.load(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=images.DATA_SETS, default="fashion_mnist")
    parser.add_argument("--target", default="flops", help="flops, params, ... or TABLE.jsonl")
    parser.add_argument("--signal", default="gamma")
    parser.add_argument("--strength", type=float, default=None, help="default: the library's")
    parser.add_argument("--threshold", type=float, default=None, help="default: the signal's")
    parser.add_argument("--blocks", type=int, default=2, help="residual blocks a stage")
    parser.add_argument("--learn-epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--limit", type=int, help="use only so many training images")
    parser.add_argument("--cycles", type=int, default=1, help="rounds of shrinking and expanding")
    parser.add_argument("--grow", type=float, default=1.0, help="share of the seed's cost")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/morphnet"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = images.load_images(options.data, limit=options.limit)
    target = load_target(options.target)

    keras.utils.set_random_seed(options.seed)
    model = networks.small_resnet(data.size, blocks=options.blocks)
    seed_cost = priced(model, target).seed
    print(f"Seed: {model.count_params():,} weights, cost {seed_cost:g}")
    print(f"Seed accuracy {train(model, data, options):.4f}")
    for cycle in range(options.cycles):
        structure = learn_structure(expand(model, 1.0), data, options, target)
        # 7. Modify the model using the structure. 8. Retrain from scratch without the regularizer.
        small = rebuild(model, structure, seed=options.seed)
        pricer = priced(small, target)
        print(f"Shrunk to {pricer.seed / seed_cost:.2f} of the seed's cost", end=", ", flush=True)
        print(f"accuracy {train(small, data, options):.4f}")
        small.save(options.out / f"shrunk_{cycle}.keras")
        # Grow by a uniform width multiplier to the cost the network began with, and begin again.
        grouping = pricer.grouping
        found = expand_to(
            grouping, grouping.counts(grouping.full()), pricer.total, options.grow * seed_cost
        )
        model = expand(small, np.asarray(found.counts), grouping=grouping, seed=options.seed)
        cost = priced(model, target).seed
        print(f"Expanded by {found.multiplier:.3f} to {cost / seed_cost:.2f}", end=", ", flush=True)
        print(f"accuracy {train(model, data, options):.4f}")
        model.save(options.out / f"morphed_{cycle}.keras")


if __name__ == "__main__":
    main()
