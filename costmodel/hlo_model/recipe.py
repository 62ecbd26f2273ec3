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
from costmodel.hlo_model.module import Array, Instruction, Module

#: Attributes that say what an instruction computes; all others are hints or names.
_SETTINGS = (
    "dimensions", "window", "dim_labels", "feature_group_count", "batch_group_count",
    "lhs_batch_dims", "rhs_batch_dims", "lhs_contracting_dims", "rhs_contracting_dims",
    "padding", "slice", "direction", "iota_dimension", "offset_dims", "collapsed_slice_dims",
    "start_index_map", "index_vector_dim", "slice_sizes", "dynamic_slice_sizes",
)  # fmt: skip
COMMUTATIVE = frozenset({"add", "and", "maximum", "minimum", "multiply", "or"})
#: Instructions that run another computation element by element: told by its one instruction.
_REDUCERS = frozenset({"reduce", "reduce-window"})
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


def recipe_of(
    module: Module, item: Instruction, letters: Mapping[str, str]
) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
    """What one executed instruction computes.

    Args:
        module: it lies in its entry computation.
        item: a fusion, a call, or a single instruction.
        letters: ``w`` for entry instructions that are weights; all others are data.

    Returns:
        The recipe, the entry instructions that its operands are, and where the instructions inside
        come from (their ``op_name``), outermost last.

    Raises:
        InvalidInputError: if it runs a loop or a branch, whose work depends on data.
    """
    draft = _Draft(module, letters)
    return draft.finish(item)


