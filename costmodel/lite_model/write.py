"""Writes a LiteModel as the bytes of a ``.tflite`` file."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.lite_model.graph import LiteModel, LiteOperator, LiteTensor, num_bytes
from costmodel.lite_model.package import OPERATORS, OPTIONS, TYPES, schema
from costmodel.op import Attribute

#: Version of the file format, and its mark.
_VERSION, _MARK = 3, b"TFL3"
#: Alignment of constants that the format asks for.
_ALIGNMENT = 16
#: Numbers above this do not fit the field that old readers look at.
_LARGEST_OLD_CODE = 127
#: Bytes of a file; the format counts in 32 bits with a sign.
MAX_FILE_BYTES = (1 << 31) - (1 << 20)

#: Names of options types that are not the operator's name and ``Options``.
_OPTIONS_OF = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "L2_NORMALIZATION": "L2NormOptions",
}
#: The schema's names by themselves in small letters.
_BY_SMALL = {name.lower(): name for name in OPTIONS}


@cache
def options_type(code: str) -> str:
    """The schema's name of an operator's options; ``NONE`` where it has none.

    >>> options_type("CONV_2D"), options_type("HARD_SWISH"), options_type("LOGISTIC")
    ('Conv2DOptions', 'HardSwishOptions', 'NONE')
    """
    plain = f"{code.replace('_', '')}Options"
    return _BY_SMALL.get(_OPTIONS_OF.get(code, plain).lower(), "NONE")


def option_field(name: str) -> str:
    """The schema's name of an option.

    >>> option_field("fused_activation_function"), option_field("dilation_w_factor")
    ('fusedActivationFunction', 'dilationWFactor')
    """
    return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), name)


def option_name(field: str) -> str:
    """Our name of an option of the schema: the reverse of ``option_field``."""
    return re.sub(r"[A-Z]", lambda found: f"_{found.group(0).lower()}", field)


def write_model(model: LiteModel) -> bytes:
    """The bytes of a ``.tflite`` file; constants without values get arbitrary ones.

    Raises:
        UnsupportedOpError: if the file would be larger than the format allows, or an operator,
            option or element type is not in the schema.
    """
    held = sum(num_bytes(t) for t in model.tensors if t.constant)
    if held > MAX_FILE_BYTES:
        message = f"{model.name}: its constants take {held >> 20} MiB; a .tflite file holds 2 GiB."
        raise UnsupportedOpError(message)
    builder = flatbuffers.Builder(held + 256 * len(model.tensors) + (1 << 16))
    buffers = [_empty_buffer(builder)]
    numbers: list[int] = []
    for index, tensor in enumerate(model.tensors):
        numbers.append(len(buffers) if tensor.constant else 0)
        if tensor.constant:
            buffers.append(_buffer(builder, _values(tensor, index)))
    codes: dict[tuple[str, int], int] = {}
    packed = schema.ModelT()
    packed.version, packed.description = _VERSION, model.name
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(t, n) for t, n in zip(model.tensors, numbers, strict=True)]
    graph.operators = [_operator(item, codes) for item in model.operators]
    graph.inputs = np.array(model.inputs, dtype=np.int32)
    graph.outputs = np.array(model.outputs, dtype=np.int32)
    packed.subgraphs = [graph]
    packed.operatorCodes = [_code(name, version) for name, version in codes]
    packed.buffers = [_Packed(offset) for offset in buffers]
    builder.Finish(packed.Pack(builder), _MARK)
    return bytes(builder.Output())


class _Packed:
    """A part that is already in the file."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def Pack(self, _builder: object) -> int:  # noqa: N802 - the schema's name
        return self._offset


def _empty_buffer(builder: Any) -> int:
    schema.BufferStart(builder)
    return int(schema.BufferEnd(builder))


