"""Holds stored tensors against the bytes that are there, and brings in those beside the file.

Sizes are checked from the file's own claims before anything of that size is made, so a small file
that claims two gigabytes costs nothing.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_tensor

from costmodel.errors import ModelFormatError
from costmodel.limits import limits
from costmodel.onnx_model.walk import all_tensors

#: Protocol buffers cannot hold more; larger models keep their weights outside the file.
MAX_BYTES = 2**31 - 1
#: Element types of less than a byte, by their names: older releases of onnx lack some.
_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2, "STRING": 8}


def check_tensors(path: Path, model: onnx.ModelProto) -> None:
    """Compare what each stored tensor claims to be with the bytes that are there.

    Raises:
        ModelFormatError: for sizes below 0, unknown element types, too few bytes or too many.
    """
    total, most = 0, limits()
    for tensor in all_tensors(model):
        if any(size < 0 for size in tensor.dims):
            message = (
                f"{path}: tensor {tensor.name!r} has a negative size {tuple(tensor.dims)}. The "
                "file is damaged; fetch or export it again."
            )
            raise ModelFormatError(message)
        most.require("elements", prod(tensor.dims), f"{path}, tensor {tensor.name!r}")
        claimed = _claimed(path, tensor)
        total += claimed
        if total > MAX_BYTES:
            message = (
                f"{path}: its tensors up to {tensor.name!r} {tuple(tensor.dims)} claim "
                f"{total:,} bytes, more than the {MAX_BYTES:,} that one model can hold here."
            )
            raise ModelFormatError(message)
        most.require("bytes", total, path)
        stored = len(tensor.raw_data)
        if stored and stored != claimed and not _is_outside(tensor):
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} needs {claimed:,} bytes but "
                f"{stored:,} are stored. The file is damaged; fetch or export it again."
            )
            raise ModelFormatError(message)
        if not stored and claimed and not _has_data(tensor):
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} has no values stored. "
                "The file is damaged or was saved without its weights; export it again."
            )
            raise ModelFormatError(message)


def load_external(path: Path, model: onnx.ModelProto) -> None:
    """Bring tensors that are stored beside the file into the model.

    Raises:
        ModelFormatError: if a file is missing, lies elsewhere, or holds too few bytes.
    """
    for tensor in all_tensors(model):
        if not _is_outside(tensor):
            continue
        facts = {item.key: item.value for item in tensor.external_data}
        location = facts.get("location", "")
        if not _is_within(path.parent, location):
            message = (
                f"{path}: the weights of {tensor.name!r} are said to be in {location!r}, which is "
                f"outside of the model's folder and is never read. Put them into {path.parent}, "
                "and export the model with a plain file name."
            )
            raise ModelFormatError(message)
        if not location or not (path.parent / location).is_file():
            message = (
                f"{path}: the weights of {tensor.name!r} are in the file {location!r} beside it, "
                f"which is missing. Put it into {path.parent}, or export without external data."
            )
            raise ModelFormatError(message)
        claimed = _claimed(path, tensor)
        if "length" not in facts:  # else all of the file would be read
            tensor.external_data.add(key="length", value=str(claimed))
        elif facts["length"] != str(claimed):
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} needs {claimed:,} bytes but "
                f"{facts['length']} of {location!r} are its. Fetch or export both again."
            )
            raise ModelFormatError(message)
        try:
            load_external_data_for_tensor(tensor, str(path.parent))
        except Exception as error:  # onnx raises several kinds, its checker's own among them
            message = (
                f"{path}: the external data of {tensor.name!r} cannot be read ({error}). Fetch or "
                "export both files again."
            )
            raise ModelFormatError(message) from error
        if len(tensor.raw_data) != claimed:
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} needs {claimed:,} bytes but "
                f"{len(tensor.raw_data):,} of {location!r} are its. Fetch or export both again."
            )
            raise ModelFormatError(message)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _is_within(folder: Path, location: str) -> bool:
    """Whether a place named in a model is in the model's folder, links followed."""
    try:
        inside = Path(location)
        if inside.is_absolute() or ".." in inside.parts:
            return False
        return (folder / inside).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name with a zero byte
        return False


def fill_sparse(path: Path, model: onnx.ModelProto) -> None:
    """Write the sparse weights of a graph with their zeros, as ONNX Runtime does when it loads it.

    Raises:
        ModelFormatError: for places outside of a tensor, or more than one model can hold.
    """
    graph, total = model.graph, 0
    for sparse in graph.sparse_initializer:
        shape = tuple(sparse.dims)
        bits = _element_bits(path, sparse.values)
        if any(size < 0 for size in shape) or prod(shape) * bits // 8 > MAX_BYTES:
            message = (
                f"{path}: the sparse tensor {sparse.values.name!r} {shape} has more than the "
                f"{MAX_BYTES:,} bytes that one model can hold here, or sizes below 0. Fetch or "
                "export the file again."
            )
            raise ModelFormatError(message)
        total += prod(shape) * bits // 8
        limits().require("unpacked", total, f"{path}, sparse tensor {sparse.values.name!r}")
        try:
            values = onnx.numpy_helper.to_array(sparse.values)
            places = onnx.numpy_helper.to_array(sparse.indices).astype(np.int64)
            dense = np.zeros(shape, dtype=values.dtype)
            flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), shape)
            dense.reshape(-1)[flat] = values
        except (IndexError, TypeError, ValueError) as error:
            message = (
                f"{path}: the sparse tensor {sparse.values.name!r} is damaged ({error}). Fetch or "
                "export the file again."
            )
            raise ModelFormatError(message) from error
        graph.initializer.append(onnx.numpy_helper.from_array(dense, sparse.values.name))
    del graph.sparse_initializer[:]


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _claimed(path: Path, tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor by its sizes and element type."""
    return int(-(-prod(tensor.dims) * _element_bits(path, tensor) // 8))


def _element_bits(path: Path, tensor: onnx.TensorProto) -> int:
    try:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        if name in _BITS:
            return _BITS[name]
        return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError) as error:
        message = (
            f"{path}: tensor {tensor.name!r} has the unknown element type {tensor.data_type}. "
            "Install a newer onnx, or export the file again."
        )
        raise ModelFormatError(message) from error


def _has_data(tensor: onnx.TensorProto) -> bool:
    return bool(
        _is_outside(tensor)
        or tensor.float_data
        or tensor.int32_data
        or tensor.int64_data
        or tensor.double_data
        or tensor.uint64_data
        or tensor.string_data
    )
