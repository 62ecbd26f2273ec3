"""Small image sets for the examples and benchmarks: Fashion-MNIST and a CIFAR-10 subset.

They are looked for in ``$MORPHNET_IMAGES``, then in ``../shared/data/images`` beside the project:
the four original ``*-ubyte.gz`` files of Fashion-MNIST, and ``cifar10_20k_5k_jpeg.npz``.
"""

from __future__ import annotations

import gzip
import io
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(
    os.environ.get("MORPHNET_IMAGES", Path(__file__).resolve().parents[2] / "shared/data/images")
)
#: Names that ``load_images`` knows.
DATA_SETS = ("fashion_mnist", "cifar10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A classification set.

    Attributes:
        name: of the set.
        x_train: ``(n, height, width, channels)``, float32, about zero mean and unit variance.
        y_train: ``(n,)``, class numbers.
        x_test: as ``x_train``.
        y_test: as ``y_train``.
    """

    name: str
    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    @property
    def size(self) -> tuple[int, ...]:
        """Sizes of one image."""
        return self.x_train.shape[1:]


def load_images(name: str, *, limit: int | None = None) -> Images:
    """Load one of ``DATA_SETS``.

    Args:
        name: of the set.
        limit: use only so many training images, the first ones.

    Raises:
        SystemExit: if the files are not there, with where they were looked for.
    """
    x_train, y_train, x_test, y_test = load_pixels(name)
    mean, deviation = x_train.mean(axis=(0, 1, 2)), x_train.std(axis=(0, 1, 2))
    return Images(
        name=name,
        x_train=((x_train[:limit] - mean) / deviation).astype(np.float32),
        y_train=y_train[:limit].astype(np.int64),
        x_test=((x_test - mean) / deviation).astype(np.float32),
        y_test=y_test.astype(np.int64),
    )


Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def load_pixels(name: str) -> Arrays:
    """One of ``DATA_SETS`` as it is stored: pixels and class numbers to train on, and to test by.

    Raises:
        SystemExit: as for ``load_images``.
    """
    if name not in DATA_SETS:
        message = f"There is no image set {name!r}. Known: {', '.join(DATA_SETS)}."
        raise SystemExit(message)
    try:
        return _fashion_mnist() if name == "fashion_mnist" else _cifar10()
    except FileNotFoundError as error:
        message = f"{error.filename} is missing. Set MORPHNET_IMAGES to the folder that has it."
        raise SystemExit(message) from error


def _fashion_mnist() -> Arrays:
    def pixels(stem: str) -> NDArray[np.uint8]:
        data = gzip.decompress((FOLDER / f"{stem}-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28, 1)

    def labels(stem: str) -> NDArray[np.uint8]:
        data = gzip.decompress((FOLDER / f"{stem}-labels-idx1-ubyte.gz").read_bytes())
        return np.frombuffer(data, np.uint8, offset=8)

    return pixels("train"), labels("train"), pixels("t10k"), labels("t10k")


def _cifar10() -> Arrays:
    from PIL import Image

    with np.load(FOLDER / "cifar10_20k_5k_jpeg.npz", allow_pickle=False) as file:
        arrays = dict(file)

    def pixels(part: str) -> NDArray[np.uint8]:
        data, offsets = arrays[f"jpeg_{part}"], arrays[f"offsets_{part}"]
        found = [
            np.asarray(Image.open(io.BytesIO(data[start:stop].tobytes())).convert("RGB"))
            for start, stop in pairwise(offsets)
        ]
        return np.stack(found)

    return pixels("train"), arrays["y_train"], pixels("test"), arrays["y_test"]
