"""Which layers each executed instruction carries out, and which instructions belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from costmodel.hlo_model.module import Instruction, Module
from costmodel.runners.tpu_aot.cycles import cycles_of, inside, working

#: Instructions that say nothing about where work is done: constants and renamings, which the
#: compiler copies to wherever they are needed.
_SILENT = frozenset(
    {
        "bitcast", "broadcast", "constant", "convert", "get-tuple-element", "iota", "parameter",
        "reshape", "tuple",
    }
)  # fmt: skip
#: Instructions that hand on what they read.
_HANDING_ON = frozenset({"bitcast", "convert", "copy", "get-tuple-element", "reshape", "tuple"})
#: Changes of storage order: named after one of their neighbours by chance.
_NAMELESS = frozenset({"bitcast", "copy", "reshape"})


@dataclass(slots=True)
class Group:
    """Instructions of the entry that belong together.

    Attributes:
        items: in the order in which they are executed.
        layers: names of the layers that they have part in.
        ends: layers whose steps their results come from directly.
    """

    items: list[Instruction]
    layers: set[str] = field(default_factory=set)
    ends: set[str] = field(default_factory=set)

    @property
    def cycles(self) -> int:
        """Sum of the estimates."""
        return sum(cycles_of(item) or 0 for item in self.items)

    def absorb(self, other: Group) -> None:
        """Take over another group's instructions, which come later."""
        self.items.extend(other.items)
        self.layers |= other.layers
        self.ends |= other.ends


def group(module: Module, layer_of: Callable[[str], str]) -> list[Group]:
    """Group the working instructions of the entry.

    Instructions of which one goes on with what another left unfinished of a layer are one group.
    A change of storage order goes with whoever reads its result first, and so does what the
    compiler gives no estimate for, such as a concatenation of many.

    Args:
        module: the compiled program.
        layer_of: name of the layer that an ``op_name`` lies in; empty for none.
    """
    known = {item.name: _single(item, module, layer_of) for item in working(module)}
    readers = _readers(module, set(known))
    homes = {name: name for name in known}

    def home(name: str) -> str:
        while homes[name] != name:
            name = homes[name]
        return name

    for name in reversed(known):  # readers first, so that a chain of copies ends at its user
        if not known[name].layers and readers[name]:
            homes[name] = home(readers[name][0])
    for name, one in known.items():
        for reader in readers[name]:
            user = known[reader if known[reader].layers else home(reader)]
            is_last_copy = not user.layers and not readers[reader]
            if is_last_copy or one.ends & user.layers:
                homes[home(reader)] = home(name)
    found: dict[str, Group] = {}
    for name, one in known.items():
        found.setdefault(home(name), Group([])).absorb(one)
    return list(found.values())


def _single(item: Instruction, module: Module, layer_of: Callable[[str], str]) -> Group:
    if item.opcode in _NAMELESS or cycles_of(item) is None:
        return Group([item])
    named = {
        layer_of(inner.op_name) for inner in inside(module, item) if inner.opcode not in _SILENT
    }
    return Group([item], named - {""}, _ends(item, module, layer_of) - {""})


def _ends(item: Instruction, module: Module, layer_of: Callable[[str], str]) -> set[str]:
    if item.opcode != "fusion":
        return {layer_of(item.op_name)}
    body = module.computations[item.called[0]]
    waiting = [body.instructions[body.root]]
    found: set[str] = set()
    while waiting:
        inner = waiting.pop()
        if inner.opcode in _HANDING_ON:
            waiting += [body.instructions[name] for name in inner.operands]
        else:
            found |= _ends(inner, module, layer_of)
    return found


def _readers(module: Module, known: set[str]) -> dict[str, list[str]]:
    """Working instructions that read each working one, directly or through free ones."""
    sources: dict[str, dict[str, None]] = {}
    readers: dict[str, list[str]] = {name: [] for name in known}
    for item in module.entry.instructions.values():
        read: dict[str, None] = {}
        for name in item.operands:
            read.update(sources.get(name, {}))
        if item.name in known:
            for source in read:
                readers[source].append(item.name)
            read = {item.name: None}
        sources[item.name] = read
    return readers


def merged(groups: Iterable[Group]) -> Group:
    """One group of several."""
    whole = Group([])
    for one in groups:
        whole.absorb(one)
    return whole
