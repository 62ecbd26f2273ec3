"""Opens a model for LiteRT and asks which operators XNNPACK takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.lite_model.detect import is_lite
from costmodel.lite_model.execute import executed_network
from costmodel.lite_model.graph import LiteModel
from costmodel.lite_model.read import plain_lite
from costmodel.lite_model.rules import convert_network
from costmodel.network import Network
from costmodel.readers.onnx import read_onnx
from costmodel.runners.litert.session import delegated_operators


def open_model(path: Path, sizes: Mapping[str, int], dtype: str) -> LiteModel:
    """The TensorFlow Lite model of a file.

    Args:
        path: a ``.tflite`` file, taken as it is, or an ONNX file, converted as TensorFlow would.
        sizes: values of open dimensions.
        dtype: for ONNX files; a ``.tflite`` file must be of it already.

    Raises:
        ModelFormatError: if the file cannot be read, or a layer has no counterpart.
    """
    path = Path(path)
    if is_lite(path):
        return plain_lite(path, sizes, dtype)
    network = read_onnx(path, sizes)
    if network.unread:
        name, reason = next(iter(network.unread.items()))
        message = f"{path}: layer {name!r} cannot be converted: {reason}."
        raise ModelFormatError(message)
    try:
        return convert_network(network, dtype)
    except ModelFormatError as error:
        message = f"{path}: {error}"
        raise ModelFormatError(message) from error


def lower(
    model: LiteModel,
    name: str,
    delegated: Callable[[LiteModel], Set[int]] = delegated_operators,
) -> Network:
    """The executed Ops of a model.

    Args:
        model: as the file has it.
        name: the network's name.
        delegated: says which operators XNNPACK takes over; by default the runtime here does.

    Raises:
        ModelFormatError: if the runtime cannot load it.
    """
    try:
        taken = delegated(model)
    except (ModelFormatError, UnsupportedOpError) as error:
        message = f"{name}: {error}"
        raise ModelFormatError(message) from error
    return executed_network(model, name, taken, "lowered")