class _Draft:
    """One group on its way to a recipe: expressions are numbered by what they compute."""

    def __init__(self, module: Module, letters: Mapping[str, str]) -> None:
        self._module = module
        self._letters = letters
        self._found: dict[tuple[object, ...], int] = {}
        self._nodes: list[Node] = []
        self._sources: dict[int, str] = {}
        self._hash: list[str] = []
        self.origins: list[str] = []

    def finish(self, item: Instruction) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
        entry = self._module.entry.instructions
        bound: dict[str, list[int]] = {}
        for name in item.operands:
            bound[name] = [self._operand(name, array) for array in entry[name].arrays[:1]]
            if entry[name].opcode == "constant" and not entry[name].arrays[0].dims:
                bound[name] = [self._constant(entry[name])]
        roots = self._run(item, bound)
        return self._ordered(roots)

    def _operand(self, name: str, array: Array) -> int:
        letter = self._letters.get(name, "d")
        return self._add(Node(opcode=letter, args=(), settings="", array=array), key=name)

    def _constant(self, item: Instruction) -> int:
        value = item.literal if not item.arrays[0].dims else "?"
        return self._add(Node(opcode="constant", args=(), settings=value, array=item.arrays[0]))

    def _add(self, node: Node, key: object = None) -> int:
        args, array = node.args, node.array
        if node.opcode in COMMUTATIVE:
            args = tuple(sorted(args, key=lambda a: (self._hash[a], a)))
        if array.is_plain:  # axes of one element may be stored anywhere, which changes nothing
            array = Array(dtype=array.dtype, dims=array.dims, order=tuple(range(len(array.dims))))
        node = Node(opcode=node.opcode, args=args, settings=node.settings, array=array)
        if node.opcode == "bitcast":
            source = args[0]
            while self._nodes[source].opcode == "bitcast":
                source = self._nodes[source].args[0]
            if self._nodes[source].array == array:
                return source
            node = Node(opcode="bitcast", args=(source,), settings="", array=array)
            args = node.args
        identity = (node.opcode, args, node.settings, node.array, key)
        if identity not in self._found:
            self._found[identity] = len(self._nodes)
            self._nodes.append(node)
            self._hash.append(_signature(node, [self._hash[a] for a in args]))
            if isinstance(key, str):
                self._sources[len(self._nodes) - 1] = key
        return self._found[identity]

    def _run(self, item: Instruction, bound: Mapping[str, list[int]]) -> list[int]:
        """Numbers of what one instruction gives, its computation inlined."""
        args = [number for name in item.operands for number in bound[name]]
        if item.opcode in {"fusion", "call"}:
            return self._inline(item.called[0], args)
        if item.opcode in {"while", "conditional", "sort", "scatter", "map", "rng"}:
            message = f"{item.opcode} {item.name!r} has no form of its own here."
            raise InvalidInputError(message)
        if item.op_name:
            self.origins.append(item.op_name)
        settings = ";".join(
            f"{key}={item.attributes[key].replace(' ', '_')}" if key == "window"
            else f"{key}={item.attributes[key].replace(' ', '')}"
            for key in _SETTINGS
            if key in item.attributes
        )  # fmt: skip
        if item.opcode in _REDUCERS:
            settings = f"{settings};with={self._reducer(item)}"
        if item.opcode in {"custom-call", "custom_call"}:
            target = item.attributes.get("custom_call_target", "").strip('"')
            settings = f"{settings};target={target}".lstrip(";")
        return [
            self._add(
                Node(opcode=item.opcode, args=tuple(args), settings=settings, array=array),
                key=index if index else None,
            )
            for index, array in enumerate(item.arrays)
        ]

    def _reducer(self, item: Instruction) -> str:
        inner = self._module.computations[item.called[0]]
        return inner.instructions[inner.root].opcode

    def _inline(self, name: str, args: Sequence[int]) -> list[int]:
        inner = self._module.computations[name]
        bound: dict[str, list[int]] = {}
        for item in inner.instructions.values():
            if item.opcode == "parameter":
                bound[item.name] = [args[int(item.literal)]]
            elif item.opcode == "constant":
                bound[item.name] = [self._constant(item)]
            elif item.opcode == "tuple":
                bound[item.name] = [n for o in item.operands for n in bound[o]]
            elif item.opcode == "get-tuple-element":
                picked = bound[item.operands[0]][int(item.attributes["index"])]
                bound[item.name] = [picked]
            else:
                bound[item.name] = self._run(item, bound)
        return bound[inner.root]

    def _ordered(self, roots: Sequence[int]) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
        """Entries as the roots need them, operands first."""
        order: list[int] = []
        seen: set[int] = set()
        stack = [(root, False) for root in reversed(roots)]
        while stack:
            number, ready = stack.pop()
            if number in seen:
                continue
            if ready:
                seen.add(number)
                order.append(number)
                continue
            stack.append((number, True))
            stack += [(a, False) for a in reversed(self._nodes[number].args) if a not in seen]
        order.sort(key=lambda n: self._nodes[n].opcode not in {"d", "w"})
        place = {number: i for i, number in enumerate(order)}
        nodes = tuple(
            Node(
                opcode=self._nodes[n].opcode,
                args=tuple(place[a] for a in self._nodes[n].args),
                settings=self._nodes[n].settings,
                array=self._nodes[n].array,
            )
            for n in order
        )
        recipe = Recipe(nodes=nodes, roots=tuple(place[r] for r in roots))
        sources = tuple(self._sources[n] for n in order if n in self._sources)
        return recipe, sources, tuple(self.origins)


def _signature(node: Node, args: Sequence[str]) -> str:
    """A short text that orders operands: by what they are made of, never by name."""
    if node.opcode in {"d", "w"}:
        return f"{node.opcode}{node.array.dims}"
    inner = ",".join(args)
    text = f"{node.opcode}({inner}){node.settings}{node.array.dims}"
    return text if len(text) < 200 else f"{text[:160]}#{len(text)}"


def num_bytes(array: Array) -> int:
    """Size of an array; XLA's type names end in their width in bits."""
    width = int(re.sub(r"\D", "", array.dtype)[:2] or 8) if array.dtype != "pred" else 8
    return prod(array.dims) * max(1, width // 8)
