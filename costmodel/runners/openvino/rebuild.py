"""Rebuilds one Op as a graph of its own: the same primitive, in the same layout, R times over.

Beside it stands the same graph without the kernel, whose time is subtracted. The time of R copies
less that of their neighbours, by R, is what a network pays per kernel: with what the plug-in spends
around each node, which its own counters leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.layouts import logical
from costmodel.op import CONV_KINDS, MATMUL_KINDS, SESSION, Op
from costmodel.runners.openvino.core import ov
from costmodel.runners.openvino.neighbours import (
    Draft,
    Source,
    asking,
    make_source,
    weights_for,
)
from costmodel.runners.openvino.operations import constant, kernel
from costmodel.runners.openvino.workload import MAX_BYTES

#: Names of a kernel's operations begin with this and the replica's number.
KERNEL = "kernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A graph of one Op and the same graph without it.

    Attributes:
        full: an ``openvino.Model``, or one compiled, that executes the Op ``replicas`` times.
        baseline: the neighbours alone.
        replicas: executions in one run of ``full``.
        more_readers: reading nodes that ``full`` has more than ``baseline``; may be negative.
    """

    full: Any
    baseline: Any
    replicas: int
    more_readers: int


def session_model(num_inputs: int, num_outputs: int) -> Any:
    """As many tiny inputs and outputs as a network has, and next to nothing to compute."""
    made = [ov.opset13.parameter([1], np.float32) for _ in range(max(1, num_inputs))]
    used = [ov.opset13.relu(item) for item in made]
    ends = [ov.opset13.result(used[i % len(used)]) for i in range(max(1, num_outputs))]
    ends += [ov.opset13.result(item) for item in used[len(ends) :]]
    return ov.Model(ends, made, SESSION)


def readers_model(readers: int) -> Any:
    """One small tensor that is fed and read ``readers`` times, to time what a reader costs."""
    draft = Draft(op=Op(kind=SESSION))
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
    draft = Draft(op=op)
    if op.kind == "reorder":
        for index in range(replicas):
            _reorder_pair(draft, index, direct=direct, bare=bare)
        return draft.model(), len(draft.read)
    layouts = input_layouts(op)
    dtypes = op.input_types
    sources: list[list[Source]] = []
    for position, shape in enumerate(op.inputs):
        plain = logical(shape, op.layout)
        fed = direct and position == 0
        # What is added is written over, which only its sole reader may do.
        count = turns if position == 0 else replicas
        made = [
            make_source(draft, plain, layouts[position], dtypes[position], fed=fed)
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
    return op.attribute("input_layouts", ",".join([op.layout] * len(op.inputs))).split(",")


def output_layouts(op: Op) -> list[str]:
    """Layout of each output."""
    given = op.attribute("output_layouts")
    return str(given).split(",") if given else [op.layout] * len(op.outputs)


def _bare_readers(draft: Draft, sources: Sequence[Sequence[Source]], count: int) -> None:
    """Read every source at least once, and ``count`` times in all where that is more."""
    flat = [item for column in sources for item in column]
    for index in range(max(count, len(flat))):
        item = flat[index % len(flat)]
        draft.reader(item.plain, index // len(flat), item.layout)


def _replica(draft: Draft, data: Sequence[Any], index: int) -> None:
    """One copy of the kernel and a reader for each of its results."""
    op = draft.op
    made = kernel(op, data, _weights(draft), _constants(op))
    for number, node in enumerate(made):
        node.set_friendly_name(f"{KERNEL}{index}.{number}")
    layouts = output_layouts(op)
    for value, layout in zip(_results(op, made), layouts, strict=False):
        draft.reader(value, index, layout)


def _results(op: Op, made: Sequence[Any]) -> list[Any]:
    """What the kernel hands on: the last results, as many as the Op has."""
    last = list(made[-1].outputs())
    if len(last) >= len(op.outputs):
        return last[: len(op.outputs)]
    return [node.output(0) for node in made[-len(op.outputs) :]]


def _weights(draft: Draft) -> list[Any]:
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
            found.append(constant(values))
    return found


def _filter(op: Op, values: NDArray[np.float32]) -> Any:
    """Weights of a product, grouped as the operation wants them, quantised where it is."""
    if op.kind in CONV_KINDS and op.groups > 1:
        values = values.reshape(op.groups, -1, *values.shape[1:])
    return weights_for(values, op.dtype, channel_axes=2 if op.groups > 1 else 1)


def _constants(op: Op) -> list[Any]:
    scalars = op.attribute("scalars", ())
    found: list[Any] = []
    for index, (values, dtype) in enumerate(zip(op.constants, op.constant_types, strict=True)):
        array = np.array(values, dtype=dtype)
        single = index in scalars
        found.append(constant(array.reshape(()) if single else array))
    return found


def _reorder_pair(draft: Draft, index: int, *, direct: bool, bare: bool) -> None:
    """A reordering between a source of one layout and a reader that asks for another.

    Without it, the same reader reads a source that has its layout already, and the source of the
    other layout is read as it is: both graphs hold the same sources and readers.
    """
    op = draft.op
    have, want = input_layouts(op)[0], op.layout
    shape = logical(op.inputs[0], op.layout)
    channels = dict(op.attributes).get("channels", shape[1] if len(shape) > 1 else None)
    if isinstance(channels, int):
        shape = (shape[0], channels, *shape[2:])
    source = make_source(draft, shape, have, op.dtype, fed=False)
    written = op.attribute("output_dtypes", op.dtype)
    other = make_source(draft, shape, want, written, fed=direct)
    wrong, right = (other, source) if bare else (source, other)
    asked = asking(draft, wrong.value, have, want)
    asked.set_friendly_name(f"{KERNEL}{index}.asks")
    draft.reader(asked.output(0), index, want if len(asked.get_output_shape(0)) > 1 else "nchw")
    draft.reader(right.plain, index, right.layout)
