"""Rebuilds one Op as a graph of its own: the same primitive, in the same layout, R times over.

The plug-in chooses layouts by neighbours, so a kernel is put between neighbours that give it the
layouts it has in its network, and the same neighbours without the kernel are timed too:

- what a planar kernel reads is fed;
- what a channels-last convolution reads is fed channels last behind a Transpose, which the plug-in
  cancels against the reordering that the convolution asks for: no work;
- what other channels-last kernels read is written by a Pad that enlarges the result of a tiny
  convolution: one pass of writing, as a producer in a network would leave it;
- what a blocked kernel reads is written by a broadcasting Multiply, which chooses that layout.

Each result is read by a StridedSlice of one element, so that its memory is handed on as in a
network; all elements are joined into one output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.op import CONV_KINDS, MATMUL_KINDS, SESSION, Op, Shape
from costmodel.runners.openvino.core import ov
from costmodel.runners.openvino.executed import logical
from costmodel.runners.openvino.operations import constant, dequantised, kernel, quantised
from costmodel.runners.openvino.workload import MAX_BYTES

#: Numbers in the pool that weights are cut from; larger than any last-level cache we know.
_POOL_SIZE = 24 << 20
#: Spread of the weights: He-normal for 800 inputs, as in the other runners.
_WEIGHT_SCALE = 0.05
#: Names of a kernel's operations begin with this and the replica's number.
KERNEL = "kernel"
_ELEMENTS = {
    "bool": "boolean",
    "float16": "f16",
    "float32": "f32",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int8": "i8",
    "uint8": "u8",
}
_EIGHT_BITS = frozenset({"int8", "uint8"})


@cache
def _pool() -> NDArray[np.float32]:
    pool = np.random.default_rng(7).standard_normal(_POOL_SIZE, dtype=np.float32)
    pool *= _WEIGHT_SCALE
    return pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A graph of one Op and the same graph without it.

    Attributes:
        full: an ``openvino.Model`` that executes the Op ``replicas`` times.
        baseline: the neighbours alone.
        replicas: executions in one run of ``full``.
        more_readers: reading nodes that ``full`` has more than ``baseline``; may be negative.
    """

    full: Any
    baseline: Any
    replicas: int
    more_readers: int


@dataclass(slots=True)
class _Source:
    """One tensor that replicas read.

    Attributes:
        value: channels first, in the wanted layout.
        plain: what the baseline reads in its place.
    """

    value: Any
    plain: Any


@dataclass(slots=True)
class _Draft:
    """A graph under construction."""

    op: Op
    parameters: list[Any] = field(default_factory=list)
    read: list[Any] = field(default_factory=list)
    offset: int = 0

    def parameter(self, shape: Shape, dtype: str) -> Any:
        """A fed tensor."""
        if dtype not in _ELEMENTS:
            message = f"Element type {dtype!r} cannot be rebuilt. Known: {', '.join(_ELEMENTS)}."
            raise UnsupportedOpError(message)
        made = ov.opset13.parameter(list(shape), getattr(ov.Type, _ELEMENTS[dtype]))
        self.parameters.append(made)
        return made

    def weight(self, shape: Shape, *, positive: bool = False) -> NDArray[np.float32]:
        """A view of the pool, never the same twice before the pool ends."""
        count, pool = prod(shape), _pool()
        if count > len(pool):
            values = np.resize(pool, count)
        else:
            start = self.offset % (len(pool) - count + 1) // 16 * 16
            values = pool[start : start + count]
            self.offset += count + 16
        values = values.reshape(shape)
        return np.abs(values) + np.float32(0.5) if positive else values

    def reader(self, value: Any, index: int) -> None:
        """Read one element of a tensor; ``index`` tells readers of one tensor apart."""
        value = value.output(0) if hasattr(value, "output") else value
        shape = [int(n) for n in value.get_shape()]
        if not shape:
            self.read.append(ov.opset13.unsqueeze(value, np.array([0])))
            return
        at = np.array(np.unravel_index(index % prod(shape), shape), dtype=np.int64)
        ones = np.ones(len(shape), dtype=np.int64)
        self.read.append(ov.opset13.slice(value, at, at + 1, ones))

    def model(self) -> Any:
        """The graph, elements of one rank and type joined into an output each."""
        groups: dict[tuple[int, str], list[Any]] = {}
        for item in self.read:
            key = (len(item.get_output_shape(0)), item.get_output_element_type(0).to_string())
            groups.setdefault(key, []).append(item)
        results = [
            ov.opset13.result(ov.opset13.concat(items, 0) if len(items) > 1 else items[0])
            for items in groups.values()
        ]
        return ov.Model(results, self.parameters, "op")


def session_model(num_inputs: int, num_outputs: int) -> Any:
    """As many tiny inputs and outputs as a network has, and next to nothing to compute."""
    made = [ov.opset13.parameter([1], np.float32) for _ in range(max(1, num_inputs))]
    used = [ov.opset13.relu(item) for item in made]
    ends = [ov.opset13.result(used[i % len(used)]) for i in range(max(1, num_outputs))]
    ends += [ov.opset13.result(item) for item in used[len(ends) :]]
    return ov.Model(ends, made, SESSION)


