"""Pieces: into how many runs of neighbouring elements a kernel without a window falls apart.

A kernel that moves or joins tensors copies one run at a time, and one that broadcasts starts a new
loop where the pattern of its operands changes: many short runs cost far more than one long run of
as many bytes.
"""

from __future__ import annotations

from math import prod

from costmodel.kinds import ELEMENTWISE, ROW_NORMS
from costmodel.op import Op, Shape

#: Elements of a row that are taken at once; the rest of a row costs as much as a row's beginning.
_VECTOR = 8
#: Cache lines that the nearest cache holds, on most processors of 32 KiB and more.
_NEAR_LINES = 512
#: Kinds that take statistics along one axis; over all axes from one on; and of each channel's map.
_BY_AXIS = frozenset({"softmax", "log_softmax", "hardmax"})
_BY_ROW = _BY_AXIS | ROW_NORMS
_BY_PLANE = frozenset({"batch_norm", "instance_norm"})


def pieces_of(op: Op) -> int:
    """Runs that a kernel reads or writes one by one; 0 for one that takes its tensors whole.

    Of a kernel with statistics of its own, a softmax or a normalisation, the rows that have them.

    >>> gate = Op(kind="mul", inputs=((1, 8, 7, 7), (1, 8, 1, 1)), outputs=((1, 8, 7, 7),))
    >>> pieces_of(gate)
    8
    """
    if not op.inputs or not op.outputs:
        return 0
    kind = op.kind
    if kind == "transpose":
        return _transposed(op)
    if kind in {"concat", "split"}:
        parts = op.inputs + op.weights if kind == "concat" else op.outputs
        whole = op.outputs[0] if kind == "concat" else op.inputs[0]
        axis = op.attribute("axis")
        outer = prod(whole[: axis % len(whole)]) if whole and isinstance(axis, int) else 1
        return outer * len(parts) if outer > 1 else 0
    if kind in {"slice", "pad", "expand", "tile"}:
        return _copied(op.inputs[0], op.outputs[0])
    if kind in ELEMENTWISE:
        return _broadcast((*op.inputs, *op.weights), op.outputs[0])
    return _rows(op)


def form_of(op: Op) -> str:
    """Which loop a kernel without a window runs, where its shapes decide: part of its path.

    >>> rows = Op(kind="reduce_mean", inputs=((1, 49, 96),), outputs=((1, 49, 1),))
    >>> form_of(rows)
    'inner'
    """
    if not op.inputs or not op.outputs:
        return ""
    if op.kind == "transpose":
        order = _order(op)
        if order is None:
            return ""
        kept = [axis for axis in order if op.inputs[0][axis] > 1]
        if kept == sorted(kept):
            return "copy"
        if kept[-1] == max(kept):
            return "blocks"
        # Runtimes look at all axes here, those of one element among them.
        if not _moves_one(list(order)):
            return "elements"
        # The last axis becomes as many places that are written in turns.
        wide = op.inputs[0][-1] > _NEAR_LINES and kept[-1] != max(kept)
        return "scatter" if wide else "swap"
    if op.kind == "resize":
        return str(op.attribute("mode") or "")
    if op.kind.startswith("reduce_"):
        source, result = op.inputs[0], op.outputs[0]
        # The last axis is reduced where as many elements are left as the others hold.
        if not result or result[-1] != source[-1]:
            return "inner"
        return "between" if _first_kept(source, result) else "outer"
    return ""


def _rows(op: Op) -> int:
    """Rows of a softmax or of a normalisation; twice as many where their ends fill no vector."""
    shape = op.inputs[0]
    if op.kind in _BY_PLANE:
        rows = prod(shape[:2])
    elif op.kind not in _BY_ROW or not shape:
        return 0
    else:
        axis = op.attribute("axis")
        place = axis % len(shape) if isinstance(axis, int) else len(shape) - 1
        # Before opset 13 a softmax went over all axes from its own on.
        along = op.kind in _BY_AXIS and op.attribute("since", 13) >= 13
        rows = prod(shape) // max(1, shape[place]) if along else prod(shape[:place])
    return rows if prod(shape) // max(1, rows) % _VECTOR == 0 else 2 * rows


def _first_kept(source: Shape, result: Shape) -> bool:
    """Whether the first axis of more than one element stays in a reduction that keeps the last."""
    sizes, left = ([size for size in shape if size > 1] for shape in (source, result))
    return len(left) > 1 and sizes[0] == left[0]


def _order(op: Op) -> tuple[int, ...] | None:
    """The axes of a transposition's input in the order of its output."""
    rank = len(op.inputs[0])
    # Some runtimes take it as an operand.
    order = op.attribute("perm") or next(iter(op.constants), ()) or tuple(reversed(range(rank)))
    if not isinstance(order, tuple) or sorted(order) != list(range(rank)):
        return None
    return tuple(int(axis) for axis in order)


def _transposed(op: Op) -> int:
    order = _order(op)
    if order is None:
        return 0
    shape, block = op.inputs[0], 1
    for place in reversed(range(len(order))):
        if order[place] != place:
            break
        block *= shape[place]
    return prod(shape) // max(block, 1)


def _moves_one(order: list[int]) -> bool:
    """Whether one axis changes its place among the others."""
    return any(
        [axis for axis in order if axis != moved] == sorted(axis for axis in order if axis != moved)
        for moved in order
    )


def _copied(source: Shape, result: Shape) -> int:
    """Runs between two shapes of the same rank: the trailing axes that both have make up one."""
    run = 1
    for one, other in zip(reversed(source), reversed(result), strict=False):
        run *= min(one, other)
        if one != other:
            break
    size = max(prod(source), prod(result))
    return size // max(run, 1) if run < size else 0


def _broadcast(operands: tuple[Shape, ...], result: Shape) -> int:
    """Runs over which every operand is either read along or held."""
    if all(prod(shape) in {1, prod(result)} for shape in operands):
        return 0
    run = 1
    pattern: tuple[bool, ...] | None = None
    for place in range(1, len(result) + 1):
        size = result[-place]
        if size == 1:
            continue
        here = tuple(len(shape) >= place and shape[-place] == size for shape in operands)
        if pattern is not None and here != pattern:
            break
        pattern = here
        run *= size
    return prod(result) // max(run, 1)
