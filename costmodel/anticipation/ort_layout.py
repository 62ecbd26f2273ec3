"""Keeps account of which tensors ONNX Runtime holds in its blocked NCHWc layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Op, Shape

NCHWC = "com.microsoft.nchwc"
TO_NHWC, FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(slots=True, kw_only=True)
class Blocked:
    """A tensor of the original graph that now exists in the blocked layout.

    Attributes:
        node: the kernel that writes it.
        tensor: its blocked name.
        logical: its sizes before padding.
        starting_uses: readers when it was made, being returned counted as one.
        uses: readers that still want the plain layout.
    """

    node: Node
    tensor: str
    logical: Shape
    starting_uses: int
    uses: int


class Layout:
    """The blocked tensors of one graph; rules move kernels into the layout through it.

    Args:
        graph: changed in place.
        block: channels per block.
    """

    def __init__(self, graph: Graph, block: int) -> None:
        self.graph = graph
        self.block = block
        #: By original tensor name.
        self.blocked: dict[str, Blocked] = {}
        #: Blocked copy that a ReorderInput made of a plain tensor, by its name.
        self._copies: dict[str, str] = {}
        #: Transposes that a ReorderInput reads past.
        self._passed: list[Node] = []

    def padded(self, channels: int) -> int:
        """``channels`` rounded up to whole blocks."""
        return -(-channels // self.block) * self.block

    def physical(self, shape: Shape) -> Shape:
        """Sizes of a tensor in the blocked layout."""
        return (shape[0], self.padded(shape[1]), *shape[2:])

    def inputs(self, node: Node) -> list[Blocked] | None:
        """All inputs of a kernel, if all are blocked and it reads nothing else."""
        if not node.reads or node.op.weights or node.op.constants:
            return None
        found = [item for name in node.reads if (item := self.blocked.get(name)) is not None]
        return found if len(found) == len(node.reads) else None

    def enter(self, node: Node) -> None:
        """``node`` writes its first output in the blocked layout from now on."""
        original, logical = node.out, node.op.outputs[0]
        uses = self.graph.uses(original)
        tensor = f"{original}/blocked"
        node.op = replace(node.op, outputs=(self.physical(logical),))
        self.graph.rewire(node, reads=node.reads, writes=[tensor])
        self.record(original, node, tensor, logical, uses)

    def record(self, original: str, node: Node, tensor: str, logical: Shape, uses: int) -> None:
        """``tensor``, written by ``node``, is ``original`` in the blocked layout."""
        self.blocked[original] = Blocked(
            node=node, tensor=tensor, logical=logical, starting_uses=uses, uses=uses
        )

    def take(self, node: Node, index: int = 0) -> None:
        """Let ``node`` read its ``index``-th input blocked, converting it if nothing else did."""
        original = node.reads[index]
        found = self.blocked.get(original)
        reads = list(node.reads)
        if found is not None:
            reads[index] = found.tensor
            found.uses -= 1
        else:
            reads[index] = self._copies.get(original) or self._reorder(node, index)
        sizes = list(node.op.inputs)
        sizes[index] = self.physical(sizes[index])
        node.op = replace(node.op, inputs=tuple(sizes))
        self.graph.rewire(node, reads=reads, writes=node.writes)

    def join(self, node: Node) -> None:
        """Let a kernel work on blocked tensors as it would on plain ones."""
        for index in range(len(node.reads)):
            self.take(node, index)
        self.enter(node)

    def merge(self, node: Node, into: Blocked) -> None:
        """``node`` is now part of the convolution ``into``, which writes its output."""
        uses = self.graph.uses(node.out)
        self.graph.remove(node)
        into.node.covers += node.covers
        self.record(node.out, into.node, into.tensor, into.logical, uses)

    def view(self, source: str, suffix: str, op: Op) -> Node:
        """Insert a Reshape after the tensor ``source``."""
        tensor, count = f"{source}/{suffix}", 1
        while tensor in self.graph.producer:
            count += 1
            tensor = f"{source}/{suffix}{count}"
        node = Node(name=tensor, op_type="Reshape", op=op, reads=[source], writes=[tensor])
        self.graph.add(node)
        return node

    def finish(self) -> None:
        """Convert back what is still wanted plain, and drop Transposes that nothing reads."""
        for original, item in self.blocked.items():
            if item.uses <= 0:
                continue
            op = Op(
                kind="reorder_output",
                inputs=(self.physical(item.logical),),
                outputs=(item.logical,),
                attributes=(("channels", item.logical[1]), ("channels_last", 0)),
            )
            self._insert(original, "ReorderOutput", op, item.tensor)
        for node in self._passed:
            if not self.graph.uses(node.out):
                self.graph.remove(node)

    def _reorder(self, node: Node, index: int) -> str:
        """Insert a ReorderInput.

        Seen: a Transpose from channels-last is read past if this is its only reader.
        """
        original, logical = node.reads[index], node.op.inputs[index]
        source, size, last = original, logical, 0
        before = self.graph.producer.get(original)
        alone = self.graph.uses(original) == 1
        if before is not None and alone and is_transpose(before, FROM_NHWC):
            source, size, last = before.reads[0], before.op.inputs[0], 1
            self._passed.append(before)
        tensor = f"{original}/reordered"
        op = Op(
            kind="reorder_input",
            inputs=(size,),
            outputs=(self.physical(logical),),
            attributes=(("channels_last", last),),
        )
        self._insert(tensor, "ReorderInput", op, source)
        self._copies[original] = tensor
        return tensor

    def _insert(self, tensor: str, kind: str, op: Op, source: str) -> None:
        node = Node(
            name=f"{tensor}/{op.kind}",
            op_type=kind,
            op=op,
            reads=[source],
            writes=[tensor],
            domain=NCHWC,
        )
        self.graph.add(node)


def is_blocked_conv(node: Node) -> bool:
    """Whether ``node`` is a convolution in the blocked layout."""
    return node.domain == NCHWC and node.op_type == "Conv"


def is_transpose(node: Node, permutation: tuple[int, ...]) -> bool:
    """Whether ``node`` is this Transpose."""
    return node.op_type == "Transpose" and node.op.attribute("perm") == permutation
