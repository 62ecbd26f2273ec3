"""Activations and sums that ONNX Runtime folds into the Conv or Gemm before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Attribute, Op, clip_bounds

#: Seen to be folded into Conv; Elu, Selu, Softplus, Softsign, PRelu, Gelu and others are not.
_AFTER_CONV = frozenset({"Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
#: Seen to be folded into Gemm; Clip, PRelu and Celu are not.
_AFTER_GEMM = frozenset(
    {"Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"}
    | {"ThresholdedRelu"}
)
#: Bounds of a Clip that has none: the largest float32.
_LIMIT = 3.4028234663852886e38


def fuse_activations(graph: Graph) -> None:
    """Fold every activation that alone reads a Conv or Gemm into it."""
    for node in list(graph.nodes.values()):
        if node.name not in graph.nodes:
            continue
        later = graph.sole_reader(node)
        if later is None:
            continue
        if node.op_type == "Conv" and later.op_type in _AFTER_CONV:
            _fuse_conv(graph, node, later)
        elif node.op_type == "Gemm" and later.op_type in _AFTER_GEMM:
            _fuse_gemm(graph, node, later)


def fuse_sums(graph: Graph) -> None:
    """Fold the Add that alone reads a plain Conv into it, and the activation after that.

    Done after the blocked layout, to what stayed plain. Seen: only Add, not Sum; only with a bias;
    only on four axes and with both operands of the Conv's own size; where both operands are
    convolutions, into the first.
    """
    for add in [node for node in graph.ordered() if node.op_type == "Add" and not node.domain]:
        conv = next(
            (
                found
                for name in add.reads
                if _takes_sum(graph, found := graph.producer.get(name), add)
            ),
            None,
        )
        if conv is None:
            continue
        _sum(graph, conv, add)
        later = graph.sole_reader(conv)
        if later is not None and later.op_type in _AFTER_CONV:
            _fuse_conv(graph, conv, later)


def _takes_sum(graph: Graph, conv: Node | None, add: Node) -> TypeGuard[Node]:
    if conv is None or conv.op_type != "Conv" or conv.domain or len(conv.op.weights) != 2:
        return False
    size = conv.op.outputs[0]
    same = all(other == size for other in (*add.op.inputs, *add.op.weights))
    return len(size) == 4 and same and graph.sole_reader(conv) is add


def _sum(graph: Graph, conv: Node, add: Node) -> None:
    """``conv`` also reads what ``add`` adds to it."""
    others = [name for name in add.reads if name != conv.out]
    op = conv.op
    if others:
        sizes = (*op.inputs, op.outputs[0])
        conv.op = replace(op, inputs=sizes, operands="dwwd", epilogue=("sum",))
    else:
        conv.op = replace(op, weights=(*op.weights, *add.op.weights))
    conv.op_type, conv.domain = "FusedConv", "com.microsoft"
    graph.absorb(conv, add)
    graph.rewire(conv, reads=[*conv.reads, *others], writes=conv.writes)


def _fuse_conv(graph: Graph, node: Node, later: Node) -> None:
    if later.op_type == "Clip" and _bounds(later.op) is None:
        return
    _take(graph, node, later, activation_settings(later))
    node.op_type = "FusedConv"


def activation_settings(node: Node) -> tuple[tuple[str, Attribute], ...]:
    """What a convolution that takes in this activation is given with it."""
    if node.op_type == "Clip":
        return (("activation_params", _bounds(node.op) or ()),)
    names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}.get(node.op_type)
    if names is None:
        return ()
    return (("activation_params", tuple(node.op.attribute(name, 0.0) for name in names)),)


def _fuse_gemm(graph: Graph, node: Node, later: Node) -> None:
    _take(graph, node, later, tuple((f"activation_{n}", v) for n, v in later.op.attributes))
    node.op_type = "FusedGemm"


def _take(graph: Graph, node: Node, later: Node, more: tuple[tuple[str, Attribute], ...]) -> None:
    name = later.op_type.lower()
    settings = tuple(sorted((*node.op.attributes, *more)))
    node.op = replace(node.op, epilogue=(*node.op.epilogue, name), attributes=settings)
    node.domain = "com.microsoft"
    graph.absorb(node, later)


def _bounds(op: Op) -> tuple[float, float] | None:
    """Limits of a Clip with constant bounds."""
    return clip_bounds(op, _LIMIT) if len(op.inputs) == 1 else None
