"""Where OpenVINO moves the strides of 1x1 convolutions to: to kernels before them.

A 1x1 convolution that skips pixels lets what it reads be computed for the others in vain. So its
stride wanders up: through elementwise operations, into the convolution before, on through that one
where it is 1x1 too. It stays where it came to when the readers of a tensor want different strides;
an elementwise operation whose other operand cannot be had with that stride reads it through a
pooling of single pixels, and so does the bias of a convolution with groups.
"""

from __future__ import annotations

from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Op, Shape

#: Elementwise operations that strides wander through.
_THROUGH = frozenset(
    {"abs", "add", "div", "exp", "max", "min", "mul", "relu", "sigmoid", "sqrt", "sub", "tanh"}
)
_Edge = tuple[str, int]


def move_strides(graph: Graph) -> None:
    """Move strides up, biases folded already and activations not yet."""
    wishes: dict[_Edge, Shape] = {}
    for node in reversed(graph.ordered()):
        edges = _edges(graph, node.out) if node.writes else []
        wanted = {wishes.get(edge, ()) for edge in edges}
        common = next(iter(wanted)) if len(wanted) == 1 and node.out not in graph.returned else ()
        if common and node.op.kind == "conv" and node.op.groups > 1 and len(node.op.weights) > 1:
            _part_from_bias(graph, node, edges, common, wishes)
            continue
        if not (_is_plain(node.op) or _passes(node)):
            common = ()
        if not common:
            _give_back(graph, edges, wishes)
        _take(graph, node, edges, common, wishes)
    for name in graph.inputs:
        _give_back(graph, _edges(graph, name), wishes)


def _edges(graph: Graph, tensor: str) -> list[_Edge]:
    """Each place at which a tensor is read."""
    readers = dict.fromkeys(graph.readers.get(tensor, ()))
    return [(r.name, i) for r in readers for i, name in enumerate(r.reads) if name == tensor]


def _is_plain(op: Op) -> bool:
    """Whether a kernel is a convolution without groups: only these give or take strides."""
    return op.kind == "conv" and op.groups == 1


def _passes(node: Node) -> bool:
    op = node.op
    if op.kind == "batch_norm":  # a product and a sum
        return len(node.writes) == 1
    small = all(max(shape[-2:], default=1) == 1 for shape in op.weights)
    return op.kind in _THROUGH and not op.constants and small and len(node.writes) == 1


def _take(
    graph: Graph, node: Node, edges: list[_Edge], common: Shape, wishes: dict[_Edge, Shape]
) -> None:
    """Let a node compute only the pixels that its readers want, and wish the same of others."""
    op = node.op
    if common:
        smaller = _thinned(op.outputs[0], common)
        node.op = op = replace(op, outputs=(smaller, *op.outputs[1:]))
        for name, place in edges:
            _set_input(graph.nodes[name], place, smaller)
    if _is_plain(op):
        more = common or (1,) * len(op.stride)
        stride = tuple(a * b for a, b in zip(op.stride, more, strict=True))
        plain = set(op.kernel) == {1} and len(op.inputs) == 1
        if plain and set(stride) != {1}:
            wishes[node.name, 0] = stride
            stride = (1,) * len(stride)
        node.op = replace(op, stride=stride)
    elif common:
        for place, shape in enumerate(op.inputs):
            if len(shape) == len(op.outputs[0]) and max(shape[2:], default=1) > 1:
                wishes[node.name, place] = common


def _give_back(graph: Graph, edges: list[_Edge], wishes: dict[_Edge, Shape]) -> None:
    """Readers whose wish is not met stride themselves, or read through a pooling."""
    for name, place in edges:
        stride = wishes.pop((name, place), ())
        reader = graph.nodes[name]
        if not stride:
            continue
        if reader.op.kind == "conv":
            reader.op = replace(reader.op, stride=stride)
        else:
            _pool(graph, reader, place, stride)


def _part_from_bias(
    graph: Graph, node: Node, edges: list[_Edge], stride: Shape, wishes: dict[_Edge, Shape]
) -> None:
    """A convolution with groups takes no stride, but its bias, a sum of its own so far, does."""
    op = node.op
    node.op = replace(op, weights=op.weights[:1])
    thinned = _thinned(op.outputs[0], stride)
    out, inner = node.out, f"{node.out}/plain"
    wide = (1, op.outputs[0][1], *(1 for _ in stride))
    for name, place in edges:
        wishes.pop((name, place), None)
        _set_input(graph.nodes[name], place, thinned)
    graph.rewire(node, reads=node.reads, writes=[inner])
    bias = Node(
        name=f"{node.name}/bias",
        op_type="Add",
        op=replace(
            op, kind="add", inputs=(op.outputs[0],), outputs=(thinned,), weights=(wide,), stride=(),
            pads=(), dilation=(), groups=1, attributes=(),
        ),
        reads=[inner],
        writes=[out],
    )  # fmt: skip
    graph.add(bias)
    _pool(graph, bias, 0, stride)


def _pool(graph: Graph, reader: Node, place: int, stride: Shape) -> None:
    tensor, shape = reader.reads[place], reader.op.inputs[place]
    fresh = f"{tensor}/every{stride[0]}/{reader.name}"
    ones = (1,) * len(stride)
    op = Op(
        kind="max_pool",
        inputs=(shape,),
        outputs=(_thinned(shape, stride),),
        stride=stride,
        pads=(0,) * (2 * len(stride)),
        dilation=ones,
        attributes=(("kernel_shape", ones),),
    )
    graph.add(Node(name=fresh, op_type="MaxPool", op=op, reads=[tensor], writes=[fresh]))
    reads = [fresh if i == place else name for i, name in enumerate(reader.reads)]
    _set_input(reader, place, op.outputs[0])
    graph.rewire(reader, reads=reads, writes=reader.writes)


def _thinned(shape: Shape, stride: Shape) -> Shape:
    sizes = ((n - 1) // step + 1 for n, step in zip(shape[2:], stride, strict=True))
    return (*shape[:2], *sizes)


def _set_input(node: Node, place: int, shape: Shape) -> None:
    inputs = tuple(shape if i == place else old for i, old in enumerate(node.op.inputs))
    node.op = replace(node.op, inputs=inputs)
