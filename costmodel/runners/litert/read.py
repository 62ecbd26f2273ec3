"""Reads a ``.tflite`` file as a LiteModel, and trusts nothing in it.

The runtime never sees the file itself, only what is written again from here: its own loader follows
offsets without looking where they lead.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from costmodel.lite_model.graph import LiteModel, LiteOperator, LiteTensor, Scale
from costmodel.op import Attribute, Shape
from costmodel.runners.litert.package import OPERATOR_NAMES, OPTIONS_NAMES, TYPE_NAMES, schema
from costmodel.runners.litert.resize import with_sizes
from costmodel.runners.litert.write import MAX_FILE_BYTES, option_name
from costmodel.sizes import Sizes

_MARK = b"TFL3"
_MAX_ITEMS = 100_000
_MAX_AXES = 8
#: Largest tensor, in bytes.
_MAX_BYTES = 1 << 31
#: What a damaged file makes the schema's readers raise.
_DAMAGE = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
    struct.error,
)


def read_lite(path: Path, sizes: Sizes) -> LiteModel:
    """The model of a ``.tflite`` file.

    Args:
        path: the file.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.

    Raises:
        ModelFormatError: if the file cannot be read, is damaged, or holds something that cannot be
            taken apart: several graphs, variables, sparse or text tensors.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            message = f"{path} has {path.stat().st_size >> 20} MiB; the format holds 2 GiB."
            raise ModelFormatError(message)
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: this file cannot be read ({error.strerror})."
        raise ModelFormatError(message) from error
    if len(content) < 16 or content[4:8] != _MARK:
        message = f"{path} is no TensorFlow Lite model: it lacks the mark 'TFL3' at byte 4."
        raise ModelFormatError(message)
    try:
        reader = _Reader(content)
        model = reader.read(path.stem)
    except ModelFormatError as error:
        message = f"{path}: {error}"
        raise ModelFormatError(message) from error
    except _DAMAGE as error:
        message = f"{path} is damaged: {type(error).__name__}: {error}."
        raise ModelFormatError(message) from error
    return with_sizes(model, reader.open_axes, sizes, str(path))


