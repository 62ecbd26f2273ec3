"""Images at another size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.data.data import Data
from morphnet_core.data.streams import is_stream

#: Images that are resized at once.
_CHUNK = 1024


def image_size(data: Data) -> tuple[int, int]:
    """Height and width of the images that data are.

    Raises:
        InvalidInputError: if they are something else than one array of images.
    """
    if is_stream(data.x) or not isinstance(data.x, np.ndarray) or data.x.ndim != 4:
        message = (
            "Other resolutions are for one array of images, (count, height, width, channels). "
            "Received something else: give arrays, or resize the images in load()."
        )
        raise InvalidInputError(message)
    height, width = data.x.shape[2:] if _channels_first() else data.x.shape[1:3]
    return int(height), int(width)


def at_size(data: Data, size: tuple[int, int]) -> Data:
    """The data with every image resized, as an average of what lies under each new pixel.

    Args:
        data: arrays of images.
        size: height and width.

    Raises:
        InvalidInputError: if they are something else.
    """
    if image_size(data) == size:
        return data
    x_val = data.x_val
    if x_val is not None:
        image_size(replace(data, x=x_val, y=data.y_val, weights=data.weights_val))
        x_val = _resized(x_val, size)
    return replace(data, x=_resized(data.x, size), x_val=x_val)


def _resized(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    parts = []
    for begin in range(0, len(images), _CHUNK):
        found = keras.ops.image.resize(
            images[begin : begin + _CHUNK].astype("float32"),
            size,
            interpolation="bilinear",
            antialias=True,
        )
        part = np.asarray(keras.ops.convert_to_numpy(found))
        if images.dtype.kind in "iu":
            limits = np.iinfo(images.dtype)
            part = np.clip(np.rint(part), limits.min, limits.max)
        parts.append(part.astype(images.dtype))  # in full, float32 would be four times the bytes
    return np.concatenate(parts)


def _channels_first() -> bool:
    return bool(keras.config.image_data_format() == "channels_first")
