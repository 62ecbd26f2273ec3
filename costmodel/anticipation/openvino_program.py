"""Elementwise programs: several operations of a network that one generated kernel carries out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from costmodel.op import Op, Shape, as_operands

#: OpenVINO's names of elementwise operations, by kind.
OPERATIONS: Mapping[str, str] = {
    "abs": "Abs",
    "add": "Add",
    "clip": "Clamp",
    "div": "Divide",
    "elu": "Elu",
    "exp": "Exp",
    "hard_swish": "HSwish",
    "max": "Maximum",
    "min": "Minimum",
    "mul": "Multiply",
    "prelu": "PRelu",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "SoftPlus",
    "sqrt": "Sqrt",
    "sub": "Subtract",
    "swish": "Swish",
    "tanh": "Tanh",
}
_KINDS = {name: kind for kind, name in OPERATIONS.items()}
Line = tuple[str, tuple[str, ...]]


def lines_of(op: Op) -> list[Line]:
    """A kernel's operations, each with the names of what it reads: ``d0``, ``w0``, ``v0``.

    >>> lines_of(Op(kind="add", inputs=((1, 8), (1, 8)), outputs=((1, 8),)))
    [('Add', ('d0', 'd1'))]
    """
    if text := op.attribute("program", ""):
        pairs = (line.removesuffix(")").split("(") for line in text.split(";"))
        return [(name, tuple(rest.split(","))) for name, rest in pairs]
    names = (f"{slot.letter}{slot.index}" for slot in op.slots() if slot.letter in "dw")
    return [(OPERATIONS[op.kind], tuple(names))]


def with_lines(op: Op, lines: Sequence[Line]) -> Op:
    """``op`` with other operations: named by the only one, or a program of several.

    Data and weights are numbered anew in the order in which they are met.
    """
    order: dict[str, str] = {}
    counts = {"d": 0, "w": 0}
    for _, names in lines:
        for name in names:
            if name[0] in counts and name not in order:
                order[name] = f"{name[0]}{counts[name[0]]}"
                counts[name[0]] += 1
    data = [int(name[1:]) for name in order if name[0] == "d"]
    weights = [int(name[1:]) for name in order if name[0] == "w"]
    letters = "".join(name[0] for name in order)
    named = [(kind, tuple(order.get(name, name) for name in names)) for kind, names in lines]
    single = len(named) == 1 and len(set(named[0][1])) == len(named[0][1])
    text = ";".join(f"{kind}({','.join(names)})" for kind, names in named)
    return replace(
        op,
        kind=_KINDS[named[0][0]] if len(named) == 1 else "eltwise",
        inputs=tuple(op.inputs[i] for i in data),
        weights=tuple(op.weights[i] for i in weights),
        operands=as_operands(letters),
        attributes=() if single else (("program", text),),
        constants=(),
        constant_dtypes=(),
    )


def data_order(lines: Sequence[Line]) -> list[int]:
    """Positions of a kernel's inputs in the order in which ``with_lines`` puts them."""
    met = dict.fromkeys(name for _, names in lines for name in names if name[0] == "d")
    return [int(name[1:]) for name in met]


def joined(first: Op, second: Op, place: int) -> tuple[Op, list[Line]]:
    """``second`` behind ``first``, whose result it reads at ``place`` of its inputs.

    Returns:
        An Op with the inputs of ``first``, then the other inputs of ``second``; and its lines.
    """
    before, after = lines_of(first), lines_of(second)
    last, width = len(before) - 1, len(first.inputs)
    others = [i for i in range(len(second.inputs)) if i != place]
    renamed = {f"d{place}": f"v{last}"}
    renamed |= {f"d{i}": f"d{width + k}" for k, i in enumerate(others)}
    renamed |= {f"w{i}": f"w{len(first.weights) + i}" for i in range(len(second.weights))}
    renamed |= {f"v{i}": f"v{len(before) + i}" for i in range(len(after))}
    lines = before + [(kind, tuple(renamed[n] for n in names)) for kind, names in after]
    op = replace(
        first,
        kind="eltwise",
        inputs=(*first.inputs, *(second.inputs[i] for i in others)),
        outputs=second.outputs,
        weights=(*first.weights, *second.weights),
    )
    return op, lines


def broadcast(shape: Shape, rank: int) -> Shape:
    """A constant's sizes with as many axes as what it meets; a scalar's stay.

    >>> broadcast((64, 1, 1), 4), broadcast((), 4)
    ((1, 64, 1, 1), ())
    """
    return (1,) * (rank - len(shape)) + shape if shape else shape
