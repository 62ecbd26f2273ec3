"""The blocked NCHWc layout: which kernels ONNX Runtime moves into it, and where it converts.

A tensor in this layout has its channels padded to the block (16 on AVX-512, 8 on AVX2). The
runtime walks the graph once, in running order. Convolutions and pools enter the layout by
themselves, with a ReorderInput before them if their input is not in it yet; other kernels join only
if all of their inputs are in it already. At the end every blocked tensor that a plain kernel or
the caller still wants gets one ReorderOutput.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from costmodel.fusion.graph import Graph, Node
from costmodel.fusion.ort_fold import channel_sizes, reshape_op
from costmodel.op import Op, Shape

NCHWC = "com.microsoft.nchwc"
#: ReorderInput copies four channels at a time; with others a convolution stays plain.
_ALIGNMENT = 4
_TO_NHWC, _FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
#: Kernels that work on blocked tensors as on plain ones. LeakyRelu, Clip and Elu were seen not to.
_ACTIVATIONS = frozenset({"Gelu", "HardSigmoid", "QuickGelu", "Relu", "Sigmoid", "Tanh"})
#: Of these, the ones that a blocked convolution takes in.
_FUSED = frozenset({"HardSigmoid", "Relu", "Sigmoid", "Tanh"})
#: Coordinate rules for which there is a blocked Upsample, per interpolation.
_UPSAMPLES = {
    "linear": frozenset({"align_corners", "asymmetric", "half_pixel"}),
    "nearest": frozenset({"asymmetric"}),
}


@dataclass(slots=True, kw_only=True)
class _Blocked:
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


class Blocking:
    """One walk over a graph.

    Args:
        graph: changed in place.
        block: channels per block.
    """

    def __init__(self, graph: Graph, block: int) -> None:
        self._graph = graph
        self._block = block
        self._blocked: dict[str, _Blocked] = {}
        #: Blocked copy of a plain tensor, by its name.
        self._copies: dict[str, str] = {}

    def run(self) -> None:
        """Move what can be moved, then convert back what is still wanted plain."""
        for node in self._graph.ordered():
            rule = self._rule(node)
            if rule is not None and node.op.dtype == "float32" and len(node.op.outputs[0]) == 4:
                rule(node)
        self._convert_back()
        self._drop_idle_transposes()

    def _rule(self, node: Node) -> Callable[[Node], None] | None:
        rules: dict[str, Callable[[Node], None]] = {
            "Add": self._add,
            "BatchNormalization": self._batch_norm,
            "Concat": self._concat,
            "Conv": self._conv,
            "FusedConv": self._conv,
            "Mul": self._mul,
            "Resize": self._resize,
            "Sum": self._add,
            "Transpose": self._transpose,
            "Upsample": self._resize,
        }
        if node.op_type in _POOLS:
            return self._pool
        return self._activation if node.op_type in _ACTIVATIONS else rules.get(node.op_type)

    def _padded(self, channels: int) -> int:
        return -(-channels // self._block) * self._block

    def _physical(self, shape: Shape) -> Shape:
        return (shape[0], self._padded(shape[1]), *shape[2:])

    def _enter(self, node: Node) -> None:
        """Record that ``node`` writes its first output in the blocked layout from now on."""
        original, logical = node.out, node.op.outputs[0]
        uses = self._graph.uses(original)
        tensor = f"{original}/blocked"
        node.op = replace(node.op, outputs=(self._physical(logical),))
        self._graph.rewire(node, reads=node.reads, writes=[tensor])
        self._blocked[original] = _Blocked(
            node=node, tensor=tensor, logical=logical, starting_uses=uses, uses=uses
        )

    def _take(self, node: Node, index: int = 0) -> None:
        """Let ``node`` read its ``index``-th input blocked, converting it if nothing else did."""
        original = node.reads[index]
        found = self._blocked.get(original)
        reads = list(node.reads)
        if found is not None:
            reads[index] = found.tensor
            found.uses -= 1
        else:
            reads[index] = self._copies.get(original) or self._reorder(node, index)
        sizes = list(node.op.inputs)
        sizes[index] = self._physical(sizes[index])
        node.op = replace(node.op, inputs=tuple(sizes))
        self._graph.rewire(node, reads=reads, writes=node.writes)

    def _reorder(self, node: Node, index: int) -> str:
        """Insert a ReorderInput; it reads channels-last tensors past their Transpose."""
        original, logical = node.reads[index], node.op.inputs[index]
        source, size, last = original, logical, 0
        before = self._graph.producer.get(original)
        alone = self._graph.uses(original) == 1
        if before is not None and alone and _is_transpose(before, _FROM_NHWC):
            source, size, last = before.reads[0], before.op.inputs[0], 1
        tensor = f"{original}/reordered"
        op = Op(
            kind="reorder_input",
            inputs=(size,),
            outputs=(self._physical(logical),),
            attributes=(("channels_last", last),),
        )
        self._insert(tensor, "ReorderInput", op, source)
        self._copies[original] = tensor
        return tensor

    def _insert(self, tensor: str, kind: str, op: Op, source: str) -> None:
        self._graph.add(
            Node(
                name=f"{tensor}/{op.kind}",
                op_type=kind,
                op=op,
                reads=[source],
                writes=[tensor],
                domain=NCHWC,
            )
        )

    def _conv(self, node: Node) -> None:
        """Convolutions enter where their channels allow.

        Seen, for block B: ungrouped with fewer than B input channels reads the plain layout
        directly; ungrouped otherwise needs input channels divisible by 4; depthwise (one filter
        per channel) needs channels divisible by 4; grouped needs input channels per group and
        output channels per group divisible by B. Output channels alone are free: they are padded.
        """
        op = node.op
        if not node.fixed or not op.weights or len(op.weights[0]) != 4 or len(op.inputs) > 1:
            return
        out_channels, in_channels, *kernel = op.weights[0]
        groups, filter_in, takes = op.groups, in_channels, True
        if op.groups > 1:
            if out_channels % _ALIGNMENT:
                return
            if in_channels == 1 and out_channels == op.groups:
                groups = self._padded(out_channels)
            elif in_channels % self._block or (out_channels // op.groups) % self._block:
                return
        elif in_channels < self._block:
            takes = False
        elif in_channels % _ALIGNMENT:
            return
        else:
            filter_in = self._padded(in_channels)
        padded = self._padded(out_channels)
        weights = ((padded, filter_in, *kernel), *((padded,) for _ in op.weights[1:]))
        node.op = replace(op, weights=weights, groups=groups)
        node.op_type, node.domain = "Conv", NCHWC
        if takes:
            self._take(node)
        self._enter(node)

    def _pool(self, node: Node) -> None:
        """Pools enter where their channels fill whole blocks; not with a second output.

        Seen: a global pool does not enter after a plain kernel, only after a blocked one or at the
        model's input.
        """
        if len(node.writes) > 1 or node.op.inputs[0][1] % self._block:
            return
        source = node.reads[0]
        plain = source not in self._blocked and source in self._graph.producer
        if node.op_type.startswith("Global") and plain:
            return
        node.domain = NCHWC
        self._take(node)
        self._enter(node)

    def _inputs(self, node: Node) -> list[_Blocked] | None:
        """All inputs of a kernel, if all are blocked and nothing else is read."""
        found = [self._blocked.get(name) for name in node.reads]
        if not found or node.op.weights or node.op.constants:
            return None
        return [item for item in found if item is not None] if all(found) else None

    def _join(self, node: Node) -> None:
        """Let a kernel work on blocked tensors as they are."""
        for index in range(len(node.reads)):
            self._take(node, index)
        self._enter(node)

    def _add(self, node: Node) -> None:
        """Add and Sum join; one of two operands is added by the convolution that makes the other.

        Seen: the first operand is tried first; the convolution must have no other reader, no
        activation, and no sum yet. Operands of different spatial sizes are added in five axes.
        """
        inputs = self._inputs(node)
        if inputs is None:
            return
        sizes = {item.logical for item in inputs}
        if len(sizes) > 1:
            self._add_broadcast(node, inputs)
            return
        if len(inputs) == 2:
            for index in (0, 1):
                if self._fuse_sum(node, inputs[index], inputs[1 - index]):
                    return
        self._join(node)

    def _fuse_sum(self, node: Node, into: _Blocked, other: _Blocked) -> bool:
        conv = into.node
        if not _is_blocked_conv(conv) or into.starting_uses != 1 or conv.op.epilogue:
            return False
        op = conv.op
        letters = (op.operands or "d" + "w" * len(op.weights)).ljust(3, "-") + "d"
        conv.op = replace(
            op, inputs=(*op.inputs, other.node.op.outputs[0]), operands=letters, epilogue=("sum",)
        )
        into.uses -= 1
        other.uses -= 1
        self._graph.rewire(conv, reads=[*conv.reads, other.tensor], writes=conv.writes)
        self._fuse(node, into)
        return True

    def _fuse(self, node: Node, into: _Blocked) -> None:
        """``node`` is now part of the convolution ``into``, which writes its output."""
        uses = self._graph.uses(node.out)
        conv = into.node
        self._graph.remove(node)
        conv.covers += node.covers
        self._blocked[node.out] = _Blocked(
            node=conv,
            tensor=into.tensor,
            logical=into.logical,
            starting_uses=uses,
            uses=uses,
        )

    def _add_broadcast(self, node: Node, inputs: list[_Blocked]) -> None:
        """Per-channel values added to a map: both are seen as [N, C/B, H, W, B]."""
        if len(inputs) != 2 or len({item.logical[:2] for item in inputs}) > 1:
            return
        target, logical = node.out, node.op.outputs[0]
        reads = []
        for item in inputs:
            flat = self._physical(item.logical)
            split = (flat[0], flat[1] // self._block, *flat[2:], self._block)
            operand = (0, split[1], 0, 0, self._block)
            reads.append(
                self._view(item.tensor, "split", reshape_op(flat, split, operand, "float32"))
            )
            item.uses -= 1
        whole = self._physical(logical)
        wide = (whole[0], whole[1] // self._block, *whole[2:], self._block)
        sizes = tuple(self._graph.producer[name].op.outputs[0] for name in reads)
        node.op = replace(node.op, inputs=sizes, outputs=(wide,))
        uses = self._graph.uses(target)
        self._graph.rewire(node, reads=reads, writes=[f"{target}/split"])
        joined = reshape_op(wide, whole, (0, whole[1], 0, 0), "float32")
        tensor = self._view(node.out, "joined", joined)
        self._blocked[target] = _Blocked(
            node=self._graph.producer[tensor],
            tensor=tensor,
            logical=logical,
            starting_uses=uses,
            uses=uses,
        )

    def _view(self, source: str, suffix: str, op: Op) -> str:
        """Insert a Reshape after ``source``; the name of what it writes."""
        tensor = f"{source}/{suffix}"
        count = 1
        while tensor in self._graph.producer:
            count += 1
            tensor = f"{source}/{suffix}{count}"
        node = Node(name=tensor, op_type="Reshape", op=op, reads=[source], writes=[tensor])
        self._graph.add(node)
        return tensor

    def _mul(self, node: Node) -> None:
        """Mul joins for equal sizes; by channel constants it becomes a depthwise convolution.

        Seen: a product of a map with per-channel activations (squeeze and excite) does not join.
        """
        op = node.op
        if len(op.inputs) == 1 and len(op.weights) == 1:
            channels = op.inputs[0][1]
            if node.fixed and op.weights[0] in channel_sizes(channels, 4):
                self._scale(node, bias=False)
            return
        inputs = self._inputs(node)
        if inputs is not None and len({item.logical for item in inputs}) == 1:
            self._join(node)

    def _batch_norm(self, node: Node) -> None:
        """A BatchNormalization of a blocked tensor becomes a depthwise convolution."""
        if node.fixed and len(node.op.weights) == 4:
            self._scale(node, bias=True)

    def _scale(self, node: Node, *, bias: bool) -> None:
        if node.reads[0] not in self._blocked:
            return
        channels = self._padded(node.op.inputs[0][1])
        filters = (channels, 1, 1, 1)
        node.op = Op(
            kind="conv",
            inputs=node.op.inputs,
            outputs=node.op.outputs[:1],
            weights=(filters, (channels,)) if bias else (filters,),
            stride=(1, 1),
            pads=(0, 0, 0, 0),
            dilation=(1, 1),
            groups=channels,
        )
        node.op_type, node.domain = "Conv", NCHWC
        self._take(node)
        self._enter(node)

    def _concat(self, node: Node) -> None:
        """Concat of channels joins if every part fills whole blocks."""
        inputs = self._inputs(node)
        if inputs is None or dict(node.op.attributes).get("axis") != 1:
            return
        if any(item.logical[1] % self._block for item in inputs):
            return
        self._join(node)

    def _activation(self, node: Node) -> None:
        """Activations go into a convolution that has none, or work on the blocked tensor."""
        inputs = self._inputs(node)
        if inputs is None:
            return
        (source,) = inputs
        conv = source.node
        idle = not set(conv.op.epilogue) - {"sum"}
        if node.op_type in _FUSED and _is_blocked_conv(conv) and idle and source.starting_uses == 1:
            epilogue = (*conv.op.epilogue, node.op_type.lower())
            conv.op = replace(conv.op, epilogue=epilogue)
            source.uses -= 1
            self._fuse(node, source)
            return
        self._join(node)

    def _transpose(self, node: Node) -> None:
        """A Transpose of a blocked tensor to channels-last is one conversion."""
        source = self._blocked.get(node.reads[0])
        if source is None or not _is_transpose(node, _TO_NHWC):
            return
        source.uses -= 1
        node.op_type, node.domain = "ReorderOutput", NCHWC
        node.op = Op(
            kind="reorder_output",
            inputs=source.node.op.outputs[:1],
            outputs=node.op.outputs,
            attributes=(("channels", source.logical[1]), ("channels_last", 1)),
        )
        self._graph.rewire(node, reads=[source.tensor], writes=node.writes)

    def _resize(self, node: Node) -> None:
        """Enlarging by whole numbers has a blocked kernel for some coordinate rules."""
        if node.reads[0] not in self._blocked or len(node.reads) > 1:
            return
        settings = dict(node.op.attributes)
        old = settings.get("since") in {7, 9, 10}
        mode = str(settings.get("mode", "nearest"))
        rule = str(settings.get("coordinate_transformation_mode", "half_pixel"))
        rule = "asymmetric" if old else rule
        if mode == "nearest" and not old and settings.get("nearest_mode") != "floor":
            return
        if rule not in _UPSAMPLES.get(mode, ()):
            return
        before, after = node.op.inputs[0], node.op.outputs[0]
        if before[:2] != after[:2] or any(
            b % a for a, b in zip(before[2:], after[2:], strict=True)
        ):
            return
        scales = tuple(b // a for a, b in zip(before, after, strict=True))
        node.op = Op(
            kind="resize",
            inputs=(before,),
            outputs=(after,),
            attributes=(
                ("coordinate_transformation_mode", rule),
                ("mode", mode),
                ("scales", scales),
            ),
        )
        node.op_type, node.domain = "Upsample", NCHWC
        self._take(node)
        self._enter(node)

    def _convert_back(self) -> None:
        for original, item in self._blocked.items():
            if item.uses <= 0:
                continue
            op = Op(
                kind="reorder_output",
                inputs=(self._physical(item.logical),),
                outputs=(item.logical,),
                attributes=(("channels", item.logical[1]), ("channels_last", 0)),
            )
            self._insert(original, "ReorderOutput", op, item.tensor)

    def _drop_idle_transposes(self) -> None:
        """Transposes whose every reader now reads past them go."""
        for node in list(self._graph.nodes.values()):
            if node.op_type == "Transpose" and not self._graph.uses(node.out):
                self._graph.remove(node)


def _is_blocked_conv(node: Node) -> bool:
    return node.domain == NCHWC and node.op_type == "Conv"


def _is_transpose(node: Node, permutation: tuple[int, ...]) -> bool:
    return node.op_type == "Transpose" and dict(node.op.attributes).get("perm") == permutation
