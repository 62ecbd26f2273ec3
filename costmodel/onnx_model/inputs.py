"""Gives every input of an ONNX model a fixed size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import onnx

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.onnx_model.file import open_model

#: Names that exporters give to the number of images.
_BATCH = re.compile(r"(n|b|batch.*|bs|unk_.*|none|\?|-1|dynamic_axes_1|symbolic_?0?|s0)?", re.I)


def bound_model(path: Path, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """Open an ONNX file and give every input a fixed size; nothing is inferred from that.

    Args:
        path: ONNX file.
        sizes: as for ``bind_inputs``; names that this model lacks are left alone, so that several
            models can be given the same sizes.

    Raises:
        ModelFormatError: if the file cannot be read, or a dimension stays open or is zero.
        InvalidInputError: if ``sizes`` holds a value below 1.
    """
    model = open_model(path)
    bind_inputs(path, model.graph, sizes)
    return model


def bind_inputs(path: Path, graph: onnx.GraphProto, sizes: Mapping[str, int]) -> list[str]:
    """Set every open dimension of every input, in place.

    A first dimension that is open and named like a batch, or not named at all, becomes 1.

    Args:
        path: where the model came from, for messages.
        graph: its inputs change.
        sizes: values by dimension name, or by ``<input>:<axis>`` for dimensions without one; the
            key ``batch`` always means the first dimension of inputs whose first one is open.

    Returns:
        The names in ``sizes`` that set nothing, sorted.

    Raises:
        ModelFormatError: if a dimension stays open, or is zero, or an input is not a tensor.
        InvalidInputError: if ``sizes`` holds a value below 1.
    """
    for name, value in sizes.items():
        if type(value) is not int or not 1 <= value < 2**31:
            message = f"The size {name}={value!r} must be a whole number from 1 to {2**31 - 1}."
            raise InvalidInputError(message)
    used: set[str] = set()
    for item in real_inputs(graph):
        if not item.type.HasField("tensor_type") or not item.type.tensor_type.HasField("shape"):
            message = (
                f"{path}: its input {item.name!r} is not a tensor with a known number of axes, so "
                "nothing can be sized. Export the model with tensor inputs of fixed rank."
            )
            raise ModelFormatError(message)
        for axis in range(len(item.type.tensor_type.shape.dim)):
            _bind_dim(path, item, axis, sizes, used)
    return sorted(set(sizes) - used)


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What the model must be fed: old files list their weights among the inputs too."""
    stored = {item.name for item in graph.initializer}
    return [item for item in graph.input if item.name not in stored]


def _bind_dim(
    path: Path, item: onnx.ValueInfoProto, axis: int, sizes: Mapping[str, int], used: set[str]
) -> None:
    """Set one dimension of one input and note which name set it."""
    dim = item.type.tensor_type.shape.dim[axis]
    if dim.dim_value > 0:
        return
    if dim.dim_value < 0 or (dim.HasField("dim_value") and axis > 0):
        message = (
            f"{path}: dimension {axis} of input {item.name!r} is {dim.dim_value}; there is no work "
            "in it. Export the model with real sizes."
        )
        raise ModelFormatError(message)
    batch_like = axis == 0 and _BATCH.fullmatch(dim.dim_param) is not None
    keys = [dim.dim_param, f"{item.name}:{axis}", *(["batch"] if batch_like else [])]
    key = next((key for key in keys if key and key in sizes), None)
    if key is None and not batch_like:
        shown = dim.dim_param or f"{item.name}:{axis}"
        message = (
            f"{path}: dimension {axis} of input {item.name!r} ({describe_input(item)}) is open. "
            f"Give its size: --size {shown}=224 (sizes={{{shown!r}: 224}})."
        )
        raise ModelFormatError(message)
    if key is not None:
        used.add(key)
    dim.dim_value = sizes[key] if key is not None else 1


def describe_input(item: onnx.ValueInfoProto) -> str:
    """Name and sizes of an input, for messages."""
    dims = item.type.tensor_type.shape.dim
    return f"{item.name}: [{', '.join(str(d.dim_value or d.dim_param or '?') for d in dims)}]"
