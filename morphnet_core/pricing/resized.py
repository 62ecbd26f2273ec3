"""One layer as written at other widths, whatever groups they come from.

``morphnet_core.groups.resize`` resizes a network to counts per group; tables need every pair of an
input and an output width, also those that no counts give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costmodel.op import CONV_KINDS, MATMUL_KINDS, Op, Shape
from morphnet_core.groups.rules_mixing import RECURRENT, einsum_places


def size_at(size: Shape, axis: int, width: int) -> Shape:
    """``size`` with ``width`` channels; as it is where it has no channel axis."""
    return (*size[:axis], width, *size[axis + 1 :]) if len(size) > axis else size


def channels(size: Shape, axis: int) -> int:
    """Channels of a tensor; 1 where it has no channel axis."""
    return size[axis] if len(size) > axis else 1


def op_at(op: Op, inputs: Sequence[Shape], outputs: Sequence[Shape], axis: int) -> Op:
    """``op`` with other sizes.

    Args:
        op: a layer as written.
        inputs: new size of each input.
        outputs: new size of each output.
        axis: channel axis of its first output.
    """
    sizes, written = tuple(inputs), tuple(outputs)
    if sizes == op.inputs and written == op.outputs:
        return op
    groups = sizes[0][1] if op.is_depthwise and sizes else op.groups
    constants = op.constants
    if op.kind == "reshape" and constants[:1] == op.outputs[:1]:
        constants = (written[0], *constants[1:])
    return replace(
        op,
        inputs=sizes,
        outputs=written,
        weights=_weights(op, sizes, written, axis) if op.weights else (),
        groups=groups,
        constants=constants,
    )


def _weights(
    op: Op, inputs: Sequence[Shape], outputs: Sequence[Shape], axis: int
) -> tuple[Shape, ...]:
    old, new = channels(op.outputs[0], axis), channels(outputs[0], axis)
    first, *rest = op.weights
    biases = tuple(tuple(new if n == old else n for n in size) for size in rest)
    if op.kind in CONV_KINDS:
        read = channels(inputs[0], 1)
        groups = read if op.is_depthwise else op.groups
        turned = op.kind == "conv_transpose"
        sides = (read, new // groups) if turned else (new, read // groups)
        return ((*sides, *first[2:]), *biases)
    if op.kind in MATMUL_KINDS and inputs:
        read, new = inputs[0][-1], outputs[0][-1]
        return ((new, read) if op.attribute("transB", 0) else (read, new), *biases)
    if op.kind in RECURRENT and inputs:  # (directions, gates, channels of a step)
        pairs = zip(op.inputs[0], inputs[0], strict=True)
        return ((*first[:-1], next((b for a, b in pairs if a != b), first[-1])), *rest)
    places = einsum_places(str(op.attribute("equation", ""))) if op.kind == "einsum" else None
    if places is not None and inputs:
        matrix = [0, 0]
        matrix[places.rows] = inputs[0][places.read]
        matrix[places.columns] = outputs[0][places.written]
        return (tuple(matrix), *rest)
    return tuple(tuple(new if n == old else n for n in size) for size in op.weights)
