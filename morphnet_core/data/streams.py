"""Streams of batches: what Keras' ``fit`` takes in place of arrays."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras

from costmodel.errors import InvalidInputError
from morphnet_core.data.nested import Batch, as_arrays


def is_stream(value: Any) -> bool:
    """Whether something yields batches: a dataset, a loader or a generator."""
    if isinstance(value, keras.utils.PyDataset | Replayed) or hasattr(value, "__next__"):
        return True
    return hasattr(value, "__iter__") and any(
        hasattr(value, name) for name in ("element_spec", "batch_sampler")
    )


def kept_open(value: Any) -> Any:
    """The same stream; a generator as one whose first batches can be looked at."""
    return Replayed(value) if hasattr(value, "__next__") else value


class Replayed:
    """A generator whose next batches can be looked at before they are taken.

    Args:
        source: yields batches.
    """

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self._seen: deque[Any] = deque()
        self._lock = threading.Lock()  # ``fit`` takes batches in a thread of its own

    def look(self, count: int) -> list[Any]:
        """The next ``count`` batches, which stay to be taken."""
        with self._lock:
            self._seen.extend(islice(self._source, max(0, count - len(self._seen))))
            return list(islice(self._seen, count))

    def drop(self, count: int) -> None:
        """Take the next ``count`` batches and forget them, one at a time."""
        for _ in islice(self.stream(), count):
            pass

    def stream(self) -> Iterator[Any]:
        """A generator that takes batches; several go on where the last one has ended."""
        while True:
            with self._lock:
                try:
                    batch = self._seen.popleft() if self._seen else next(self._source)
                except StopIteration:
                    return
            yield batch


def opened(stream: Any) -> Any:
    """What ``fit`` is given."""
    return stream.stream() if isinstance(stream, Replayed) else stream


def shuffles(stream: Any) -> bool:
    """Whether ``fit`` can choose the order of its batches."""
    return isinstance(stream, keras.utils.PyDataset)


def rest(stream: Any, *, steps: int, done: int) -> Iterator[Any]:
    """What is left of an epoch of a stream, as a generator.

    Args:
        stream: a dataset or a loader, which begins again with every epoch; or a generator, which
            goes on (see ``Replayed.drop``).
        steps: batches of an epoch.
        done: batches of it that were taken before.
    """
    goes_on = isinstance(stream, Replayed)
    source, dropped = (stream.stream(), 0) if goes_on else (iter(stream), done)
    for batch in islice(source, dropped, dropped + steps - done):
        x, y, weights = _as_batch(batch)
        yield (x,) if y is None else (x, y) if weights is None else (x, y, weights)


def first_batches(stream: Any, count: int) -> list[Batch]:
    """The first batches as arrays.

    Raises:
        InvalidInputError: if there are none.
    """
    if isinstance(stream, Replayed):
        raw = stream.look(count)
    elif isinstance(stream, keras.utils.PyDataset):
        most = count if stream.num_batches is None else min(count, stream.num_batches)
        raw = [stream[index] for index in range(most)]
    else:
        raw = list(islice(iter(stream), count))
    if not raw:
        message = (
            f"The {type(stream).__name__} to train on yields no batch. Give one that is not empty, "
            "and that nobody has read to its end."
        )
        raise InvalidInputError(message)
    return [_as_batch(batch) for batch in raw]


def _as_batch(batch: Any) -> Batch:
    whole = tuple(batch) if isinstance(batch, list) else batch  # as loaders of PyTorch do
    x, y, weights = keras.utils.unpack_x_y_sample_weight(whole)
    return as_arrays(x), as_arrays(y), as_arrays(weights)


def length(stream: Any) -> int | None:
    """Batches of an epoch; None where it is not known or has no end."""
    if isinstance(stream, keras.utils.PyDataset):
        found = stream.num_batches
        return None if found is None else int(found)
    if hasattr(stream, "cardinality"):
        known = int(stream.cardinality())
        return known if known > 0 else None
    try:
        return len(stream)
    except TypeError:
        return None
