"""One spelling for what files spell in several ways, so that the same work is the same Op."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.lite_model.graph import LiteModel, LiteOperator
from costmodel.op import Attribute, Constant, Shape

#: Operators whose constant may be written with leading axes of size 1 that change nothing.
_BROADCAST = frozenset(
    {"ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SQUARED_DIFFERENCE", "SUB"}
)
_RANGE_MASKS = ("begin_mask", "end_mask")
_OTHER_MASKS = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def broadcast_shape(code: str, shape: Shape) -> Shape:
    """Sizes of a constant without leading ones that broadcasting would add again.

    >>> broadcast_shape("MUL", (1, 1, 1, 64)), broadcast_shape("PRELU", (1, 1, 64))
    ((64,), (1, 1, 64))
    """
    while code in _BROADCAST and shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def spelled(
    model: LiteModel,
    operator: LiteOperator,
    options: dict[str, Attribute],
    constants: Sequence[Constant],
) -> tuple[dict[str, Attribute], tuple[Constant, ...]]:
    """Options and constants in their one spelling.

    Axes of a concatenation are counted from the front; a slice names where it begins and ends
    rather than by masks that it does not.

    Args:
        model: whose tensors the operator names.
        operator: the operator.
        options: those that an Op keeps.
        constants: values of its small constants.
    """
    out = model.tensors[operator.outputs[0]].shape if operator.outputs else ()
    axis = options.get("axis")
    if operator.code == "CONCATENATION" and isinstance(axis, int) and axis < 0:
        return {**options, "axis": axis + len(out)}, tuple(constants)
    ranges = operator.code == "STRIDED_SLICE" and len(constants) == 3
    if not ranges or any(options.get(name) for name in _OTHER_MASKS):
        return options, tuple(constants)
    size = model.tensors[operator.inputs[0]].shape
    begin, _, stride = (np.array(values, dtype=np.int64) for values in constants)
    if len(begin) != len(size) or len(stride) != len(size) or (stride < 1).any():
        return options, tuple(constants)
    mask = int(str(options.get("begin_mask", 0)))
    begin[[bool(mask >> axis & 1) for axis in range(len(size))]] = 0
    begin = np.where(begin < 0, begin + size, begin)
    ends = begin + (np.array(out) - 1) * stride + 1
    kept = {name: value for name, value in options.items() if name not in _RANGE_MASKS}
    return kept, tuple(tuple(values.tolist()) for values in (begin, ends, stride))
