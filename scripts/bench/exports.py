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
    if not target.exists():
        import keras

        image = keras.Input((size, size, 3), name="image")
        network = getattr(keras.applications, kind)(weights=None, input_tensor=image, **settings)
        export_onnx(network, target, {"image:0": batch})
    return target


def keras_model(target: Path, make: Callable[[], Any]) -> Path:
    """A Keras model of one input called ``image``, for one example at a time.

    Args:
        target: the file.
        make: builds the model.
    """
    if not target.exists():
        export_onnx(make(), target, {"image:0": 1})
    return target


def thinned(source: Path, folder: Path, seed: int) -> Path:
    """A network with the channels of each convolution cut to a random 30 to 100 percent."""
    target = folder / f"{source.stem}-thin{seed}.onnx"
    if not target.exists():
        onnx.save(thin(onnx.load(source), keep=(0.3, 1.0), seed=seed), target)
    return target
