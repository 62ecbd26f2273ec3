"""Networks as ONNX files in a benchmark's folder, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from costmodel.readers.keras import export_onnx
from costmodel.sampling.thin import thin


def application(target: Path, kind: str, size: int, *, batch: int = 1, **settings: float) -> Path:
    """A network of keras.applications with random weights.

    Args:
        target: the file.
        kind: class of keras.applications.
        size: side of an image.
        batch: images at once.
        settings: of the class.
    """

    def make() -> Any:
        import keras

        image = keras.Input((size, size, 3), name="image")
        return getattr(keras.applications, kind)(weights=None, input_tensor=image, **settings)

    return keras_model(target, make, batch=batch)


def keras_model(target: Path, make: Callable[[], Any], *, batch: int = 1) -> Path:
    """A Keras model of one input called ``image``.

    Args:
        target: the file.
        make: builds the model.
        batch: images at once.
    """
    if not target.exists():
        export_onnx(make(), target, {"image:0": batch})
    return target


def thinned(source: Path, folder: Path, seed: int) -> Path:
    """A network with the channels of each convolution cut to a random 30 to 100 percent."""
    target = folder / f"{source.stem}-thin{seed}.onnx"
    if not target.exists():
        onnx.save(thin(onnx.load(source), keep=(0.3, 1.0), seed=seed), target)
    return target
