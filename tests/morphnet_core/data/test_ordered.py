"""The order of the data follows from numbers, so that it is taken up anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np
import pytest

from morphnet_core.data import Data
from morphnet_core.data.ordered import Feed

pytestmark = pytest.mark.keras


class Numbered(keras.utils.PyDataset):
    def __init__(self, count: int | None = 6) -> None:
        super().__init__()
        self.count = count

    @property
    def num_batches(self) -> int | None:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return np.full((2, 1), index, dtype="float32"), np.zeros(2)


def generated() -> Iterator[Any]:
    for number in range(100):
        yield np.full((2, 1), number, dtype="float32"), np.zeros(2)


def dataset() -> Any:
    import tensorflow as tf

    numbers = np.arange(12, dtype="float32")[:, None]
    return tf.data.Dataset.from_tensor_slices((numbers, np.zeros(12))).batch(2)


KINDS: dict[str, Any] = {
    "arrays": lambda: Data(x=np.arange(11.0)[:, None], y=np.arange(11), batch_size=2),
    "by number": lambda: Data(x=Numbered()),
    "fewer": lambda: Data(x=Numbered(), steps_per_epoch=4),
    "more": lambda: Data(x=Numbered(), steps_per_epoch=8),
    "endless": lambda: Data(x=Numbered(None), steps_per_epoch=6),
    "generator": lambda: Data(x=generated(), steps_per_epoch=6),
    "dataset": lambda: Data(x=dataset()),
}


def firsts(stream: Any, count: int) -> list[float]:
    batches = map(stream.__getitem__, range(count)) if hasattr(stream, "num_batches") else stream
    return [float(np.asarray(batch[0])[0, 0]) for batch in islice(iter(batches), count)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_what_would_have_come(kind: str) -> None:
    data: Data = KINDS[kind]()
    feed, whole = Feed(data, (7, 0)), []
    for epoch in range(2):
        feed.begin(epoch)
        whole.append(firsts(feed.whole()["x"], data.steps))
    again: Data = KINDS[kind]()
    feed = Feed(again, (7, 0))
    feed.forget(data.steps + 4)
    feed.begin(1, 4)
    given = feed.rest(4)
    assert firsts(given["x"], data.steps - 4) == whole[1][4:]
    assert given["shuffle"] is False


def test_every_sample_comes_once_in_an_order_of_its_own() -> None:
    data: Data = KINDS["arrays"]()
    orders = []
    for seed, epoch in ((7, 0), (7, 1), (8, 0)):
        feed = Feed(data, (seed, 0))
        feed.begin(epoch)
        stream = feed.whole()["x"]
        batches = [stream[place] for place in range(stream.num_batches)]
        assert [len(x) for x, _ in batches] == [2, 2, 2, 2, 2, 1]
        assert all((x[:, 0] == y).all() for x, y in batches)
        assert batches[0][0].dtype == keras.config.floatx()
        orders.append(np.concatenate([y for _, y in batches]).tolist())
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_batches_are_structured_as_fit_takes_them() -> None:
    words = np.array(list("abcde"))
    data = Data(x=[np.arange(5.0)[:, None], words], y=np.zeros(5), weights=np.ones(5), batch_size=5)
    feed = Feed(data, (0,))
    feed.begin(0)
    x, _, weights = feed.whole()["x"][0]
    assert isinstance(x, tuple), "Keras would make one tensor of a list"
    assert keras.backend.standardize_dtype(x[1].dtype) == "string"
    assert {bytes(word).decode() for word in x[1].numpy()} == set(words)
    assert weights.shape == (5,)
    alone = Feed(Data(x={"a": np.zeros((4, 1))}), (0,))
    alone.begin(0)
    batch = alone.whole()["x"][0]
    assert [list(item) for item in batch] == [["a"]], "inputs alone, no targets"