def _buffer(builder: Any, content: bytes) -> int:
    """Write the bytes of one constant, aligned as the schema asks (its own writer does not)."""
    builder.StartVector(1, len(content), _ALIGNMENT)
    builder.head = head = builder.Head() - len(content)
    builder.Bytes[head : head + len(content)] = content
    data = builder.EndVector()
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    return int(schema.BufferEnd(builder))


def _values(tensor: LiteTensor, index: int) -> bytes:
    if tensor.values is not None:
        return tensor.values.tobytes()
    size = num_bytes(tensor)
    if tensor.dtype in {"float32", "float16"}:
        pool: NDArray[Any] = _pool(tensor.dtype)
    else:
        pool = _bytes_pool() if tensor.dtype in {"int8", "uint8"} else np.zeros(1, dtype=np.uint8)
    count = size // pool.itemsize
    if count > len(pool):
        return np.resize(pool, count).tobytes()
    start = index * 4099 % (len(pool) - count + 1)
    return pool[start : start + count].tobytes()


@cache
def _pool(dtype: str) -> NDArray[np.floating[Any]]:
    """Numbers for weights: small, positive and negative, none denormal."""
    values = np.random.default_rng(7).standard_normal(1 << 20, dtype=np.float32) * 0.05
    pool: NDArray[np.floating[Any]] = (values + np.sign(values) * 1e-3).astype(dtype)
    return pool


@cache
def _bytes_pool() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, 1 << 20, dtype=np.uint8)


def _tensor(tensor: LiteTensor, buffer: int) -> Any:
    packed = schema.TensorT()
    if tensor.dtype not in TYPES:
        message = f"Element type {tensor.dtype!r} is not one of {', '.join(sorted(TYPES))}."
        raise UnsupportedOpError(message)
    packed.shape = np.array(tensor.shape, dtype=np.int32)
    packed.type = TYPES[tensor.dtype]
    packed.buffer, packed.name = buffer, tensor.name
    packed.isVariable = tensor.variable
    if tensor.scale is not None:
        scale = schema.QuantizationParametersT()
        scale.scale = np.array(tensor.scale.scales, dtype=np.float32)
        scale.zeroPoint = np.array(tensor.scale.zeros, dtype=np.int64)
        scale.quantizedDimension = tensor.scale.axis
        packed.quantization = scale
    return packed


def _code(name: str, version: int) -> Any:
    packed = schema.OperatorCodeT()
    number = OPERATORS.get(name)
    if number is None:
        packed.customCode = name
        number = schema.BuiltinOperator.CUSTOM
    packed.builtinCode = number
    packed.deprecatedBuiltinCode = min(number, _LARGEST_OLD_CODE)
    packed.version = version
    return packed


def _operator(item: LiteOperator, codes: dict[tuple[str, int], int]) -> Any:
    if item.code not in OPERATORS and not item.custom:
        message = f"{item.code!r} is no operator of TensorFlow Lite."
        raise UnsupportedOpError(message)
    packed = schema.OperatorT()
    packed.opcodeIndex = codes.setdefault((item.code, item.version), len(codes))
    packed.inputs = np.array(item.inputs, dtype=np.int32)
    packed.outputs = np.array(item.outputs, dtype=np.int32)
    kind = item.options_type or options_type(item.code)
    if kind != "NONE":
        packed.builtinOptionsType = OPTIONS[kind]
        packed.builtinOptions = _options(kind, item)
    elif item.options:
        message = f"{item.code} takes no options. Received: {dict(item.options)}."
        raise UnsupportedOpError(message)
    return packed


def _options(kind: str, item: LiteOperator) -> Any:
    options = getattr(schema, f"{kind}T")()
    for name, value in item.options:
        field = option_field(name)
        if not hasattr(options, field):
            message = f"{item.code} has no option {name!r}. Received: {dict(item.options)}."
            raise UnsupportedOpError(message)
        setattr(options, field, _plain(value))
    return options


def _plain(value: Attribute) -> object:
    return np.array(value, dtype=np.int32) if isinstance(value, tuple) else value
