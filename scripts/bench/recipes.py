"""How the benchmarks train: one recipe for every network of a comparison."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import images

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 128
#: Pixels by which a batch is shifted at most.
SHIFT = 2


def augmented(data: images.Images, seed: int) -> Any:
    """Batches of shifted images, those of CIFAR-10 also mirrored, one epoch per iteration."""
    import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._random = np.random.default_rng(seed)
            self.on_epoch_end()

        def __len__(self) -> int:
            return len(data.x_train) // BATCH

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            chosen = self._order[index * BATCH : (index + 1) * BATCH]
            x = data.x_train[chosen]
            row, column = self._random.integers(-SHIFT, SHIFT + 1, 2)
            x = np.roll(x, (row, column), axis=(1, 2))
            if data.name == "cifar10":
                mirrored = self._random.random(len(x)) < 0.5
                x = np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
            return x, data.y_train[chosen]

        def on_epoch_end(self) -> None:
            self._order = self._random.permutation(len(data.x_train))

    return Batches()


def compiled(model: Any, rate: Any) -> Any:
    """``model`` ready to train at a rate or along a schedule."""
    import keras

    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(model: Any, data: images.Images, seed: int, *, epochs: int, rate: float) -> float:
    """Test accuracy of the last epoch, the rate falling along a cosine."""
    import keras

    batches = augmented(data, seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(batches))
    compiled(model, schedule).fit(batches, epochs=epochs, verbose=0)
    return accuracy(model, data)


def accuracy(model: Any, data: images.Images) -> float:
    """Share of the test images that a model tells right."""
    return float(model.evaluate(data.x_test, data.y_test, batch_size=500, verbose=0)[1])


def strongest(
    pricer: Any, scores: NDArray[np.float64], share: float, *, least: float
) -> NDArray[np.bool_]:
    """The units of strongest signal, as many as a share of the seed's cost allows.

    Args:
        pricer: of the network.
        scores: ``(units,)``.
        share: of the seed's cost.
        least: share of each group that stays, so that no layer dies of a short search.
    """
    from morphnet_core.groups import cascade
    from morphnet_core.projection import best_units

    grouping = pricer.grouping
    kept = best_units(pricer, scores, np.rint(least * grouping.counts(grouping.full())))
    low, high = 0.0, float(scores[np.isfinite(scores)].max())
    alive: NDArray[np.bool_] = grouping.full()
    for _ in range(30):
        middle = (low + high) / 2
        tried = grouping.allowed(cascade(grouping, kept | (scores > middle)), scores)
        if pricer.channel_prices(tried).total > share * pricer.seed:
            low = middle
        else:
            high, alive = middle, tried
    return alive
