"""Rebuilds one Op as a TensorFlow Lite model of its own: the same kernel R times over."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.lite_model.execute import RENAMES
from costmodel.lite_model.graph import (
    QUANTISED,
    SAME,
    VALID,
    LiteBuilder,
    LiteModel,
    LiteTensor,
    Scale,
)
from costmodel.lite_model.kernels import (
    CONVOLUTIONS,
    DELEGATE,
    KERNEL_SHAPE,
    PER_TENSOR,
    WEIGHT_TYPES,
    same_pads,
    stored,
    weight_types,
    window_options,
)
from costmodel.lite_model.scales import (
    ACTIVATION,
    CHANNEL_AXIS,
    bias_scale,
    output_scale,
    weight_scale,
)
from costmodel.op import SESSION, Op, Shape

#: Data that the replicas of one run touch before they come back to the same activations. All of a
#: network's lie in one arena, where a kernel's input was written just before: with 4 MiB, as ONNX
#: Runtime's kernels want, small networks were predicted 5 to 8 % too slow.
TURN_BYTES = 1 << 20
_MAX_TURNS = 32
#: Largest tensor that is made.
MAX_BYTES = 1 << 30
#: Elementwise operators work in place in a network, so their replicas form a chain. Bounded
#: activations are not among them: XNNPACK makes one of a chain of them.
_CHAINED = frozenset(
    {"ABS", "ADD", "CEIL", "DIV", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU"}
    | {"LOG", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG", "POW", "PRELU", "ROUND", "RSQRT"}
    | {"SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH"}
)
_OWN_ATTRIBUTES = frozenset({KERNEL_SHAPE, WEIGHT_TYPES, PER_TENSOR})
_TYPES = frozenset(
    {"float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A model of one Op.

    Attributes:
        model: the model.
        kernels: how often one run executes the Op.
        readers: operators that read an element of a result, which cost a little of their own.
    """

    model: LiteModel
    kernels: int = 1
    readers: int = 0


def moved_bytes(op: Op) -> int:
    """Bytes of the activations that a kernel reads and writes."""
    types = op.input_types
    read = sum(prod(s) * np.dtype(t).itemsize for s, t in zip(op.inputs, types, strict=True))
    return read + sum(map(prod, op.outputs)) * np.dtype(op.dtype).itemsize


def weight_bytes(op: Op) -> int:
    """Bytes of the constants that a kernel reads."""
    return sum(
        prod(shape) * np.dtype(dtype).itemsize
        for shape, dtype in zip(op.weights, _weight_types(op), strict=True)
    )


