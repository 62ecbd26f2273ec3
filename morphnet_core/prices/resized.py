"""One layer as written at other widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costmodel.op import CONV_KINDS, MATMUL_KINDS, Op, Shape


def op_at(op: Op, inputs: Sequence[int], output: int) -> Op:
    """``op`` with other channel counts.

    Args:
        op: a layer as written, channels on axis 1.
        inputs: channels of each input.
        output: channels of every output.
    """
    sizes = tuple(_at(size, width) for size, width in zip(op.inputs, inputs, strict=True))
    written = tuple(_at(size, output) for size in op.outputs)
    if sizes == op.inputs and written == op.outputs:
        return op
    groups = op.groups
    if op.is_depthwise and sizes:
        groups = sizes[0][1]
    constants = op.constants
    if op.kind == "reshape" and constants[:1] == op.outputs[:1]:
        constants = (written[0], *constants[1:])
    return replace(
        op,
        inputs=sizes,
        outputs=written,
        weights=_weights(op, sizes, written, groups),
        groups=groups,
        constants=constants,
    )


def _at(size: Shape, width: int) -> Shape:
    return (size[0], width, *size[2:]) if len(size) > 1 else size


def _weights(
    op: Op, inputs: Sequence[Shape], outputs: Sequence[Shape], groups: int
) -> tuple[Shape, ...]:
    if not op.weights or not outputs or len(outputs[0]) < 2:
        return op.weights
    wide, out = op.outputs[0][1], outputs[0][1]
    read = inputs[0][1] if inputs and len(inputs[0]) > 1 else 1
    first, *rest = op.weights
    biases = tuple(tuple(out if n == wide else n for n in size) for size in rest)
    if op.kind == "conv_transpose":
        return ((read, out // groups, *first[2:]), *biases)
    if op.kind in CONV_KINDS:
        return ((out, read // groups, *first[2:]), *biases)
    if op.kind in MATMUL_KINDS:
        flipped = dict(op.attributes).get("transB", 0)
        return ((out, read) if flipped else (read, out), *biases)
    return tuple(tuple(out if n == wide else n for n in size) for size in op.weights)
