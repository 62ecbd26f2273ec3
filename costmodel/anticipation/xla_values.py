"""HLO values while rules decide which of them are stored and which computed where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from costmodel.hlo_model.draft import RecipeDraft
from costmodel.hlo_model.module import Array
from costmodel.hlo_model.recipe import Node, Recipe
from costmodel.op import Shape

#: Instructions that XLA computes once and stores rather than in each of their readers.
EXPENSIVE = frozenset(
    {"divide", "erf", "exponential", "log", "power", "reduce", "rsqrt", "sqrt", "tanh"}
)
#: Instructions that have a kernel of their own and take nothing in.
ALONE = frozenset({"concatenate", "convolution", "dot", "reduce-window"})
#: Instructions that end a kernel: what reads them reads memory.
ENDS = frozenset({*ALONE, "pad"})


@dataclass(slots=True, eq=False)
class Value:
    """What one instruction gives.

    Attributes:
        opcode: as in HLO; ``d`` and ``w`` for what is fed.
        args: what it reads.
        array: its type and sizes.
        settings: as in a recipe.
        layer: name of the layer as written that it belongs to; empty for what is fed.
        kernel: the runtime's name of the kernel that computes it, where it has one of its own.
        free: a stored value under another shape: no kernel runs for it.
        stored: whether it is written to memory.
        shared: whether what reads it reads memory; else it computes it again.
        users: what reads it.
    """

    opcode: str
    args: tuple[Value, ...]
    array: Array
    settings: str = ""
    layer: str = ""
    kernel: str = "loop:fusion"
    free: bool = False
    stored: bool = False
    shared: bool = False
    users: list[Value] = field(default_factory=list)

    @property
    def is_fed(self) -> bool:
        """Whether it is there before the program runs."""
        return self.opcode in {"d", "w"}

    @property
    def dims(self) -> Shape:
        """Sizes."""
        return self.array.dims


class Values:
    """All values of a network in running order.

    Args:
        dtype: XLA's name of the program's float type.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.all: list[Value] = []
        self.layer = ""

    def array(self, dims: Sequence[int]) -> Array:
        """A plainly stored array of floats."""
        return Array(dtype=self.dtype, dims=tuple(dims), order=tuple(range(len(dims))))

    def add(self, opcode: str, *args: Value, dims: Sequence[int] | None = None,
            settings: str = "", kernel: str = "loop:fusion") -> Value:  # fmt: skip
        """A new value; its sizes are those of its first operand unless given."""
        array = self.array(args[0].dims if dims is None else dims)
        value = Value(opcode, args, array, settings, self.layer, kernel)
        for arg in args:
            arg.users.append(value)
        self.all.append(value)
        return value

    def fed(self, letter: str, dims: Sequence[int]) -> Value:
        """An input (``d``) or a weight (``w``)."""
        return self.add(letter, dims=dims)

    def number(self, value: float, dims: Sequence[int] = ()) -> Value:
        """A number, repeated over ``dims``."""
        scalar = self.add("constant", dims=(), settings=f"{value:.6g}")
        return self.spread(scalar, dims, ()) if dims else scalar

    def spread(self, value: Value, dims: Sequence[int], axes: Sequence[int]) -> Value:
        """``value`` repeated; its axes become ``axes`` of the result."""
        text = f"dimensions={{{','.join(map(str, axes))}}}"
        return self.add("broadcast", value, dims=dims, settings=text)

    def view(self, value: Value, dims: Sequence[int]) -> Value:
        """``value`` under other sizes with its elements in the same order."""
        if tuple(dims) == value.dims:
            return value
        return self.add("bitcast", value, dims=dims)

    def matched(self, value: Value, dims: Shape) -> Value:
        """``value`` as wide as ``dims``, with which it broadcasts axis by axis."""
        if value.dims == dims:
            return value
        wide = (1,) * (len(dims) - len(value.dims)) + value.dims
        axes = [i for i, size in enumerate(wide) if size == dims[i] and (size > 1)]
        if prod(wide) == prod(dims):
            return self.view(value, dims)
        return self.spread(self.view(value, [dims[i] for i in axes]), dims, axes)

    def settle(self, outputs: Iterable[Value]) -> None:
        """Decide which values are stored.

        A kernel of its own stores its result and reads stored operands. Everything else is computed
        where it is read, as often as it is read, unless it is expensive and either read more than
        once or repeated by a broadcast on the way.
        """
        for value in outputs:
            value.stored = True
        repeated: set[int] = set()
        copies: dict[int, int] = {}
        for value in reversed(self.all):
            live = [user for user in value.users if id(user) in self._live]
            if any(u.opcode == "broadcast" or (id(u) in repeated and not u.shared) for u in live):
                repeated.add(id(value))
            readers = [u for u in live if u.opcode in ALONE or u.free]
            value.stored |= bool(readers)
            copies[id(value)] = sum(_kernels_at(u, copies) for u in live if u not in readers)
            if value.is_fed or value.opcode == "constant":
                value.stored = False
                continue
            costly = value.opcode in EXPENSIVE and (
                id(value) in repeated or copies[id(value)] + value.stored > 1
            )
            value.shared = value.free or value.opcode in ENDS or costly
            value.stored |= value.shared
            value.free |= value.stored and value.opcode == "bitcast" and _is_alias(value)

    def prune(self, outputs: Sequence[Value]) -> None:
        """Forget values that no output needs."""
        self._live: set[int] = set()
        waiting = list(outputs)
        while waiting:
            value = waiting.pop()
            if id(value) not in self._live:
                self._live.add(id(value))
                waiting += value.args
        self.all = [value for value in self.all if id(value) in self._live]

    def kernels(self) -> list[Value]:
        """Values that a kernel writes, in running order."""
        return [value for value in self.all if value.stored and not value.free]


