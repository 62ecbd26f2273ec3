"""A network that rewriting rules can change in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from costmodel.network import Layer, Network
from costmodel.op import Attribute, Op


@dataclass(slots=True, eq=False)
class Node:
    """One kernel while it is being decided.

    Attributes:
        name: unique.
        op_type: the operator's ONNX name.
        op: its work so far.
        reads: activation tensors, one per entry of ``op.inputs``.
        writes: tensors written, one per entry of ``op.outputs``.
        covers: layers as written that it carries out.
        domain: operator domain; empty for standard operators.
        marks: what the reader noted beside the work: ``overridable`` weights, a number for
            ``weights`` that another layer has too, a factor that is one ``number``, the
            name of an ``operator`` that is none of the standard's, an ``auto_pad`` rule.
    """

    name: str
    op_type: str
    op: Op
    reads: list[str]
    writes: list[str]
    covers: list[str] = field(default_factory=list)
    domain: str = ""
    marks: dict[str, Attribute] = field(default_factory=dict)

    @property
    def fixed(self) -> bool:
        """Whether its weights are constants that may be folded and reordered."""
        return "overridable" not in self.marks

    @property
    def out(self) -> str:
        """First tensor written."""
        return self.writes[0]


class Graph:
    """Nodes with their wiring; every change keeps producers and readers up to date.

    Args:
        nodes: in an order in which they can run.
        inputs: tensors fed.
        outputs: tensors returned.
    """

    def __init__(
        self, nodes: Iterable[Node], inputs: Iterable[str], outputs: Iterable[str]
    ) -> None:
        self.nodes: dict[str, Node] = {node.name: node for node in nodes}
        self.inputs = frozenset(inputs)
        self.outputs = list(outputs)
        self.returned = frozenset(self.outputs)
        self.producer: dict[str, Node] = {}
        self.readers: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            self._link(node)

    def _link(self, node: Node) -> None:
        for name in node.writes:
            self.producer[name] = node
        for name in node.reads:
            self.readers.setdefault(name, []).append(node)

    def uses(self, tensor: str) -> int:
        """How often ``tensor`` is read, being returned counted as one."""
        return len(self.readers.get(tensor, ())) + (tensor in self.returned)

    def sole_reader(self, node: Node) -> Node | None:
        """The one reader of all that ``node`` writes; ``None`` if there are others."""
        if any(self.uses(name) for name in node.writes[1:]):
            return None
        readers = self.readers.get(node.out, ())
        return readers[0] if len(readers) == 1 and node.out not in self.returned else None

    def add(self, node: Node) -> None:
        """Add a node."""
        self.nodes[node.name] = node
        self._link(node)

    def remove(self, node: Node) -> None:
        """Take a node out; what it wrote is left without a producer."""
        del self.nodes[node.name]
        for name in node.reads:
            self.readers[name].remove(node)
        for name in node.writes:
            if self.producer.get(name) is node:
                del self.producer[name]

    def rewire(self, node: Node, *, reads: list[str], writes: list[str]) -> None:
        """Change what a node reads and writes."""
        self.remove(node)
        node.reads, node.writes = reads, writes
        self.add(node)

    def absorb(self, node: Node, later: Node) -> None:
        """``node`` takes over what its reader ``later`` writes, and ``later`` goes."""
        self.remove(later)
        node.covers += later.covers
        self.rewire(node, reads=node.reads, writes=list(later.writes[:1]))

    def hand_on(self, node: Node, later: Node) -> None:
        """``later`` does what its first operand ``node`` did, by its ``op`` of now; that goes."""
        later.covers = node.covers + later.covers
        self.remove(node)
        reads = [node.reads[0], *later.reads[1 : len(later.op.inputs)]]
        self.rewire(later, reads=reads, writes=later.writes)

    def bypass(self, node: Node) -> bool:
        """Drop a node that changes nothing; ``False`` where the border of the model needs it."""
        source = node.reads[0]
        before = self.producer.get(source)
        if node.out in self.returned:
            if before is None or self.uses(source) != 1 or self.uses(node.out) != 1:
                return False
            self.remove(node)
            before.covers += node.covers
            renamed = [node.out if name == source else name for name in before.writes]
            self.rewire(before, reads=before.reads, writes=renamed)
            return True
        readers = list(self.readers.get(node.out, ()))
        self.remove(node)
        for reader in dict.fromkeys(readers):
            reads = [source if name == node.out else name for name in reader.reads]
            self.rewire(reader, reads=reads, writes=reader.writes)
        return True

    def replace_by_source(self, node: Node, source: str) -> bool:
        """Drop a node whose result equals the tensor ``source``, further up than what it reads.

        A result that the model returns keeps its name: what writes ``source`` writes it instead.

        Returns:
            ``False`` where nothing can write it: ``source`` is an input or returned itself.
        """
        target = node.out
        before = self.producer.get(source)
        kept, gone = source, target
        if target in self.returned:
            if before is None or source in self.returned:
                return False
            kept, gone = target, source
        self.remove(node)
        if before is not None:
            before.covers += node.covers
            writes = [kept if name == gone else name for name in before.writes]
            self.rewire(before, reads=before.reads, writes=writes)
        for reader in list(dict.fromkeys(self.readers.get(gone, ()))):
            reads = [kept if name == gone else name for name in reader.reads]
            self.rewire(reader, reads=reads, writes=reader.writes)
        return True

    def ordered(self) -> list[Node]:
        """Nodes in an order in which they can run, as close to the present one as possible."""
        done: set[str] = set()
        result: list[Node] = []
        for root in self.nodes.values():
            stack = [root]
            while stack:
                node = stack[-1]
                if node.name in done:
                    stack.pop()
                    continue
                before = (self.producer.get(name) for name in node.reads)
                waiting = [item for item in before if item is not None and item.name not in done]
                if waiting:
                    stack.extend(reversed(waiting))
                else:
                    done.add(node.name)
                    result.append(stack.pop())
        return result


def graph_from(network: Network, op_types: Iterable[str]) -> Graph:
    """A changeable copy of a network as written.

    Args:
        network: from a reader.
        op_types: the operator's ONNX name of each layer.
    """
    nodes = (
        Node(
            name=layer.name,
            op_type=op_type,
            op=layer.op,
            reads=list(layer.inputs),
            writes=list(layer.outputs),
            covers=list(layer.covers or (layer.name,)),
        )
        for layer, op_type in zip(network.layers, op_types, strict=True)
    )
    return Graph(nodes, network.inputs, network.outputs)


def layers_from(graph: Graph) -> tuple[Layer, ...]:
    """The executed layers, in running order."""
    return tuple(
        Layer(
            name=node.name,
            op=node.op,
            inputs=tuple(node.reads),
            outputs=tuple(node.writes),
            covers=tuple(node.covers),
        )
        for node in graph.ordered()
    )
