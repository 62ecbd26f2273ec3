"""Opens a model for LiteRT and asks which operators XNNPACK takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.lite_model.execute import execute, session_layer
from costmodel.lite_model.graph import LiteModel
from costmodel.lite_model.rules import convert_network
from costmodel.network import Network
from costmodel.readers.onnx import read_onnx
from costmodel.runners.litert.read import read_lite
from costmodel.runners.litert.session import delegated_operators

#: Suffix of TensorFlow Lite's own files; everything else is read as ONNX.
SUFFIX = ".tflite"


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
    if path.suffix == SUFFIX:
        return read_lite(path, sizes)
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
        layers = execute(model, delegated(model))
    except (ModelFormatError, UnsupportedOpError) as error:
        message = f"{name}: {error}"
        raise ModelFormatError(message) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        message = f"{name}: an operator's options do not fit its tensors ({error})."
        raise ModelFormatError(message) from error
    return Network(
        name=name,
        layers=(*layers, session_layer(model)),
        inputs={model.tensors[i].name: model.tensors[i].shape for i in model.inputs},
        outputs=tuple(model.tensors[i].name for i in model.outputs),
        source="lowered",
    )
