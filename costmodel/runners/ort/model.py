"""Reads an ONNX file for the runtime and binds its dynamic input sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from costmodel.errors import ModelFormatError


def bound_model(path: Path, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The model with a number for every input size.

    Args:
        path: ONNX file.
        sizes: values of named dynamic dimensions, or of ``input:axis`` for nameless ones. The
            first dimension of each input defaults to 1.

    Raises:
        ModelFormatError: if the file cannot be read, or a dimension has no value.
    """
    if not path.is_file():
        message = f"{path}: there is no such file. Expected an ONNX model."
        raise ModelFormatError(message)
    try:
        model = onnx.load(str(path))
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        message = f"{path}: this is not a readable ONNX model ({error}). Export it again."
        raise ModelFormatError(message) from error
    if not model.graph.node:
        message = f"{path}: the file holds no ONNX graph. Export it again."
        raise ModelFormatError(message)
    constants = {item.name for item in model.graph.initializer}
    for item in model.graph.input:
        if item.name in constants:
            continue
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.dim_value = _size(path, item.name, axis, dim.dim_param, sizes)
    return model


def _size(path: Path, tensor: str, axis: int, symbol: str, sizes: Mapping[str, int]) -> int:
    for key in (symbol, f"{tensor}:{axis}"):
        if key in sizes:
            return sizes[key]
    if axis == 0:
        return 1
    name = symbol or f"{tensor}:{axis}"
    message = (
        f"{path}: axis {axis} of input {tensor!r} has no fixed size. "
        f"Give it one with --size {name}=224."
    )
    raise ModelFormatError(message)
