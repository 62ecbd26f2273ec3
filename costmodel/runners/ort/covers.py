"""Finds which layers as written each executed kernel carries out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush

import onnx

from costmodel.onnx_model.walk import node_titles

#: Kernels that only change how a tensor is stored; where the runtime added one, it stands for no
#: layer and the tensor that it writes belongs to the kernel before it.
_LAYOUT = frozenset({"Cast", "ReorderInput", "ReorderOutput", "Transpose"})
#: What the runtime adds to the name of a tensor or node to name what it made of it: a cast to a
#: type that it has a kernel for, a number, a blocked kernel (of a normalisation or a product too).
_CAST = "InsertedPrecisionFreeCast_"
_TOKEN = re.compile(r"_token_\d+$")
_BLOCKED = ("", "_nchwc", "_bn_nchwc", "_mul_nchwc")
#: Activations that quantised networks need no kernel for, and the kernels that apply them.
_RANGES = frozenset({"Clip", "Relu"})
_INTEGER = ("QLinear", "QGemm", "QuantizeLinear")
_SUMS = frozenset({"add", "sum"})


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: kernels that keep their node are recognised by it."""
    for node, title in zip(graph.node, node_titles(enumerate(graph.node)), strict=True):
        node.name = title


def find_covers(written: onnx.GraphProto, executed: onnx.GraphProto) -> dict[int, tuple[str, ...]]:
    """Names of the written nodes that each executed node, by position, carries out.

    A kernel keeps the tensor it writes, the name of its node, or (in a blocked layout) a name made
    from the tensor it stands for. A sum and an activation that it took in come after that tensor;
    whatever else has no kernel of its own was folded into the next one, or into the last.

    Args:
        written: the model as loaded, its nodes named by ``name_nodes``.
        executed: the runtime's graph, its nodes named by the runtime.
    """
    walk = _Walk(written)
    producer = {o: i for i, node in enumerate(executed.node) for o in node.output if o}
    for index, node in enumerate(executed.node):
        anchor = walk.anchor(node)
        if anchor is None:
            continue
        home = index
        while _is_added(executed.node[home], written.node[anchor]):
            before = producer.get(executed.node[home].input[0])
            if before is None:
                break
            home = before
        walk.settle(anchor, home)
        walk.settle_epilogue(anchor, home, executed.node[home])
        walk.settle_range(anchor, home, executed.node[home])
    walk.settle_rest()
    found: dict[int, list[str]] = defaultdict(list)
    for position, node in enumerate(written.node):
        if position in walk.home:
            found[walk.home[position]].append(node.name)
    return {index: tuple(names) for index, names in found.items()}


