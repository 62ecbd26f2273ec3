"""What is done to every trained network before it is deployed, for several runtimes alike."""

from __future__ import annotations

from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.kinds import POOL_KINDS
from costmodel.op import Op, Shape

#: Kinds that do nothing outside training.
_IDLE = frozenset({"dropout", "identity"})


def drop_idle(graph: Graph) -> None:
    """Layers that change nothing outside training go."""
    for node in list(graph.nodes.values()):
        if node.op.kind in _IDLE and not any(map(graph.uses, node.writes[1:])):
            graph.bypass(node)


def fold_norms(graph: Graph) -> None:
    """A batch normalisation goes into the convolution that it alone reads, and leaves a bias."""
    for node in list(graph.nodes.values()):
        if node.op.kind != "conv" or node.name not in graph.nodes or not node.op.weights:
            continue
        later = graph.sole_reader(node)
        if later is None or later.op.kind != "batch_norm" or any(map(graph.uses, later.writes[1:])):
            continue
        channels = node.op.weights[0][0]
        node.op = replace(node.op, weights=(node.op.weights[0], (channels,)))
        graph.absorb(node, later)


def fold_tail(graph: Graph, node: Node, tails: frozenset[str]) -> str:
    """Take in the activation that alone reads ``node``, and return its kind; empty for none."""
    later = graph.sole_reader(node)
    if later is None or later.op.kind not in tails or len(later.reads) != 1:
        return ""
    kind = later.op.kind
    graph.absorb(node, later)
    return kind


def plain(op: Op) -> Op:
    """An Op with what other people's records say of a kernel: kind, sizes, window and groups."""
    said = {"kernel_shape"} if op.kind in POOL_KINDS else {"axis"} if op.kind == "concat" else ()
    attributes = tuple(pair for pair in op.attributes if pair[0] in said)
    op = replace(op, attributes=attributes, constants=(), constant_dtypes=(), operands="")
    return replace(op, dilation=()) if op.kind in POOL_KINDS else op


def as_product(op: Op) -> Op:
    """A product of a constant matrix with its weights as (columns, shared), and a bias."""
    shared, columns = op.inputs[0][-1], op.outputs[0][-1]
    bias: tuple[Shape, ...] = ((columns,),) if len(op.weights) > 1 else ()
    return replace(plain(op), weights=((columns, shared), *bias))