def _kernels_at(user: Value, copies: Mapping[int, int]) -> int:
    """Kernels that compute what ``user`` reads: its own, and those that compute it again."""
    return int(user.stored) + (0 if user.shared else copies[id(user)])


def _is_alias(value: Value) -> bool:
    """Whether a stored view is of something in memory; a vector that a product reads is copied."""
    source = value.args[0]
    if source.opcode == "w":
        return True
    column = len(value.dims) == 2 and value.dims[1] == 1
    copied = column and any(user.opcode == "dot" for user in value.users)
    return not copied and (source.is_fed or source.opcode in ENDS)


def recipe_of_kernel(root: Value) -> tuple[Recipe, tuple[Value, ...], tuple[str, ...]]:
    """What the kernel that writes ``root`` computes.

    Returns:
        Its recipe, the stored or fed values that it reads, and the layers that it carries out.
    """
    draft = RecipeDraft()
    numbers: dict[int, int] = {}
    read: dict[str, Value] = {}
    layers: dict[str, None] = {}

    def number(value: Value, *, read_back: bool = False) -> int:
        if id(value) in numbers:
            return numbers[id(value)]
        in_memory = value.is_fed or value.shared or (value.stored and read_back)
        if value is not root and in_memory:
            letter = "w" if _origin(value).opcode == "w" else "d"
            read[str(id(value))] = value
            numbers[id(value)] = draft.operand(letter, value.array, str(id(value)))
        elif value.opcode == "constant":
            numbers[id(value)] = draft.constant(value.settings, value.array)
        else:
            alone = value.opcode in ALONE
            args = tuple(number(arg, read_back=alone) for arg in value.args)
            if value.opcode != "bitcast":
                layers.setdefault(value.layer)
            node = Node(opcode=value.opcode, args=args, settings=value.settings, array=value.array)
            numbers[id(value)] = draft.add(node)
        return numbers[id(value)]

    recipe, sources = draft.finish([number(root)])
    covers = tuple(layers) or tuple(filter(None, (_origin(root).layer,)))
    return recipe, tuple(read[source] for source in sources), covers


def _origin(value: Value) -> Value:
    while value.opcode == "bitcast":
        value = value.args[0]
    return value
