"""A TensorFlow Lite model as plain values: tensors, operators and their wiring.

It is what the converter writes, the file holds and the executed Ops are read from; ``read`` and
``write`` know how it looks in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.op import Attribute, Shape

#: Integer types that hold quantised numbers.
QUANTISED = frozenset({"int8", "uint8", "int16"})
#: Options that hold the fused activation, by TensorFlow Lite's number.
ACTIVATIONS: Mapping[int, str] = {
    0: "",
    1: "relu",
    2: "relu_n1_to_1",
    3: "relu6",
    4: "tanh",
    5: "sign_bit",
}
ACTIVATION_NUMBERS = {name: number for number, name in ACTIVATIONS.items()}
SAME, VALID = 0, 1
#: Operators that multiply matrices.
PRODUCTS = frozenset(
    {"BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    | {"TRANSPOSE_CONV"}
)
#: Operators that run another graph of the file.
CONTROL_FLOW = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE", "STABLEHLO_WHILE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the integers of a tensor stand for real numbers: ``(integer - zero) * scale``.

    Attributes:
        scales: one for the whole tensor, or one per slice along ``axis``.
        zeros: as many zero points.
        axis: of the slices.
    """

    scales: tuple[float, ...]
    zeros: tuple[int, ...] = (0,)
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale per slice."""
        return len(self.scales) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteTensor:
    """One tensor.

    Attributes:
        name: for people; unique where the tensor crosses the border of the model.
        shape: as stored, channels last.
        dtype: element type as numpy names it.
        scale: of quantised tensors.
        constant: whether the model holds its values.
        values: the values of a constant where they are known; a constant without any gets
            arbitrary ones, which change no time.
        variable: whether it is a state that lives from one run to the next.
        special: why it cannot be written again; empty for plain tensors.
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    scale: Scale | None = None
    constant: bool = False
    values: NDArray[np.generic] | None = field(default=None, compare=False)
    variable: bool = False
    special: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteOperator:
    """One operator.

    Attributes:
        code: TensorFlow Lite's name of it, such as ``CONV_2D``; a custom one's own name.
        inputs: positions of the tensors read; -1 where an optional one is left out.
        outputs: positions of the tensors written.
        options: sorted ``(name, value)`` pairs, named as in the schema.
        covers: layers of the network as written that it carries out.
        options_type: the schema's name of ``options``; empty means the usual one of ``code``.
        version: of the operator's definition.
        custom: whether it is no operator of TensorFlow Lite.
        special: why it cannot be taken apart and written again; empty for plain operators.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[tuple[str, Attribute], ...] = ()
    covers: tuple[str, ...] = ()
    options_type: str = ""
    version: int = 1
    custom: bool = False
    special: str = ""

    @property
    def activation(self) -> str:
        """The fused activation; empty for none."""
        number = dict(self.options).get("fused_activation_function", 0)
        return ACTIVATIONS.get(number, "") if isinstance(number, int) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteModel:
    """A whole model with one graph.

    Attributes:
        name: for people.
        tensors: what operators name by position.
        operators: in running order.
        inputs: positions of the tensors fed.
        outputs: positions of the tensors returned.
    """

    name: str
    tensors: tuple[LiteTensor, ...]
    operators: tuple[LiteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def readers(self) -> dict[int, list[int]]:
        """Positions of the operators that read each tensor."""
        found: dict[int, list[int]] = {}
        for position, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                found.setdefault(tensor, []).append(position)
        return found


def require_plain(model: LiteModel) -> None:
    """Raise ``ModelFormatError`` if the model holds what cannot be written again, naming it."""
    for operator in model.operators:
        if operator.special:
            message = f"its operator {operator.code} {operator.special}."
            raise ModelFormatError(message)
    used = {i for operator in model.operators for i in (*operator.inputs, *operator.outputs)}
    for index in sorted(used.union(model.inputs, model.outputs) - {-1}):
        tensor = model.tensors[index]
        if tensor.special:
            message = f"its tensor {tensor.name!r} {tensor.special}."
            raise ModelFormatError(message)


def require_type(model: LiteModel, dtype: str) -> None:
    """Refuse a model that multiplies in other numbers than a device does.

    Args:
        model: from a file; most of its products decide.
        dtype: of the device: ``float32``, or ``int8`` for all quantised ones.

    Raises:
        ModelFormatError: saying which table or option fits.
    """
    types = [model.tensors[o.outputs[0]].dtype for o in model.operators if o.code in PRODUCTS]
    quantised = sum(found in QUANTISED for found in types)
    mostly = "int8" if 2 * quantised > len(types) else "float32"
    if types and mostly != dtype:
        message = (
            f"it multiplies {'integers' if mostly == 'int8' else 'floats'}, and the device that is "
            f"asked about {dtype}: times of the one say nothing of the other. Give a table of "
            f"{mostly} (--runner-option dtype={mostly})."
        )
        raise ModelFormatError(message)


def num_bytes(tensor: LiteTensor) -> int:
    """Size of a tensor in memory.

    Raises:
        UnsupportedOpError: for elements without a size, such as texts.
    """
    try:
        return prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    except TypeError as error:
        message = f"tensor {tensor.name!r} is of {tensor.dtype}, whose elements have no known size"
        raise UnsupportedOpError(message) from error


class LiteBuilder:
    """Collects tensors and operators of a model."""

    def __init__(self) -> None:
        self.tensors: list[LiteTensor] = []
        self.operators: list[LiteOperator] = []

    def tensor(self, tensor: LiteTensor) -> int:
        """Add a tensor and return its position."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(
        self, values: object, dtype: str = "int32", *, name: str = "", scale: Scale | None = None
    ) -> int:
        """Add a small constant with its values."""
        array = np.asarray(values, dtype=dtype)
        return self.tensor(
            LiteTensor(
                name=name or f"c{len(self.tensors)}",
                shape=tuple(array.shape),
                dtype=dtype,
                scale=scale,
                constant=True,
                values=array,
            )
        )

    def operator(
        self,
        code: str,
        inputs: Iterable[int],
        outputs: Iterable[int],
        *,
        covers: Iterable[str] = (),
        **options: Attribute,
    ) -> None:
        """Add an operator; options are named as in the schema."""
        self.operators.append(
            LiteOperator(
                code=code,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                options=tuple(sorted(options.items())),
                covers=tuple(covers),
            )
        )

    def model(self, name: str, inputs: Iterable[int], outputs: Iterable[int]) -> LiteModel:
        """What was collected."""
        return LiteModel(
            name=name,
            tensors=tuple(self.tensors),
            operators=tuple(self.operators),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
        )
