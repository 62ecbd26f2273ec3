"""Reads a ``.tflite`` file as a LiteModel, and trusts nothing in it.

The runtime never sees the file itself, only what is written again from here: its own loader follows
offsets without looking where they lead. What cannot be written again (custom operators, variables,
text ...) is kept with the reason, so that the rest can still be counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.limits import in_time, limits, still_in_time
from costmodel.lite_model.detect import MARK
from costmodel.lite_model.graph import (
    CONTROL_FLOW,
    LiteModel,
    LiteOperator,
    LiteTensor,
    Scale,
    require_plain,
    require_type,
)
from costmodel.lite_model.package import (
    OPERATOR_NAMES,
    OPERATORS,
    OPTIONS_NAMES,
    OTHER_TYPE_NAMES,
    TYPE_NAMES,
    schema,
)
from costmodel.lite_model.resize import with_sizes
from costmodel.lite_model.write import MAX_FILE_BYTES, option_name
from costmodel.op import Attribute, Shape
from costmodel.sizes import Sizes

#: The signature that is meant when none is named.
SERVING = "serving_default"
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


def read_lite(path: Path, sizes: Sizes, signature: str = "") -> LiteModel:
    """The model of a ``.tflite`` file.

    Args:
        path: the file.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.
        signature: which of the file's signatures; empty for its only graph.

    Raises:
        ModelFormatError: if the file cannot be read, is damaged, or has several signatures and none
            is chosen.
        InvalidInputError: if it lacks ``signature``.
    """
    return with_sizes(*stored_lite(path, signature), sizes, str(path))


def stored_lite(path: Path, signature: str = "") -> tuple[LiteModel, dict[int, tuple[int, ...]]]:
    """The model of a file as stored, and which dimensions of its inputs are open, by position.

    Args:
        path: the file.
        signature: as for ``read_lite``.

    Raises:
        ModelFormatError: as ``read_lite``.
        InvalidInputError: as ``read_lite``.
    """
    try:
        limits().require("bytes", path.stat().st_size, path)
        if path.stat().st_size > MAX_FILE_BYTES:
            message = (
                f"{path} has {path.stat().st_size >> 20} MiB, and the format holds 2 GiB: it is no "
                "TensorFlow Lite model."
            )
            raise ModelFormatError(message)
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: this file cannot be read ({error.strerror})."
        raise ModelFormatError(message) from error
    if len(content) < 16 or content[4:8] != MARK:
        message = (
            f"{path} is no TensorFlow Lite model: it lacks the mark 'TFL3' at byte 4. Fetch or "
            "convert it again."
        )
        raise ModelFormatError(message)
    try:
        with in_time(path):
            reader = _Reader(content)
            return reader.read(path.stem, signature), reader.open_axes
    except (InvalidInputError, ModelFormatError) as error:
        if str(error).startswith(str(path)):
            raise
        message = f"{path}: {error}"
        raise type(error)(message) from error
    except _DAMAGE as error:
        message = f"{path} is damaged: {type(error).__name__}: {error}. Fetch or convert it again."
        raise ModelFormatError(message) from error


def plain_lite(path: Path, sizes: Sizes, dtype: str = "") -> LiteModel:
    """As ``read_lite``, of a file that can be written again and run.

    Args:
        path: as for ``read_lite``.
        sizes: as for ``read_lite``.
        dtype: what the device multiplies, ``float32`` or ``int8``; empty for either.

    Raises:
        ModelFormatError: also for custom operators, loops, sparse and text tensors, or a model that
            multiplies other numbers.
    """
    model = read_lite(path, sizes)
    try:
        require_plain(model)
        if dtype:
            require_type(model, dtype)
    except ModelFormatError as error:
        message = f"{path}: {error}"
        raise ModelFormatError(message) from error
    return model


class _Reader:
    """Walks one file; every list that it follows is paid for by the bytes of the file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.budget = len(content)
        self.shared = 0
        self.root: Any = schema.Model.GetRootAs(content, 0)
        #: Names of inputs by signature and tensor, and those of the chosen signature.
        self.inputs_of: dict[str, dict[int, str]] = {}
        self.names: dict[int, str] = {}
        #: Axes of inputs that the file leaves open, by input position.
        self.open_axes: dict[int, tuple[int, ...]] = {}

    def _pay(self, count: int, each: int, what: str) -> int:
        """Refuse lists that are longer together than the file: parts that overlap."""
        still_in_time()
        self.budget -= count * each
        if count > _MAX_ITEMS * 64 or self.budget < 0:
            message = f"its {what} claim more bytes than the file has"
            raise ModelFormatError(message)
        return count

    def read(self, name: str, signature: str) -> LiteModel:
        """The model's only graph, or that of a signature."""
        graph = self._graph(signature)
        count = self._pay(graph.TensorsLength(), 4, "tensors")
        tensors = tuple(self._tensor(graph.Tensors(i), i) for i in range(count))
        count = self._pay(graph.OperatorsLength(), 4, "operators")
        limits().require("nodes", count, "its graph")
        operators = tuple(self._operator(graph.Operators(i), len(tensors)) for i in range(count))
        inputs = self._positions(graph.InputsLength(), graph.InputsAsNumpy(), len(tensors))
        tensors = _named(tensors, inputs, self.names)
        outputs = self._positions(graph.OutputsLength(), graph.OutputsAsNumpy(), len(tensors))
        model = LiteModel(
            name=name, tensors=tensors, operators=operators, inputs=inputs, outputs=outputs
        )
        _check(model)
        for place, index in enumerate(inputs):
            sizes = graph.Tensors(index).ShapeSignatureAsNumpy()
            if isinstance(sizes, np.ndarray) and len(sizes) == len(tensors[index].shape):
                self.open_axes[place] = tuple(int(axis) for axis in np.flatnonzero(sizes < 0))
        return model

    def _graph(self, signature: str) -> Any:
        """The graph to read; the others are those of other signatures, and bodies of loops."""
        count = self._pay(self.root.SubgraphsLength(), 4, "graphs")
        numbers = self._signatures()
        if signature and signature not in numbers:
            named = ", ".join(sorted(numbers)) or "none"
            message = f"it has no signature {signature!r}. Its signatures: {named}."
            raise InvalidInputError(message)
        chosen = signature or SERVING
        if chosen not in numbers and len(set(numbers.values())) > 1:
            named = ", ".join(sorted(numbers))
            message = (
                f"it has several signatures: {named}. Choose one: --signature {min(numbers)} "
                f"(signature={min(numbers)!r})."
            )
            raise ModelFormatError(message)
        number = numbers.get(chosen, min(numbers.values(), default=0))
        if not 0 <= number < count:
            message = f"its signature names graph {number} of {count}."
            raise ModelFormatError(message)
        self.names = self.inputs_of.get(chosen, {})
        return self.root.Subgraphs(number)

    def _signatures(self) -> dict[str, int]:
        """Number of the graph of each signature."""
        found = {}
        for index in range(self._pay(self.root.SignatureDefsLength(), 4, "signatures")):
            item = self.root.SignatureDefs(index)
            key = item.SignatureKey() or b""
            self._pay(len(key), 1, "signatures")
            title = key.decode("utf-8", errors="replace")
            found[title] = int(item.SubgraphIndex())
            self.inputs_of[title] = dict(self._inputs(item))
        return found

    def _inputs(self, signature: Any) -> Iterator[tuple[int, str]]:
        """Tensor and name of each input of a signature."""
        for index in range(self._pay(signature.InputsLength(), 4, "signatures")):
            item = signature.Inputs(index)
            name = item.Name() or b""
            self._pay(len(name), 1, "signatures")
            yield int(item.TensorIndex()), name.decode("utf-8", errors="replace")

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
        special = self._special(tensor, dtype)
        size = np.dtype(dtype).itemsize if dtype else 1
        if any(n < 0 for n in shape):
            message = f"tensor {name!r} has the size {shape}."
            raise ModelFormatError(message)
        limits().require("elements", prod(shape), f"tensor {name!r}")
        if prod(shape) * size > _MAX_BYTES:
            message = f"tensor {name!r} has the size {shape}."
            raise ModelFormatError(message)
        data = self._data(tensor.Buffer(), name)
        values = None
        if data is not None and not special:
            values = data.view(np.uint8)
            if len(values) != prod(shape) * size:
                message = f"tensor {name!r} of {shape} {dtype} holds {len(values)} bytes."
                raise ModelFormatError(message)
            values = np.frombuffer(values.tobytes(), dtype=dtype).reshape(shape)
        return LiteTensor(
            name=name,
            shape=shape,
            dtype=dtype or OTHER_TYPE_NAMES.get(tensor.Type(), f"type{tensor.Type()}"),
            scale=self._scale(tensor.Quantization(), name),
            constant=data is not None,
            values=values,
            variable=bool(tensor.IsVariable()),
            special=special,
        )

    def _special(self, tensor: Any, dtype: str) -> str:
        """Why a tensor cannot be written again; empty if it can."""
        if not dtype:
            named = OTHER_TYPE_NAMES.get(tensor.Type(), str(tensor.Type()))
            return f"is of the element type {named}"
        return "is stored as a sparse one" if tensor.Sparsity() is not None else ""

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
        self.shared += size
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

    def _operator(self, operator: Any, limit: int) -> LiteOperator:
        number = operator.OpcodeIndex()
        if not 0 <= number < self.root.OperatorCodesLength():
            message = f"an operator names code {number} of {self.root.OperatorCodesLength()}."
            raise ModelFormatError(message)
        code = self.root.OperatorCodes(number)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name, special = OPERATOR_NAMES.get(builtin, f"operator {builtin}"), ""
        if name == "CUSTOM":
            name = (code.CustomCode() or b"").decode("utf-8", errors="replace") or "without a name"
            self._pay(len(name), 1, "names")
            special = "is a custom one, which plain LiteRT does not have"
        elif name in CONTROL_FLOW:
            special = "runs a graph inside, whose work depends on its data"
        elif operator.BuiltinOptions2Type():
            special = "is one of those that no network is deployed with"
        elif builtin not in OPERATOR_NAMES:
            special = "is newer than the installed LiteRT"
        kind = OPTIONS_NAMES.get(operator.BuiltinOptionsType(), "NONE")
        return LiteOperator(
            code=name,
            inputs=self._positions(operator.InputsLength(), operator.InputsAsNumpy(), limit),
            outputs=self._positions(operator.OutputsLength(), operator.OutputsAsNumpy(), limit),
            options=tuple(sorted(self._options(operator, kind))),
            options_type=kind,
            version=code.Version(),
            custom=builtin == OPERATORS["CUSTOM"],
            special=special,
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


def _named(
    tensors: tuple[LiteTensor, ...], inputs: tuple[int, ...], names: Mapping[int, str]
) -> tuple[LiteTensor, ...]:
    """The tensors, inputs called as people call them: by the signature where it has other names."""
    found = list(tensors)
    taken = {tensors[i].name for i in inputs if i >= 0}
    for index in inputs:
        name = names.get(index, "")
        if name and name not in taken:
            found[index] = replace(found[index], name=name)
            taken.add(name)
    return tuple(found)


def _check(model: LiteModel) -> None:
    """Every tensor is fed, constant, or written before it is read, and none is written twice."""
    if not model.operators or not model.outputs or -1 in (*model.inputs, *model.outputs):
        message = "it has no operators, no outputs, or a border that names no tensor."
        raise ModelFormatError(message)
    known = set(model.inputs) | {-1}
    known.update(i for i, t in enumerate(model.tensors) if t.constant or t.variable)
    for operator in model.operators:
        missing = [i for i in operator.inputs if i not in known]
        # What keeps a state writes nothing that anybody reads.
        writes = operator.outputs or operator.special or operator.code.startswith("ASSIGN")
        if missing or not writes or known & set(operator.outputs):
            message = (
                f"its operator {operator.code} reads {operator.inputs} and writes "
                f"{operator.outputs}: something is read before it is written, or written twice."
            )
            raise ModelFormatError(message)
        known.update(operator.outputs)
    if not set(model.outputs) <= known:
        message = "it returns a tensor that nothing writes."
        raise ModelFormatError(message)
