"""Makes recipes of instructions that XLA compiled, with the computations that they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.draft import RecipeDraft
from costmodel.hlo_model.module import Array, Instruction, Module, whole_text
from costmodel.hlo_model.recipe import Node, Recipe
from costmodel.hlo_model.vendor_calls import expand, is_known

#: Attributes that say what an instruction computes; all others are hints or names.
_SETTINGS = (
    "dimensions", "window", "dim_labels", "feature_group_count", "batch_group_count",
    "lhs_batch_dims", "rhs_batch_dims", "lhs_contracting_dims", "rhs_contracting_dims",
    "padding", "slice", "direction", "iota_dimension", "offset_dims", "collapsed_slice_dims",
    "start_index_map", "index_vector_dim", "slice_sizes", "dynamic_slice_sizes",
)  # fmt: skip
#: Instructions that run another computation element by element: told by its one instruction.
_REDUCERS = frozenset({"reduce", "reduce-window"})
#: Instructions of one kernel, computations inside written out: no compiler makes a tenth of it, but
#: computations that call each other twice stand for any number.
_MOST_STEPS = 200_000


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
        InvalidInputError: if it runs a loop or a branch, whose work depends on data, or if the text
            is not as XLA prints it.
    """
    with whole_text():
        return _Walk(module, letters).finish(item)


class _Walk:
    """Follows one executed instruction into the computations that it runs."""

    def __init__(self, module: Module, letters: Mapping[str, str]) -> None:
        self._module = module
        self._letters = letters
        self._draft = RecipeDraft()
        self._steps = 0
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
        self._steps += 1
        if self._steps > _MOST_STEPS:
            message = f"{item.name!r} stands for more than {_MOST_STEPS:,} instructions."
            raise InvalidInputError(message)
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
        settings = item.settings(_SETTINGS)
        if item.opcode in _REDUCERS:
            settings = f"{settings};with={self._reducer(item)}"
        if item.opcode in {"custom-call", "custom_call"}:
            settings = f"{settings};target={item.target}".lstrip(";")
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
