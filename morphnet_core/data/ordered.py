"""Which samples make which batch: a function of a seed, the epoch and the step alone.

``fit`` itself shuffles by the state of its backend, which nobody can save. An order that follows
from numbers is taken up again wherever training was interrupted, under every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.data.data import Data
from morphnet_core.data.nested import num_samples
from morphnet_core.data.streams import Replayed, is_stream, rest, shuffles

#: Gets an array of inputs, and what to draw from, and returns them changed.
Change = Callable[[Any, np.random.Generator], Any]


class Feed:
    """What ``fit`` is given, from any step of any epoch on.

    Arrays, and batches that are asked for by number (``PyDataset``), come in an order of their own
    in every epoch. Other streams come as they are: the batches that were trained on are taken and
    dropped, so what follows is what would have followed if the stream yields the same again.

    Args:
        data: to train on.
        seed: numbers that the order follows from.
        change: of every batch of arrays; what it draws follows from the same numbers and the step.
    """

    def __init__(self, data: Data, seed: Sequence[int], change: Change | None = None) -> None:
        self._data = data
        by_number = not is_stream(data.x) or shuffles(data.x)
        self._ordered = _Ordered(data, tuple(seed), change) if by_number else None

    def forget(self, batches: int) -> None:
        """Drop batches of a generator that were trained on by another process; others need not."""
        if isinstance(self._data.x, Replayed):
            self._data.x.drop(batches)

    def begin(self, epoch: int, done: int = 0) -> None:
        """Say which epoch comes next; called before its first batch is taken.

        Args:
            epoch: its number.
            done: batches of it that were trained on before.
        """
        if self._ordered is not None:
            self._ordered.begin(epoch, done)

    def whole(self) -> dict[str, Any]:
        """Arguments of a ``fit`` over whole epochs."""
        if self._ordered is None:
            return self._data.fit_arguments
        return {"x": self._ordered, "shuffle": False}

    def rest(self, done: int) -> dict[str, Any]:
        """Arguments of a ``fit`` over what is left of the epoch that was begun.

        Args:
            done: batches of it that were trained on before.
        """
        if self._ordered is not None:
            return self.whole()
        steps = self._data.steps
        left = rest(self._data.x, steps=steps, done=done)
        return {"x": left, "steps_per_epoch": steps - done, "shuffle": False}


class _Ordered(keras.utils.PyDataset):  # type: ignore[misc]
    """Arrays or numbered batches in the order of the epoch that was begun."""

    def __init__(self, data: Data, seed: tuple[int, ...], change: Change | None) -> None:
        own = data.x if is_stream(data.x) else None
        names = ("workers", "use_multiprocessing", "max_queue_size")
        super().__init__(**({} if own is None else {name: getattr(own, name) for name in names}))
        self._data = data
        self._seed = seed
        self._change = change
        self._batches = own
        self.begin(0)

    def begin(self, epoch: int, done: int = 0) -> None:
        """Order an epoch; the first ``done`` batches of it are left out."""
        steps = self._data.steps
        chance = np.random.default_rng((*self._seed, epoch))
        if self._batches is None:
            size, order = self._data.batch_size, chance.permutation(num_samples(self._data.x))
            parts: list[Any] = [order[at * size : (at + 1) * size] for at in range(steps)]
        elif self._batches.num_batches is None:  # endless: no batch comes twice
            parts = list(range(epoch * steps, (epoch + 1) * steps))
        else:
            parts = list(_over_again(chance, int(self._batches.num_batches), steps))
        self._parts: list[Any] = parts[done:]
        self._begun = (epoch, done)

    @property
    def num_batches(self) -> int:
        """Batches that are left of the epoch."""
        return len(self._parts)

    def __getitem__(self, place: int) -> Any:
        part = self._parts[place]
        if self._batches is not None:
            return self._batches[part]
        x, y, weights = (_picked(item, part) for item in _fields(self._data))
        change = self._change
        if change is not None:
            epoch, done = self._begun
            chance = np.random.default_rng((*self._seed, epoch, 1 + done + place))
            x = keras.tree.map_structure(lambda leaf: change(leaf, chance), x)
        if weights is not None:
            return x, y, weights
        return (x,) if y is None else (x, y)

    def on_epoch_begin(self) -> None:
        """Tell the user's own batches."""
        if self._batches is not None:
            self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Tell the user's own batches."""
        if self._batches is not None:
            self._batches.on_epoch_end()


def _fields(data: Data) -> tuple[Any, Any, Any]:
    return data.x, data.y, data.weights


def _over_again(chance: np.random.Generator, batches: int, steps: int) -> Iterator[int]:
    """Numbers of ``steps`` batches: all of them in some order, and again while there are steps."""
    left = steps
    while left > 0:
        yield from chance.permutation(batches)[:left].tolist()
        left -= batches


def _picked(value: Any, samples: NDArray[np.intp]) -> Any:
    """Some samples of every leaf, in types and a structure that ``fit`` leaves as they are."""

    def picked(leaf: Any) -> Any:
        if leaf is None:
            return None
        found = leaf[samples]
        if found.dtype.kind in "OSU":
            return keras.ops.convert_to_tensor(found, dtype="string")
        wanted = keras.config.floatx()
        return found.astype(wanted) if _is_other_float(found.dtype, wanted) else found

    # Keras would make one tensor of a list.
    return (
        None
        if value is None
        else keras.tree.lists_to_tuples(keras.tree.map_structure(picked, value))
    )


def _is_other_float(dtype: Any, wanted: str) -> bool:
    known = keras.backend.standardize_dtype(dtype)
    return bool(keras.backend.is_float_dtype(known) and known != wanted)
