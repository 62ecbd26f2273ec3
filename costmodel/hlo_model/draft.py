"""Makes recipes: of instructions that XLA compiled, or of ones that rules put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.module import Array, Instruction, Module
from costmodel.hlo_model.recipe import Node, Recipe
from costmodel.hlo_model.vendor_calls import expand, is_known

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
    return _Walk(module, letters).finish(item)


class _Walk:
    """Follows one executed instruction into the computations that it runs."""

    def __init__(self, module: Module, letters: Mapping[str, str]) -> None:
        self._module = module
        self._letters = letters
        self._draft = RecipeDraft()
        self.origins: list[str] = []

    def finish(self, item: Instruction) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
        entry = self._module.entry.instructions
        bound: dict[str, list[int]] = {}
        for name in item.operands:
            bound[name] = [self._operand(name, array) for array in entry[name].arrays[:1]]
            if entry[name].opcode == "constant" and not entry[name].arrays[0].dims:
                bound[name] = [self._constant(entry[name])]
        roots = self._run(item, bound)
        recipe, sources = self._draft.finish(roots)
        return recipe, sources, tuple(self.origins)

    def _operand(self, name: str, array: Array) -> int:
        return self._draft.operand(self._letters.get(name, "d"), array, name)

    def _constant(self, item: Instruction) -> int:
        return self._draft.constant(item.literal, item.arrays[0])

    def _run(self, item: Instruction, bound: Mapping[str, list[int]]) -> list[int]:
        """Numbers of what one instruction gives, its computation inlined."""
        args = [number for name in item.operands for number in bound[name]]
        if item.opcode in {"fusion", "call"}:
            return self._inline(item.called[0], args)
        if is_known(item):
            if item.op_name:
                self.origins.append(item.op_name)
            return [expand(item, args, self._draft)]
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
            self._draft.add(
                Node(opcode=item.opcode, args=tuple(args), settings=settings, array=array),
                key=index if index else None,
            )
            for index, array in enumerate(item.arrays)
        ]

    def _reducer(self, item: Instruction) -> str:
        inner = self._module.computations[item.called[0]]
        # Narrow types are widened for the sum and narrowed again: that is not what is asked here.
        around = {"convert", "parameter"}
        joins = {i.opcode for i in inner.instructions.values()} - around
        return joins.pop() if len(joins) == 1 else inner.instructions[inner.root].opcode

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
