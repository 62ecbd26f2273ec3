"""Chooses among lowered Ops: convolutions of every execution path, and all other kinds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import zip_longest

from costmodel.kinds import MATMUL_KINDS
from costmodel.op import Op
from costmodel.pieces import form_of
from costmodel.sampling.kernels import FAMILIES
from costmodel.sampling.lowered import Found

#: Share of rows that are convolutions, and that are layout conversions around them.
CONV_ROWS = 0.57
LAYOUT_ROWS = 0.03
#: Rows that every execution path and every kernel kind gets where there are so many.
LEAST = 6
#: Share of the other kernels' rows that is dealt out evenly; the rest goes by weight, since a kind
#: whose time follows from one size needs fewer rows than a product of two.
_EVEN_SHARE = 2 / 3
#: Elements of weights that no last cache holds: products of more are a form of their own.
_FAR_WEIGHTS = 8 << 20
#: Turns of kinds that no family is named after, such as an activation a runtime has of its own.
_OTHER_TURNS = 1.5
#: Turns of kinds that take most of the time of transformers and mixers, or that come in many forms.
_TURNS = {
    "matmul": 16.0,
    "transpose": 9.0,
    "softmax": 6.0,
    "resize": 9.0,
    "layer_norm": 4.0,
    "gelu": 4.0,
    "add": 6.0,
    "mul": 6.0,
    "erf": 4.0,
    "einsum": 4.0,
    "reduce_mean": 5.0,
}


def execution_path(op: Op) -> Hashable:
    """What decides how a convolution is computed, sizes aside."""
    block = "".join(filter(str.isdigit, op.layout))
    blocked_input = not block or op.in_channels % int(block) == 0
    shape = "depthwise" if op.is_depthwise else "grouped" if op.groups > 1 else "dense"
    window = "1" if math.prod(op.kernel) == 1 else "k"
    return op.kind, op.implementation, shape, window, blocked_input


def choose_convolutions(ops: Sequence[Op], count: int) -> list[Op]:
    """``count`` of ``ops`` in their order, with the first ``LEAST`` of every execution path."""
    least = min(LEAST, max(1, count // 40))
    met: dict[Hashable, int] = defaultdict(int)
    needed: set[Op] = set()
    for op in ops:
        path = execution_path(op)
        if met[path] < least:
            needed.add(op)
        met[path] += 1
    spare = max(0, count - len(needed))
    chosen: list[Op] = []
    for op in ops:
        if op in needed:
            chosen.append(op)
        elif spare:
            spare -= 1
            chosen.append(op)
    return chosen[: max(count, len(needed))]


def choose_kernels(ops: Sequence[Op], count: int) -> list[Op]:
    """``count`` of ``ops``: up to ``LEAST`` of every kind where there is room, then by weight.

    Args:
        ops: other kernels, best candidates first.
        count: wished rows.
    """
    queues = _queues(ops)
    weights = {
        kind: _TURNS.get(kind, FAMILIES.get(kind, (_OTHER_TURNS, None))[0]) for kind in queues
    }
    each = count / max(1, len(queues))
    least = min(LEAST, max(round(_EVEN_SHARE * each), min(1, int(each))))
    taken: dict[str, int] = {kind: min(least, len(queue)) for kind, queue in queues.items()}
    room = count - sum(taken.values())
    for _ in range(max(0, room)):
        open_kinds = [kind for kind, queue in queues.items() if taken[kind] < len(queue)]
        if not open_kinds:
            break
        turn = min(open_kinds, key=lambda kind: (taken[kind] + 1) / weights[kind])
        taken[turn] += 1
    # Kinds take turns, so that a part of the choice has most of them, too.
    turns = zip_longest(*(queue[: taken[kind]] for kind, queue in queues.items()))
    return [op for turn in turns for op in turn if op is not None]


def _queues(ops: Iterable[Op]) -> dict[str, list[Op]]:
    """Candidates by kind; forms of a kind take turns, so that none is left out."""
    kinds: dict[str, dict[Hashable, list[Op]]] = defaultdict(lambda: defaultdict(list))
    for op in ops:
        kinds[op.kind][_form(op)].append(op)
    return {
        kind: [op for turn in zip_longest(*by.values()) for op in turn if op is not None]
        for kind, by in kinds.items()
    }


def _form(op: Op) -> Hashable:
    """What decides how a kernel runs: its name, its loop; of a product its rows, and weights."""
    if op.kind not in MATMUL_KINDS or not op.outputs:
        return op.implementation, form_of(op)
    rows = math.prod(op.outputs[0][:-1])
    return op.implementation, rows == 1, bool(op.weights), op.num_weights > _FAR_WEIGHTS


def split_roles(found: Iterable[Found]) -> tuple[list[Op], list[Op], list[Op]]:
    """Distinct convolutions, layout conversions and other kernels, best candidates first."""
    convs: dict[Op, None] = {}
    layouts: dict[Op, None] = {}
    others: dict[Op, None] = {}
    sides: dict[Op, None] = {}
    for item in found:
        if item.role == "scaffold":
            continue
        if item.role == "layout":
            layouts[item.op] = None
        elif item.op.kind == "conv":
            convs[item.op] = None
        else:
            (others if item.role == "target" else sides)[item.op] = None
    return list(convs), list(layouts), list({**others, **sides})
