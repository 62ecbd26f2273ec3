"""Images as a network might have seen them, too: flipped and shifted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphnet_core.data.data import Data
from morphnet_core.data.nested import leaves
from morphnet_core.data.streams import is_stream

#: Images are shifted by up to this share of their sides, if these have so many pixels at least.
SHARE, LEAST = 8, 16


def are_images(data: Data) -> bool:
    """Whether data are arrays of images, large enough and with channels of grey or of colour last.

    >>> are_images(Data(x=np.zeros((4, 16, 16, 3), dtype="uint8"), y=np.zeros(4)))
    True
    """
    found = [] if is_stream(data.x) else [leaf for _, leaf in leaves(data.x)]
    if len(found) != 1 or found[0].ndim != 4:
        return False
    *_, height, width, channels = found[0].shape
    numbers = found[0].dtype == np.uint8 or found[0].dtype.kind == "f"
    return bool(numbers and min(height, width) >= LEAST and channels in {1, 3})


def flipped_and_shifted(images: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """Every image mirrored or not, and shifted by up to an eighth; borders mirror what is inside.

    Args:
        images: ``(count, height, width, channels)``.
        chance: what is drawn from.
    """
    count, height, width, _ = images.shape
    rows, columns = (_places(size, count, chance) for size in (height, width))
    columns = np.where(chance.random((count, 1)) < 0.5, columns[:, ::-1], columns)
    return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _places(size: int, count: int, chance: np.random.Generator) -> NDArray[np.intp]:
    """``(count, size)`` where each row comes from."""
    furthest = size // SHARE
    shifts = chance.integers(-furthest, furthest + 1, size=(count, 1))
    return np.asarray(size - 1 - np.abs(size - 1 - np.abs(np.arange(size) + shifts)), dtype=np.intp)