class _Reader:
    """Walks one file; every list that it follows is paid for by the bytes of the file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.budget = len(content)
        self.root: Any = schema.Model.GetRootAs(content, 0)
        #: Axes of inputs that the file leaves open, by input position.
        self.open_axes: dict[int, tuple[int, ...]] = {}

    def _pay(self, count: int, each: int, what: str) -> int:
        """Refuse lists that are longer together than the file: parts that overlap."""
        self.budget -= count * each
        if count > _MAX_ITEMS * 64 or self.budget < 0:
            message = f"its {what} claim more bytes than the file has"
            raise ModelFormatError(message)
        return count

    def read(self, name: str) -> LiteModel:
        """The model's only graph."""
        if self.root.SubgraphsLength() != 1:
            message = f"it holds {self.root.SubgraphsLength()} graphs. Expected one."
            raise ModelFormatError(message)
        graph = self.root.Subgraphs(0)
        count = self._pay(graph.TensorsLength(), 4, "tensors")
        tensors = tuple(self._tensor(graph.Tensors(i), i) for i in range(count))
        count = self._pay(graph.OperatorsLength(), 4, "operators")
        operators = tuple(self._operator(graph.Operators(i)) for i in range(count))
        inputs = self._positions(graph.InputsLength(), graph.InputsAsNumpy(), len(tensors))
        outputs = self._positions(graph.OutputsLength(), graph.OutputsAsNumpy(), len(tensors))
        model = LiteModel(
            name=name, tensors=tensors, operators=operators, inputs=inputs, outputs=outputs
        )
        _check(model)
        for place, index in enumerate(inputs):
            signature = graph.Tensors(index).ShapeSignatureAsNumpy()
            if isinstance(signature, np.ndarray):
                found = tuple(int(a) for a in np.flatnonzero(signature < 0))
                self.open_axes[place] = found
        return model

    def _positions(self, length: int, values: Any, limit: int) -> tuple[int, ...]:
        self._pay(length, 4, "positions")
        found = tuple(int(v) for v in values) if length else ()
        if any(not -1 <= index < limit for index in found):
            message = f"it names tensors {found}, but has {limit}."
            raise ModelFormatError(message)
        return found

    def _tensor(self, tensor: Any, index: int) -> LiteTensor:
        name = (tensor.Name() or b"").decode("utf-8", errors="replace") or f"t{index}"
        self._pay(len(name), 1, "names")
        rank = self._pay(tensor.ShapeLength(), 4, "shapes")
        if rank > _MAX_AXES:
            message = f"tensor {name!r} has {rank} axes."
            raise ModelFormatError(message)
        shape: Shape = tuple(int(n) for n in tensor.ShapeAsNumpy()) if rank else ()
        dtype = TYPE_NAMES.get(tensor.Type(), "")
        if not dtype or tensor.IsVariable() or tensor.Sparsity() is not None:
            message = (
                f"tensor {name!r} is of type {tensor.Type()}, variable or sparse. Expected a dense "
                f"tensor of {', '.join(sorted(TYPE_NAMES.values()))}."
            )
            raise ModelFormatError(message)
        if any(n < 0 for n in shape) or prod(shape) * np.dtype(dtype).itemsize > _MAX_BYTES:
            message = f"tensor {name!r} has the size {shape}."
            raise ModelFormatError(message)
        data = self._data(tensor.Buffer(), name)
        values = None
        if data is not None:
            values = data.view(np.uint8)
            if len(values) != prod(shape) * np.dtype(dtype).itemsize:
                message = f"tensor {name!r} of {shape} {dtype} holds {len(values)} bytes."
                raise ModelFormatError(message)
            values = np.frombuffer(values.tobytes(), dtype=dtype).reshape(shape)
        return LiteTensor(
            name=name,
            shape=shape,
            dtype=dtype,
            scale=self._scale(tensor.Quantization(), name),
            constant=values is not None,
            values=values,
        )

    def _data(self, number: int, name: str) -> NDArray[np.uint8] | None:
        """The bytes of a constant; ``None`` for activations."""
        if not 0 <= number < self.root.BuffersLength():
            message = f"tensor {name!r} names buffer {number} of {self.root.BuffersLength()}."
            raise ModelFormatError(message)
        buffer = self.root.Buffers(number)
        if buffer.DataLength():
            self._pay_bytes(buffer.DataLength())
            found: NDArray[np.uint8] = buffer.DataAsNumpy()
            return found
        start, size = buffer.Offset(), buffer.Size()
        if start > 1 and size:  # data behind the tables, in large files
            self._pay_bytes(size)
            if start + size > len(self.content):
                message = f"tensor {name!r} lies behind the end of the file."
                raise ModelFormatError(message)
            return np.frombuffer(self.content, dtype=np.uint8, count=size, offset=start)
        return None

    def _pay_bytes(self, size: int) -> None:
        # Several tensors may share a buffer, so these bytes are counted against a larger sum.
        self.shared = getattr(self, "shared", 0) + size
        if self.shared > 4 * len(self.content) + _MAX_ITEMS:
            message = "its constants claim more bytes than the file has"
            raise ModelFormatError(message)

    def _scale(self, found: Any, name: str) -> Scale | None:
        if found is None or not found.ScaleLength():
            return None
        count = self._pay(found.ScaleLength(), 4, "scales")
        zeros = self._pay(found.ZeroPointLength(), 8, "zero points")
        if zeros not in {0, count} or found.DetailsType():
            message = f"tensor {name!r} has {count} scales and {zeros} zero points."
            raise ModelFormatError(message)
        return Scale(
            scales=tuple(float(v) for v in found.ScaleAsNumpy()),
            zeros=tuple(int(v) for v in found.ZeroPointAsNumpy()) if zeros else (0,) * count,
            axis=int(found.QuantizedDimension()),
        )

    def _operator(self, operator: Any) -> LiteOperator:
        number = operator.OpcodeIndex()
        if not 0 <= number < self.root.OperatorCodesLength():
            message = f"an operator names code {number} of {self.root.OperatorCodesLength()}."
            raise ModelFormatError(message)
        code = self.root.OperatorCodes(number)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = OPERATOR_NAMES.get(builtin, f"operator {builtin}")
        if name == "CUSTOM":
            given = (code.CustomCode() or b"").decode("utf-8", errors="replace")
            message = f"it has the custom operator {given!r}, which plain LiteRT does not have."
            raise ModelFormatError(message)
        if operator.BuiltinOptions2Type():
            message = f"its operator {name} is one of those that no network is deployed with."
            raise ModelFormatError(message)
        kind = OPTIONS_NAMES.get(operator.BuiltinOptionsType(), "NONE")
        limit = self.root.Subgraphs(0).TensorsLength()
        return LiteOperator(
            code=name,
            inputs=self._positions(operator.InputsLength(), operator.InputsAsNumpy(), limit),
            outputs=self._positions(operator.OutputsLength(), operator.OutputsAsNumpy(), limit),
            options=tuple(sorted(self._options(operator, kind))),
            options_type=kind,
            version=code.Version(),
        )

    def _options(self, operator: Any, kind: str) -> Iterator[tuple[str, Attribute]]:
        """Numbers, texts and lists of numbers among an operator's options."""
        table = operator.BuiltinOptions()
        if kind == "NONE" or table is None:
            return
        for field, value in vars(
            schema.BuiltinOptionsCreator(operator.BuiltinOptionsType(), table)
        ).items():
            if isinstance(value, np.ndarray):
                self._pay(value.size, value.itemsize, "options")
                yield option_name(field), tuple(value.tolist())
            elif isinstance(value, bool | int | float):
                yield option_name(field), value
            elif isinstance(value, bytes):
                self._pay(len(value), 1, "options")
                yield option_name(field), value.decode("utf-8", errors="replace")


def _check(model: LiteModel) -> None:
    """Every tensor is fed, constant, or written before it is read, and none is written twice."""
    if not model.operators or not model.outputs or -1 in (*model.inputs, *model.outputs):
        message = "it has no operators, no outputs, or a border that names no tensor."
        raise ModelFormatError(message)
    known = set(model.inputs) | {-1}
    known.update(i for i, tensor in enumerate(model.tensors) if tensor.constant)
    for operator in model.operators:
        missing = [i for i in operator.inputs if i not in known]
        if missing or not operator.outputs or known & set(operator.outputs):
            message = (
                f"its operator {operator.code} reads {operator.inputs} and writes "
                f"{operator.outputs}: something is read before it is written, or written twice."
            )
            raise ModelFormatError(message)
        known.update(operator.outputs)
    if not set(model.outputs) <= known:
        message = "it returns a tensor that nothing writes."
        raise ModelFormatError(message)
