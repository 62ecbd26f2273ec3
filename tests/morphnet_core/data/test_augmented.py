"""Images are mirrored and shifted by what follows from a seed, the epoch and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from morphnet_core.data import Data
from morphnet_core.data.augmented import are_images, flipped_and_shifted
from morphnet_core.data.ordered import Feed

pytestmark = pytest.mark.keras


def numbered(count: int, size: int = 16) -> Any:
    """Every pixel says where it is."""
    return np.broadcast_to(
        np.stack(np.meshgrid(np.arange(size), np.arange(size), [0], indexing="ij"), -1)[:, :, 0],
        (count, size, size, 3),
    ).astype("uint8")


def test_an_image_is_shifted_by_up_to_an_eighth_and_every_second_mirrored() -> None:
    count = 400
    found = flipped_and_shifted(numbered(count), np.random.default_rng(0)).astype(int)
    assert found.shape == (count, 16, 16, 3)
    rows, columns = found[:, 8, 8, 0], found[:, 8, 8, 1]
    assert set(rows) == set(range(6, 11))
    mirrored = found[:, 8, 9, 1] < columns
    assert 0.4 < mirrored.mean() < 0.6
    assert set(columns[~mirrored]) == set(range(6, 11))
    assert set(columns[mirrored]) == set(range(5, 10))
    # What lies beyond a border is what lies as far inside.
    down = found[rows == 10][0, :, 8, 0]
    assert down.tolist() == [*range(2, 16), 14, 13]


def test_what_is_an_image_is_seen_by_its_sizes() -> None:
    def seen(*shape: int, dtype: str = "float32") -> bool:
        return are_images(Data(x=np.zeros((4, *shape), dtype), y=np.zeros(4)))

    assert seen(16, 20, 3)
    assert seen(28, 28, 1, dtype="uint8")
    assert not seen(15, 16, 3)
    assert not seen(3, 32, 32)
    assert not seen(32, 32, 12)
    assert not seen(32, 3)
    assert not seen(16, 16, 3, dtype="int64")
    two = {"one": np.zeros((4, 16, 16, 3)), "two": np.zeros((4, 16, 16, 3))}
    assert not are_images(Data(x=two, y=np.zeros(4)))
    assert not are_images(Data(x=iter([]), steps_per_epoch=1))


def test_batches_are_changed_alike_wherever_an_epoch_is_taken_up() -> None:
    data = Data(x={"image": numbered(10)}, y=np.arange(10), batch_size=2)

    def batches(done: int, epoch: int = 3) -> list[Any]:
        feed = Feed(data, (5, 1), flipped_and_shifted)
        feed.begin(epoch, done)
        taken = feed.whole()["x"]
        return [taken[place][0]["image"] for place in range(5 - done)]

    whole, rest = batches(0), batches(2)
    for one, two in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(np.array_equal(one, whole[0]) for one in whole[1:])
    assert not np.array_equal(whole[0], batches(0, epoch=4)[0])
