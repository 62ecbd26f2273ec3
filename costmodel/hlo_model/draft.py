"""A recipe under construction: equal instructions are one, whoever puts them together."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.hlo_model.module import Array
from costmodel.hlo_model.recipe import Node, Recipe

COMMUTATIVE = frozenset({"add", "and", "maximum", "minimum", "multiply", "or"})


class RecipeDraft:
    """A recipe under construction: entries are numbered by what they compute, each once."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], int] = {}
        self._nodes: list[Node] = []
        self._sources: dict[int, str] = {}
        self._hash: list[str] = []

    def operand(self, letter: str, array: Array, source: str) -> int:
        """Number of something that is fed: ``d`` or ``w``, one entry per source."""
        return self.add(Node(opcode=letter, args=(), settings="", array=array), key=source)

    def constant(self, value: str, array: Array) -> int:
        """Number of a constant; of one with axes only the sizes are kept."""
        settings = _literal(value, array) if not array.dims else "?"
        return self.add(Node(opcode="constant", args=(), settings=settings, array=array))

    def add(self, node: Node, key: object = None) -> int:
        """Number of an instruction; the one it has if there is an equal one."""
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

    def finish(self, roots: Sequence[int]) -> tuple[Recipe, tuple[str, ...]]:
        """The recipe of what ``roots`` need, operands first, and the sources of its operands."""
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
        return recipe, sources


def _signature(node: Node, args: Sequence[str]) -> str:
    """A short text that orders operands: by what they are made of, never by name."""
    if node.opcode in {"d", "w"}:
        return f"{node.opcode}{node.array.dims}"
    inner = ",".join(args)
    text = f"{node.opcode}({inner}){node.settings}{node.array.dims}"
    return text if len(text) < 200 else f"{text[:160]}#{len(text)}"


def _literal(value: str, array: Array) -> str:
    """A number as every writer of it comes to: six digits tell apart all that matters."""
    if value in {"true", "false"} or not array.dtype.startswith(("f", "bf")):
        return value
    return f"{float(value):.6g}"
