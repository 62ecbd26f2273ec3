"""A model that lies in several files as one file, to be sent elsewhere."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.file import open_model, save_model
from costmodel.onnx_model.tensors import MAX_BYTES


def whole_file(path: Path, target: Path) -> Path:
    """A file that needs no other file.

    Args:
        path: of a model, in whatever format.
        target: where it is written if it has weights beside it.

    Returns:
        ``path`` if it is one already, else ``target``.

    Raises:
        ModelFormatError: if it is larger than one file may be.
    """
    if path.suffix != ".onnx":
        return path
    model = onnx.load(path, load_external_data=False)
    if not any(map(uses_external_data, model.graph.initializer)):
        return path
    model = open_model(path)
    if (size := model.ByteSize()) >= MAX_BYTES:
        message = (
            f"{path}: with its weights the model has {size:,} bytes, and one file holds "
            f"{MAX_BYTES:,}. Give a part of the network, or one whose weights take fewer bytes."
        )
        raise ModelFormatError(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, target)
    return target
