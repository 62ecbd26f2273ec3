"""Which operations of the model one executed node carries out, as a little program.

OpenVINO names the model's nodes that a kernel took in, but not all of them: its own rewritings
make new ones, and drop names. So the steps are found in the model by name, joined by whatever lies
between them that nobody else carries out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from costmodel.runners.openvino.executed import Node
from costmodel.runners.openvino.model import ModelNode, Operand

#: Elementwise operations of one operand.
UNARY = frozenset(
    {"Abs", "Ceiling", "Clamp", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HSigmoid", "HSwish"}
    | {"HardSigmoid", "LeakyRelu", "Log", "Mish", "Negative", "Relu", "Round", "Sigmoid", "Sign"}
    | {"Sin", "SoftPlus", "SoftSign", "Sqrt", "Swish", "Tanh"}
)
#: Elementwise operations of two operands that give numbers.
BINARY = frozenset(
    {"Add", "Divide", "Maximum", "Minimum", "Multiply", "PRelu", "Power", "SquaredDifference"}
    | {"Subtract"}
)
QUANTISE = "FakeQuantize"
ELEMENTWISE = UNARY | BINARY | {QUANTISE}
PRODUCT = "MatMul"
#: Node types of the plug-in that run elementwise programs.
PROGRAMS = frozenset({"Eltwise", "Subgraph"})
#: Names that OpenVINO makes up for nodes of its own.
_MADE_UP = re.compile(r"([A-Z][A-Za-z0-9]*)_\d+(?:_\d+)?$")
#: What low-precision rewriting adds around a kernel: scales that become part of it.
_SCALES = frozenset({"Add", "Convert", "Multiply", "Subtract"})
_FAKED = frozenset({"Constant", "Parameter", "Result"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation of a program.

    Attributes:
        type: OpenVINO's operation.
        node: the model's node; ``None`` for an activation that the plug-in moved here.
        operands: a number for the result of an earlier step, else what the model reads.
    """

    type: str
    node: ModelNode | None
    operands: tuple[int | Operand, ...]


def find_steps(node: Node, model: Mapping[str, ModelNode], claimed: Iterable[str]) -> list[Step]:
    """The steps of one executed node in running order; empty for kernels of the plug-in's own.

    Args:
        node: from the execution graph.
        model: the nodes of the compiled model, in running order.
        claimed: names that any executed node says it carries out.
    """
    names = {_kept(name, model) for name in node.originals}
    members = {name for name in names if name in model and model[name].type not in _FAKED}
    if not members:
        return []
    _close(members, node, model, frozenset(claimed))
    order = [name for name in model if name in members]
    place = {name: index for index, name in enumerate(order)}
    steps = [
        Step(
            type=model[name].type,
            node=model[name],
            operands=tuple(_resolve(item, place) for item in model[name].operands),
        )
        for name in order
    ]
    return steps + _moved(node, model, len(steps))


def _kept(name: str, model: Mapping[str, ModelNode]) -> str:
    """The name that a node had before low-precision rewriting put another behind it."""
    return name if name in model else name.removesuffix("_original")


def _resolve(operand: Operand, place: Mapping[str, int]) -> int | Operand:
    """The earlier step whose first result an operand is, or the operand."""
    name, port = operand.source
    return place[name] if name in place and port == 0 else operand


def _close(
    members: set[str], node: Node, model: Mapping[str, ModelNode], claimed: frozenset[str]
) -> None:
    """Add the nodes before members that no executed node carries out by name."""
    wanted = set(ELEMENTWISE) if node.layer in PROGRAMS else set()
    if node.layer == "FullyConnected":
        wanted = {"MatMul"}
    waiting = list(members)
    while waiting:
        for operand in model[waiting.pop()].operands:
            source = model[operand.source[0]]
            free = source.name not in claimed and source.name not in members
            if free and not source.constant and source.type in wanted:
                members.add(source.name)
                waiting.append(source.name)


def _moved(node: Node, model: Mapping[str, ModelNode], count: int) -> list[Step]:
    """Activations that the plug-in moved into a kernel under a name of its own."""
    found: list[Step] = []
    for name in node.originals:
        made_up = _MADE_UP.match(name) if name not in model else None
        kind = made_up[1] if made_up else ""
        if kind in UNARY | {QUANTISE} and kind not in _SCALES:
            found.append(Step(type=kind, node=None, operands=(count - 1 + len(found),)))
    return found


def externals(steps: Sequence[Step]) -> list[Operand]:
    """Everything that a program reads from outside, each tensor once, in order of first use.

    The bounds of a quantisation are left out: they are part of it.
    """
    found: dict[tuple[str, int], Operand] = {}
    for step in steps:
        for operand in step.operands[:1] if step.type == QUANTISE else step.operands:
            if isinstance(operand, Operand):
                found.setdefault(operand.source, operand)
    return list(found.values())


def program_text(steps: Sequence[Step], names: Mapping[tuple[str, int], str]) -> str:
    """An elementwise program in one line: ``Multiply(d0,w0);Add(v0,w1);Relu(v1)``.

    Args:
        steps: elementwise operations.
        names: what to call each tensor from outside.
    """
    lines = []
    for step in steps:
        operands = step.operands[:1] if step.type == QUANTISE else step.operands
        words = [f"v{o}" if isinstance(o, int) else names[o.source] for o in operands]
        lines.append(f"{step.type}{_turned(step)}({','.join(words)})")
    return ";".join(lines)


def _turned(step: Step) -> str:
    """Which operands of a product are transposed: nothing, ``A``, ``B`` or ``AB``."""
    settings = dict(step.node.attributes) if step.node and step.type == PRODUCT else {}
    return "A" * bool(settings.get("transpose_a")) + "B" * bool(settings.get("transpose_b"))


def parse_program(text: str) -> list[tuple[str, list[str]]]:
    """Operations and operand names of ``program_text``.

    >>> parse_program("Add(d0,w0);Relu(v0)")
    [('Add', ['d0', 'w0']), ('Relu', ['v0'])]
    """
    found = []
    for line in text.split(";"):
        name, _, rest = line.partition("(")
        found.append((name, rest.removesuffix(")").split(",")))
    return found