def readers_model(readers: int) -> Any:
    """One small tensor that is fed and read ``readers`` times, to time what a reader costs."""
    draft = _Draft(op=Op(kind=SESSION))
    source = draft.parameter((1, 64, 2, 2), "float32")
    for index in range(readers):
        draft.reader(source, index)
    return draft.model()


def rebuild(op: Op, replicas: int, turns: int, *, direct: bool) -> Rebuilt:
    """Graphs that execute an Op ``replicas`` times, and not at all.

    Every replica has weights of its own, cut from one pool: in a network each kernel's weights have
    left the near caches by the time it runs again.

    Args:
        op: an Op that lowering returned.
        replicas: copies of the kernel.
        turns: tensors that each of its inputs takes turns in.
        direct: feed channels-last inputs behind a Transpose instead of computing them.

    Raises:
        UnsupportedOpError: if the Op cannot be rebuilt, with the reason.
    """
    _require_rebuildable(op)
    if not op.weights or op.kind not in CONV_KINDS | MATMUL_KINDS:
        turns = replicas  # equal operations on equal inputs would be executed once
    try:
        full, count = _graph(op, replicas, turns, direct=direct, bare=False)
        baseline, least = _graph(op, replicas, turns, direct=direct, bare=True)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UnsupportedOpError):
            raise
        message = f"The fields of {op.label} ({op.implementation}) make no kernel: {error}."
        raise UnsupportedOpError(message) from error
    return Rebuilt(full=full, baseline=baseline, replicas=replicas, more_readers=count - least)


def _require_rebuildable(op: Op) -> None:
    tensors = (*op.inputs, *op.outputs, *op.weights)
    if max((prod(shape) for shape in tensors), default=0) * 4 > MAX_BYTES:
        message = f"{op.label}: a tensor is larger than {MAX_BYTES >> 30} GiB."
        raise UnsupportedOpError(message)
    if ":" not in op.implementation or not op.inputs:
        message = f"{op.label} is as written; only executed Ops, from `lower`, can be timed."
        raise UnsupportedOpError(message)


def _graph(op: Op, replicas: int, turns: int, *, direct: bool, bare: bool) -> tuple[Any, int]:
    """One of the two graphs, and its number of readers."""
    draft = _Draft(op=op)
    if op.kind == "reorder":
        for index in range(replicas):
            _reorder_pair(draft, index, direct=direct, bare=bare)
        return draft.model(), len(draft.read)
    layouts = input_layouts(op)
    dtypes = op.input_dtypes or (op.dtype,) * len(op.inputs)
    sources: list[list[_Source]] = []
    for position, shape in enumerate(op.inputs):
        plain = logical(shape, op.layout)
        fed = direct and position == 0
        # What is added is written over, which only its sole reader may do.
        count = turns if position == 0 else replicas
        made = [
            _source(draft, plain, layouts[position], dtypes[position], fed=fed)
            for _ in range(count)
        ]
        sources.append(made)
    if bare:
        _bare_readers(draft, sources, replicas * len(op.outputs))
    else:
        for index in range(replicas):
            _replica(draft, [column[index % len(column)].value for column in sources], index)
    return draft.model(), len(draft.read)


def input_layouts(op: Op) -> list[str]:
    """Layout of each input."""
    given = dict(op.attributes).get("input_layouts")
    return str(given).split(",") if given else [op.layout] * len(op.inputs)


