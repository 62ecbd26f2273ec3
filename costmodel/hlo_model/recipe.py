"""A group of HLO instructions as one short canonical text, from which it can be rebuilt alone.

The text is what an executed Op keeps (attribute ``hlo``): operands first, then instructions in the
order in which the result needs them, then the results. ``d`` is data, ``w`` a weight; numbers refer
to earlier entries::

    d[1,8,8,16] w[16] | broadcast(1;dimensions={3})[1,8,8,16] add(0,2) | 3

Names, metadata and unused instructions are left out, equal instructions are merged, and operands of
commutative ones sorted, so equal work has equal text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.module import Array

#: numpy's names of XLA's element types.
DTYPES: Mapping[str, str] = {
    "bf16": "bfloat16", "f16": "float16", "f32": "float32", "f64": "float64", "pred": "bool",
    "s8": "int8", "s16": "int16", "s32": "int32", "s64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip
_ENTRY = re.compile(r"([a-z][\w\-]*)(?:\(([^;()]*);?((?:[^()]|\([^()]*\))*)\))?")
_TYPE = re.compile(r"(?::(\w+))?(?:\[([\d,]*)\](?:\{([\d,]*)\})?)?$")
MAX_NODES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One entry of a recipe: an operand (``d``, ``w``) or an instruction.

    Attributes:
        opcode: ``d``, ``w``, or an HLO opcode.
        args: numbers of earlier entries.
        settings: attributes as text, a constant's value, or a reduction's inner opcode.
        array: what it gives.
    """

    opcode: str
    args: tuple[int, ...]
    settings: str
    array: Array

    def setting(self, name: str, default: str = "") -> str:
        """One attribute's text."""
        found = re.search(rf"(?:^|;){name}=([^;]*)", self.settings)
        return found[1] if found else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Operands and instructions in running order, and the numbers of the results."""

    nodes: tuple[Node, ...]
    roots: tuple[int, ...]

    @property
    def operands(self) -> tuple[Node, ...]:
        """What it is fed."""
        return tuple(node for node in self.nodes if node.opcode in {"d", "w"})

    def __str__(self) -> str:
        count = len(self.operands)
        parts = [
            " ".join(_write(node, self.nodes, "f32") for node in self.nodes[:count]),
            " ".join(_write(node, self.nodes, "f32") for node in self.nodes[count:]),
            " ".join(map(str, self.roots)),
        ]
        return " | ".join(parts)


def _write(node: Node, nodes: Sequence[Node], usual: str) -> str:
    inside = ",".join(map(str, node.args))
    inside += f";{node.settings}" if node.settings else ""
    text = node.opcode if node.opcode in {"d", "w"} else f"{node.opcode}({inside})"
    like = nodes[node.args[0]].array if node.args else None
    if like is not None and like == node.array:
        return text
    dtype = like.dtype if like is not None else usual
    text += f":{node.array.dtype}" if node.array.dtype != dtype else ""
    text += f"[{','.join(map(str, node.array.dims))}]"
    order = node.array.order
    return text if node.array.is_plain else f"{text}{{{','.join(map(str, order))}}}"


def read_recipe(text: str) -> Recipe:
    """The recipe that ``text`` writes.

    Raises:
        InvalidInputError: if it is none.
    """
    try:
        heads, body, roots = text.split(" | ") if " |  | " not in text else _bodiless(text)
        nodes: list[Node] = []
        for item in [*heads.split(), *_entries(body)]:
            nodes.append(_read(item, nodes))
        result = Recipe(nodes=tuple(nodes), roots=tuple(int(r) for r in roots.split()))
        if not result.roots or max(result.roots) >= len(nodes) or len(nodes) > MAX_NODES:
            raise ValueError(text[-20:])
    except (IndexError, ValueError, TypeError) as error:
        message = f"This is no recipe of HLO instructions ({error}): {text[:200]!r}."
        raise InvalidInputError(message) from error
    return result


def _bodiless(text: str) -> tuple[str, str, str]:
    heads, _, roots = text.partition(" |  | ")
    return heads, "", roots


def _entries(body: str) -> list[str]:
    """Instructions, which may hold spaces inside their parentheses."""
    items, depth, start = [], 0, 0
    for position, letter in enumerate(body):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == " " and depth == 0:
            items.append(body[start:position])
            start = position + 1
    items.append(body[start:])
    return [item for item in items if item]


def _read(text: str, nodes: Sequence[Node]) -> Node:
    found = _ENTRY.match(text)
    if found is None:
        raise ValueError(text)
    kind = _TYPE.match(text[found.end() :])
    if kind is None:
        raise ValueError(text)
    args = tuple(int(a) for a in (found[2] or "").split(",") if a)
    if any(a >= len(nodes) or a < 0 for a in args):
        raise ValueError(text)
    like = nodes[args[0]].array if args else None
    dtype = kind[1] or (like.dtype if like is not None else "f32")
    if kind[2] is None and like is not None:
        array = Array(dtype=dtype, dims=like.dims, order=like.order)
    else:
        dims = tuple(int(d) for d in (kind[2] or "").split(",") if d)
        order = tuple(int(a) for a in kind[3].split(",")) if kind[3] else tuple(range(len(dims)))
        array = Array(dtype=dtype, dims=dims, order=order)
    return Node(opcode=found[1], args=args, settings=found[3] or "", array=array)


def num_bytes(array: Array) -> int:
    """Size of an array; XLA's type names end in their width in bits."""
    width = int(re.sub(r"\D", "", array.dtype)[:2] or 8) if array.dtype != "pred" else 8
    return prod(array.dims) * max(1, width // 8)
