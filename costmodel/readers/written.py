"""Reads a file that runners read, ONNX or TensorFlow Lite, as a Network of layers as written."""

from __future__ import annotations

from pathlib import Path

from costmodel.errors import ModelFormatError
from costmodel.lite_model.detect import is_lite
from costmodel.network import Network
from costmodel.sizes import Sizes

#: The runtime that executes TensorFlow Lite files; every other one reads ONNX.
LITE_RUNTIME = "litert"


def read_written(path: Path, sizes: Sizes) -> Network:
    """The layers of a file as written.

    Args:
        path: an ONNX or TensorFlow Lite file.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.

    Raises:
        ModelFormatError: if the file cannot be read, or a dimension stays open.
        InvalidInputError: if ``sizes`` has a name that the model lacks.
    """
    if is_lite(path):
        from costmodel.readers.tflite import read_tflite

        return read_tflite(path, sizes)
    from costmodel.readers.onnx import read_onnx

    return read_onnx(path, sizes)


def require_runtime(path: Path, runtime: str) -> None:
    """Refuse a file that a runtime does not execute.

    Args:
        path: an ONNX or TensorFlow Lite file.
        runtime: of the device that is asked about.

    Raises:
        ModelFormatError: saying which table or runner fits.
    """
    if is_lite(path) and runtime != LITE_RUNTIME:
        message = (
            f"{path} is a TensorFlow Lite file, which {runtime} does not execute, and what it was "
            "converted from is not in it. Give a table of the litert runner (--runner litert), or "
            "the ONNX, Keras, SavedModel or PyTorch model that it was converted from."
        )
        raise ModelFormatError(message)