def in_written_order(
    written: onnx.GraphProto, executed: onnx.GraphProto, covers: Mapping[int, tuple[str, ...]]
) -> list[int]:
    """Positions of the executed nodes in an order that is the same every time.

    The runtime writes independent branches in any order. Each kernel comes as soon as it can run,
    those of earlier layers first; kernels that stand for no layer follow the one they read.
    """
    place = {node.name: float(i) for i, node in enumerate(written.node)}
    producer = {o: i for i, node in enumerate(executed.node) for o in node.output if o}
    reads = [{producer[n] for n in _read_by(node) if n in producer} for node in executed.node]
    keys = [
        max((place[name] for name in covers.get(i, ())), default=-1.0) for i in range(len(reads))
    ]
    for index, before in enumerate(reads):
        if keys[index] < 0:
            keys[index] = max((keys[i] for i in before), default=-1.0) + 0.5
    readers: dict[int, list[int]] = defaultdict(list)
    for index, before in enumerate(reads):
        for item in before:
            readers[item].append(index)
    waits = [len(before) for before in reads]
    ready = [(keys[i], executed.node[i].op_type, i) for i, count in enumerate(waits) if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        index = heappop(ready)[2]
        order.append(index)
        for reader in readers[index]:
            waits[reader] -= 1
            if not waits[reader]:
                heappush(ready, (keys[reader], executed.node[reader].op_type, reader))
    return order


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Tensors that a node reads, those of graphs inside it included."""
    yield from node.input
    for item in node.attribute:
        for graph in (item.g, *item.graphs):
            for inner in graph.node:
                yield from _read_by(inner)


def _is_added(executed: onnx.NodeProto, written: onnx.NodeProto) -> bool:
    """Whether the runtime put this kernel behind the one that carries out ``written``."""
    return executed.op_type in _LAYOUT and executed.op_type != written.op_type


def _origins(name: str) -> Iterator[str]:
    """Names that the runtime may have made ``name`` from, the likeliest first."""
    yield name
    plain = _TOKEN.sub("", name.removeprefix(_CAST))
    yield from (plain.removesuffix(ending) for ending in _BLOCKED if plain.endswith(ending))


class _Walk:
    """Settles written nodes, by position, on executed ones."""

    def __init__(self, written: onnx.GraphProto) -> None:
        self.nodes = written.node
        self.home: dict[int, int] = {}
        self.ranges: dict[int, int] = {}
        self._by_name = {node.name: i for i, node in enumerate(written.node)}
        self._writer = {o: i for i, node in enumerate(written.node) for o in node.output if o}
        self._readers: Mapping[str, list[int]] = defaultdict(list)
        for index, node in enumerate(written.node):
            for name in node.input:
                self._readers[name].append(index)

    def anchor(self, kernel: onnx.NodeProto) -> int | None:
        """The written node whose tensor or name an executed one kept."""
        for name in kernel.output:
            if name in self._writer:
                return self._writer[name]
        for name in (*kernel.output, kernel.name):
            for known in _origins(name):
                found = self._by_name.get(known, self._writer.get(known))
                if found is not None:
                    return found
        return None

    def settle(self, position: int, home: int) -> None:
        """Keep the first home that a written node is given."""
        self.home.setdefault(position, home)

    def settle_epilogue(self, anchor: int, home: int, kernel: onnx.NodeProto) -> None:
        """Settle the sum and the activation that a blocked convolution took in."""
        if kernel.op_type != "Conv" or kernel.domain in {"", "ai.onnx"}:
            return
        if len(kernel.input) > 3:
            anchor = self._follow(anchor, _SUMS, home)
        for item in kernel.attribute:
            activation = item.s.decode().lower() if item.name == "activation" else ""
            if activation and self.nodes[anchor].op_type.lower() != activation:
                self._follow(anchor, frozenset({activation}), home)

    def settle_range(self, anchor: int, home: int, kernel: onnx.NodeProto) -> None:
        """Settle an activation that the range of an integer kernel's result applies.

        Only once every kernel is known: one with a kernel of its own belongs to that.
        """
        if not kernel.op_type.startswith(_INTEGER):
            return
        for output in self.nodes[anchor].output:
            readers = self._readers[output]
            if len(readers) == 1 and self.nodes[readers[0]].op_type in _RANGES:
                self.ranges.setdefault(readers[0], home)

    def _follow(self, start: int, kinds: frozenset[str], home: int) -> int:
        """Settle the next node of one of ``kinds`` and return it; ``start`` where there is none."""
        for position in self._after(start):
            if position not in self.home and self.nodes[position].op_type.lower() in kinds:
                self.settle(position, home)
                return position
        return start

    def _after(self, start: int) -> Iterator[int]:
        """Nodes behind ``start``, through those that read nothing but it."""
        tensors = list(self.nodes[start].output)
        while tensors:
            readers = [reader for name in tensors for reader in self._readers[name]]
            yield from readers
            tensors = list(self.nodes[readers[0]].output) if len(readers) == 1 else []

    def settle_rest(self) -> None:
        """Settle what has no kernel of its own: with the next kernel, else with the last."""
        for position, home in self.ranges.items():
            self.settle(position, home)
        for position, node in reversed(list(enumerate(self.nodes))):
            heirs = [r for o in node.output for r in self._readers[o] if r in self.home]
            if position not in self.home and heirs:
                self.settle(position, self.home[heirs[0]])
        for position, node in enumerate(self.nodes):
            before = [self._writer.get(name, -1) for name in node.input]
            homes = [self.home[i] for i in before if i in self.home]
            if position not in self.home and homes:
                self.settle(position, homes[-1])