def _bare_readers(draft: _Draft, sources: Sequence[Sequence[_Source]], count: int) -> None:
    """Read every source at least once, and ``count`` times in all where that is more."""
    flat = [item for column in sources for item in column]
    for index in range(max(count, len(flat))):
        draft.reader(flat[index % len(flat)].plain, index // len(flat))


def _source(draft: _Draft, shape: Shape, layout: str, dtype: str, *, fed: bool) -> _Source:
    """One input tensor in its layout."""
    if len(shape) < 3 or layout == "nchw":
        made = draft.parameter(shape, dtype)
        return _Source(value=_real(made, dtype), plain=made)
    if layout == "nhwc" and fed:
        made = draft.parameter((shape[0], *shape[2:], shape[1]), dtype)
        order = np.array([0, len(shape) - 1, *range(1, len(shape) - 1)])
        return _Source(value=_real(ov.opset13.transpose(made, order), dtype), plain=made)
    tiny = draft.parameter((shape[0], 1, *(1,) * (len(shape) - 2)), "float32")
    value = _tiny_convolution(draft, tiny, shape)
    if layout == "nhwc":
        value = _enlarged(value, shape)
    else:
        rows = draft.parameter((1, 1, *shape[2:]), "float32")
        value = ov.opset13.multiply(value, rows)
    if dtype in _EIGHT_BITS:
        value = quantised(value)
    return _Source(value=value, plain=value)


def _real(made: Any, dtype: str) -> Any:
    return dequantised(made) if dtype in _EIGHT_BITS else made


def _tiny_convolution(draft: _Draft, tiny: Any, shape: Shape) -> Any:
    """One pixel of many channels, channels last."""
    ones, zeros = [1] * (len(shape) - 2), [0] * (len(shape) - 2)
    weight = draft.weight((shape[1], 1, *ones)).copy()
    return ov.opset13.convolution(tiny, constant(weight), ones, zeros, zeros, ones)


def _enlarged(value: Any, shape: Shape) -> Any:
    """One pixel made as large as ``shape``, in its own layout."""
    if max(shape[2:]) == 1:
        return value
    begin = np.zeros(len(shape), dtype=np.int64)
    end = np.array([0, 0, *(n - 1 for n in shape[2:])])
    return ov.opset13.pad(value, begin, end, "constant", np.float32(0.5))


def _replica(draft: _Draft, data: Sequence[Any], index: int) -> None:
    """One copy of the kernel and a reader for each of its results."""
    op = draft.op
    made = kernel(op, data, _weights(draft), _constants(op))
    for number, node in enumerate(made):
        node.set_friendly_name(f"{KERNEL}{index}.{number}")
    for value in _results(op, made):
        draft.reader(value, index)


def _results(op: Op, made: Sequence[Any]) -> list[Any]:
    """What the kernel hands on: the last results, as many as the Op has."""
    last = list(made[-1].outputs())
    if len(last) >= len(op.outputs):
        return last[: len(op.outputs)]
    return [node.output(0) for node in made[-len(op.outputs) :]]


def _weights(draft: _Draft) -> list[Any]:
    """Constant operands of one replica."""
    op = draft.op
    product = op.kind in CONV_KINDS | MATMUL_KINDS
    found: list[Any] = []
    for index, shape in enumerate(op.weights):
        values = draft.weight(shape, positive=not product or index > 0)
        if product and index == 0:
            found.append(_filter(op, values))
        elif op.kind in CONV_KINDS and len(shape) == 1:
            found.append(constant(values.reshape(1, -1, *(1,) * (len(op.outputs[0]) - 2))))
        else:
            found.append(constant(np.ascontiguousarray(values)))
    return found


def _filter(op: Op, values: NDArray[np.float32]) -> Any:
    """Weights of a product, grouped as the operation wants them, quantised where it is."""
    if op.kind in CONV_KINDS and op.groups > 1:
        values = values.reshape(op.groups, -1, *values.shape[1:])
    if op.dtype not in _EIGHT_BITS:
        return constant(values)
    stored = np.clip(np.rint(values * 400), -127, 127).astype(np.int8)
    real = ov.opset13.convert(constant(stored), "f32")
    return ov.opset13.multiply(real, ov.opset13.constant(np.float32(0.0025)))


def _constants(op: Op) -> list[Any]:
    scalars = dict(op.attributes).get("scalars", ())
    dtypes = op.constant_dtypes or ("int64",) * len(op.constants)
    found: list[Any] = []
    for index, (values, dtype) in enumerate(zip(op.constants, dtypes, strict=True)):
        array = np.array(values, dtype=dtype)
        single = isinstance(scalars, tuple) and index in scalars
        found.append(constant(array.reshape(()) if single else array))
    return found


def _reorder_pair(draft: _Draft, index: int, *, direct: bool, bare: bool) -> None:
    """A reordering between a source of one layout and a reader that asks for another.

    Without it, the same reader reads a source that has its layout already, and the source of the
    other layout is read as it is: both graphs hold the same sources and readers.
    """
    op = draft.op
    have, want = input_layouts(op)[0], op.layout
    shape = logical(op.inputs[0], op.layout)
    source = _source(draft, shape, have, op.dtype, fed=False)
    other = _source(draft, shape, want, op.dtype, fed=direct)
    wrong, right = (other, source) if bare else (source, other)
    asked = {"nchw": _flattened, "nhwc": _one_pixel}.get(want, _normalised)(draft, wrong.value)
    asked.set_friendly_name(f"{KERNEL}{index}.asks")
    draft.reader(asked.output(0), index)
    draft.reader(right.plain, index)


def _flattened(_draft: _Draft, value: Any) -> Any:
    """A view that only planar memory has."""
    return ov.opset13.reshape(value, np.array([-1]), special_zero=False)


def _one_pixel(draft: _Draft, value: Any) -> Any:
    """A convolution, which asks for channels last, of nothing but the first pixel."""
    shape = [int(n) for n in value.get_output_shape(0)]
    ones, zeros = [1] * (len(shape) - 2), [0] * (len(shape) - 2)
    weight = draft.weight((1, shape[1], *ones)).copy()
    return ov.opset13.convolution(value, constant(weight), shape[2:], zeros, zeros, ones)


def _normalised(_draft: _Draft, value: Any) -> Any:
    """A local response normalisation, which asks for a blocked layout."""
    return ov.opset13.lrn(value, np.array([1]), 1e-4, 0.75, 1.0, 5)