def num_turns(op: Op, replicas: int) -> int:
    """Buffers that each activation takes turns in, at most one per replica.

    Weights push activations out of the near caches too, so both count.
    """
    touched = moved_bytes(op) + weight_bytes(op)
    return max(1, min(replicas, _MAX_TURNS, -(-TURN_BYTES // max(touched, 1))))


def rebuild(op: Op, replicas: int) -> Rebuilt:
    """A model that executes ``op`` ``replicas`` times per run.

    Every replica has weights of its own, and activations take turns in ``num_turns`` buffers: in
    a network, data has left the near caches by the time a kernel needs it again. An output is read
    by a small operator that many replicas later, so that its memory is handed on.

    Args:
        op: an Op that lowering returned.
        replicas: copies of the kernel.

    Raises:
        UnsupportedOpError: if the Op cannot be rebuilt, with the reason.
    """
    if op.kind == SESSION:
        return _session(op)
    if not op.implementation.partition(":")[2]:
        message = (
            f"{op.label} is no executed operator of LiteRT; only Ops from `lower` can be timed."
        )
        raise UnsupportedOpError(message)
    types = {op.dtype, *op.input_dtypes, *op.constant_dtypes, *_weight_types(op)}
    if types - _TYPES:
        message = f"{op.label}: element types {sorted(types - _TYPES)} cannot be rebuilt."
        raise UnsupportedOpError(message)
    if max(map(prod, (*op.inputs, *op.outputs, *op.weights)), default=0) * 4 > MAX_BYTES:
        message = f"{op.label}: a tensor is larger than {MAX_BYTES >> 30} GiB."
        raise UnsupportedOpError(message)
    if op.implementation.endswith(":TRANSPOSE_CONV") and op.operands.startswith("d"):
        message = f"{op.label} computes its size in every run. Export the model with a fixed batch."
        raise UnsupportedOpError(message)
    try:
        return _build(op, replicas)
    except UnsupportedOpError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        message = f"The fields of {op.label} ({op.implementation}) make no operator: {error!r}."
        raise UnsupportedOpError(message) from error


@lru_cache(maxsize=4096)
def _build(op: Op, replicas: int) -> Rebuilt:
    return _Copies(op).build(replicas)


def _session(op: Op) -> Rebuilt:
    """As many tiny inputs and outputs as the network has, and next to nothing to compute."""
    builder = LiteBuilder()
    num_in, num_out = max(1, len(op.inputs)), max(1, len(op.outputs))
    fed = [builder.tensor(LiteTensor(name=f"x{i}", shape=(1,))) for i in range(num_in)]
    given = [builder.tensor(LiteTensor(name=f"y{i}", shape=(1,))) for i in range(num_out)]
    for i in range(max(num_in, num_out)):
        if i < num_out:
            builder.operator("NEG", [fed[i % num_in]], [given[i]])
        else:  # an input that nobody reads might be dropped
            extra = builder.tensor(LiteTensor(name=f"z{i}", shape=(1,)))
            builder.operator("NEG", [fed[i]], [extra])
            given.append(extra)
    return Rebuilt(model=builder.model(SESSION, fed, given[:num_out]))


def readers_model(readers: int, dtype: str = "float32") -> LiteModel:
    """A model that only reads one small input ``readers`` times, to time what a reader costs."""
    builder = LiteBuilder()
    scale = ACTIVATION if dtype in QUANTISED else None
    data = builder.tensor(LiteTensor(name="x", shape=(1, 2, 2, 8), dtype=dtype, scale=scale))
    given = [_read(builder, data) for _ in range(readers)]
    return builder.model("readers", [data], given)


def _read(builder: LiteBuilder, index: int) -> int:
    """Read the first element of a tensor inside the delegate."""
    tensor = builder.tensors[index]
    rank = len(tensor.shape)
    begin, size = builder.constant([0] * rank), builder.constant([1] * rank)
    target = builder.tensor(
        replace(tensor, name=f"{tensor.name}/read{len(builder.tensors)}", shape=(1,) * rank)
    )
    builder.operator("SLICE", [index, begin, size], [target])
    return target


def _weight_types(op: Op) -> tuple[str, ...]:
    usual = weight_types(op.dtype, len(op.weights))
    types = tuple(op.attribute(WEIGHT_TYPES, " ".join(usual)).split())
    if len(types) != len(op.weights):
        message = f"{op.label} names {len(types)} element types for {len(op.weights)} weights."
        raise UnsupportedOpError(message)
    return types


class _Copies:
    """Collects tensors and operators of one rebuilt Op."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.builder = LiteBuilder()
        self.delegated, self.code = op.implementation.split(":", 1)
        self.types = op.input_types
        self.scale_in = ACTIVATION
        scales = [ACTIVATION if dtype in QUANTISED else None for dtype in self.types]
        self.scale_out = output_scale(self.code, scales) if op.dtype in QUANTISED else None
        self.weight_types = _weight_types(op)
        self.constants: dict[int, int] = {}

    def build(self, replicas: int) -> Rebuilt:
        """The model with ``replicas`` copies of the kernel."""
        op = self.op
        turns = num_turns(op, replicas)
        chain = self._chained() if replicas > 1 else None
        fed = [
            [self._data(i, t) for t in range(1 if i == chain else turns)]
            for i in range(len(op.inputs))
        ]
        plain = replicas == 1 or self.code in RENAMES or chain is not None
        waiting: deque[list[int]] = deque()
        given: list[int] = []
        outs: list[int] = []
        readers = 0
        current = fed[chain][0] if chain is not None else -1
        for index in range(replicas):
            data = [
                current if i == chain else buffers[index % len(buffers)]
                for i, buffers in enumerate(fed)
            ]
            outs = self._kernel(data, index)
            if chain is not None:
                current = outs[0]
            elif plain:
                given += outs
            else:
                waiting.append(outs)
                if len(waiting) == turns or index == replicas - 1:
                    due = [waiting.popleft()] if index < replicas - 1 else list(waiting)
                    read = [self._reader(i) for group in due for i in group]
                    given += read
                    readers += len(read)
        if chain is not None:
            given = outs
        inputs = [tensor for buffers in fed for tensor in buffers]
        model = self.builder.model("op", inputs, given)
        return Rebuilt(model=model, kernels=replicas, readers=readers)

    def _reader(self, index: int) -> int:
        """Let something read an output; outside the delegate an operator that does nothing."""
        tensor = self.builder.tensors[index]
        if self.delegated == DELEGATE and tensor.shape:
            return _read(self.builder, index)
        shape = self.builder.tensor(
            LiteTensor(name=f"s{index}", shape=(len(tensor.shape),), dtype="int32")
        )
        self.builder.operator("SHAPE", [index], [shape], out_type=2)
        return shape

    def _chained(self) -> int | None:
        """Position of the input that in a network shares memory with the output, if any."""
        op = self.op
        if self.code not in _CHAINED or len(op.outputs) != 1:
            return None
        fitting = [
            i
            for i, (shape, dtype) in enumerate(zip(op.inputs, self.types, strict=True))
            if shape == op.outputs[0] and dtype == op.dtype
        ]
        return fitting[0] if fitting else None

    def _data(self, position: int, turn: int) -> int:
        dtype = self.types[position]
        return self.builder.tensor(
            LiteTensor(
                name=f"x{position}_{turn}",
                shape=self.op.inputs[position],
                dtype=dtype,
                scale=self.scale_in if dtype in QUANTISED else None,
            )
        )

    def _kernel(self, data: Sequence[int], replica: int) -> list[int]:
        """Add one copy, with weights of its own; returns what it writes."""
        op = self.op
        reads: list[int] = []
        padding, data = self._padding(list(data), replica)
        first: Scale | None = None
        for slot in op.slots():
            if slot.letter == "d":
                reads.append(data[slot.index])
            elif slot.letter == "w":
                reads.append(self._weight(slot.index, replica, first))
                first = first or self.builder.tensors[reads[-1]].scale
            elif slot.letter == "c":
                reads.append(self._constant(slot.index))
            else:
                reads.append(-1)
        outs = [
            self.builder.tensor(
                LiteTensor(name=f"y{replica}_{i}", shape=s, dtype=op.dtype, scale=self.scale_out)
            )
            for i, s in enumerate(op.outputs)
        ]
        kept = {k: v for k, v in op.attributes if k not in _OWN_ATTRIBUTES}
        options: dict[str, Any] = {**kept, **window_options(op), **padding}
        self.builder.operator(self.code, reads, outs, **options)
        return outs

    def _padding(self, data: list[int], replica: int) -> tuple[dict[str, int], list[int]]:
        """How the kernel pads, by its own rule or by a PAD that the delegate folds into it."""
        op = self.op
        if not op.stride:
            return {}, data
        size, out = op.inputs[0][1:3], op.outputs[0][1:3]
        big, small = (out, size) if self.code == "TRANSPOSE_CONV" else (size, out)
        if op.pads == same_pads(big, small, op.kernel, op.stride, op.dilation) and any(op.pads):
            return {"padding": SAME}, data
        if not any(op.pads):
            return {"padding": VALID}, data
        if self.code not in CONVOLUTIONS or self.code == "TRANSPOSE_CONV":
            message = f"{op.label} pads {op.pads}, which is no rule of TensorFlow's."
            raise UnsupportedOpError(message)
        top, left, bottom, right = op.pads
        pads = [[0, 0], [top, bottom], [left, right], [0, 0]]
        source = self.builder.tensors[data[0]]
        shape: Shape = tuple(n + sum(p) for n, p in zip(source.shape, pads, strict=True))
        padded = self.builder.tensor(replace(source, name=f"p{replica}", shape=shape))
        self.builder.operator("PAD", [data[0], self.builder.constant(pads)], [padded])
        return {"padding": VALID}, [padded, *data[1:]]

    def _weight(self, position: int, replica: int, first: Scale | None) -> int:
        op, dtype = self.op, self.weight_types[position]
        shape = stored(self.code, op.weights[position])
        scale: Scale | None = None
        if dtype in QUANTISED:
            scale = self.scale_in
            if self.code in CHANNEL_AXIS and position == 0:
                axis = CHANNEL_AXIS[self.code]
                scale = weight_scale(shape[axis], axis, per_channel=not op.attribute(PER_TENSOR))
        elif dtype == "int32" and first is not None:
            scale = bias_scale(self.scale_in, first)
        return self.builder.tensor(
            LiteTensor(
                name=f"w{position}_{replica}", shape=shape, dtype=dtype, scale=scale, constant=True
            )
        )

    def _constant(self, position: int) -> int:
        """A small constant, shared by all copies."""
        if position not in self.constants:
            op = self.op
            dtype = op.constant_types[position]
            values = np.array(op.constants[position], dtype=dtype)
            self.constants[position] = self.builder.constant(self._shaped(position, values), dtype)
        return self.constants[position]

    def _shaped(self, position: int, values: NDArray[Any]) -> NDArray[Any]:
        """Constants are kept as rows; some operators want a scalar or pairs."""
        op = self.op
        if self.code in {"PAD", "PADV2", "MIRROR_PAD"} and position == 0:
            return values.reshape(-1, 2)
        if self.code == "GATHER":
            return values.reshape(()) if len(op.outputs[0]) < len(op.inputs[0]) else values
        scalar = {"SPLIT": 0, "SPLIT_V": 1, "ARG_MAX": 0, "ARG_MIN": 0, "EXPAND_DIMS": 0}
        return values.reshape(()) if scalar.get(self.code) == position else values
