"""What ONNX Runtime folds into matrix products: Transposes, sums and factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.ort_transpose import Order, order_of
from costmodel.op import Op, as_operands

_SWAPPED = (1, 0)
#: Settings of a product that nothing was folded into.
_PLAIN = {"alpha": 1.0, "transA": 0, "transB": 0, "transBatchA": 0, "transBatchB": 0}


def fold_gemm(graph: Graph, node: Node) -> bool:
    """A Gemm takes in Transposes of two axes, before it or after, and a Sum after it.

    Seen: after it only where it has no bias; the factors then change places.
    """
    return _before(graph, node) or _after(graph, node) or _biased(graph, node)


def _before(graph: Graph, node: Node) -> bool:
    for place, flag in ((0, "transA"), (1, "transB")):
        letter = node.op.order[place]
        if letter != "d":
            continue
        index = node.op.order[:place].count("d")
        before = graph.producer.get(node.reads[index])
        if before is not None and order_of(before) == _SWAPPED:
            turned = 1 - node.op.attribute(flag, 0)
            node.op = _with_settings(node.op, {flag: turned})
            _read_past(graph, node, index, before)
            return True
    return False


def _after(graph: Graph, node: Node) -> bool:
    later = graph.sole_reader(node)
    if later is None or order_of(later) != _SWAPPED or len(node.op.order) != 2:
        return False
    op = node.op
    settings = {"transA": 1 - op.attribute("transB", 0), "transB": 1 - op.attribute("transA", 0)}
    letters = op.order[::-1]
    op = replace(
        _with_settings(op, settings),
        inputs=op.inputs[::-1],
        outputs=later.op.outputs,
        operands=as_operands(letters),
    )
    node.op = op
    graph.absorb(node, later)
    graph.rewire(node, reads=node.reads[::-1], writes=node.writes)
    return True


def _biased(graph: Graph, node: Node) -> bool:
    """Seen for a Sum of two; an Add stays one."""
    later = graph.sole_reader(node)
    op = node.op
    if later is None or later.op_type != "Sum" or len(op.order) != 2 or len(later.op.order) != 2:
        return False
    others = [name for name in later.reads if name != node.out]
    if len(later.op.weights) == 1:
        node.op = replace(op, weights=(*op.weights, *later.op.weights))
    elif len(others) == 1:
        sizes = dict(zip(later.reads, later.op.inputs, strict=True))
        node.op = replace(
            op, inputs=(*op.inputs, sizes[others[0]]), operands=as_operands(op.order + "d")
        )
    else:
        return False
    graph.absorb(node, later)
    graph.rewire(node, reads=[*node.reads, *others], writes=node.writes)
    return True


def fuse_products(graph: Graph) -> None:
    """MatMul takes in numbers that it or its factors are multiplied by, and their Transposes.

    Done once all else is decided.
    """
    for node in list(graph.nodes.values()):
        if node.op_type == "MatMul" and node.op.dtype == "float32" and not node.domain:
            settings = {**_factors(graph, node), **_turned(graph, node)}
            if settings:
                node.op = _with_settings(node.op, {**_PLAIN, **settings})
                node.op_type, node.domain = "FusedMatMul", "com.microsoft"


def _factors(graph: Graph, node: Node) -> dict[str, float]:
    """Numbers before and after; a Mul or Div before it that others read too stays for them."""
    found = []
    for index, name in enumerate(node.reads):
        before = graph.producer.get(name)
        if before is not None and _number(before) is not None:
            found.append(before)
            _read_past(graph, node, index, before)
    later = graph.sole_reader(node)
    if later is not None and _number(later) is not None:
        found.append(later)
        graph.absorb(node, later)
    if not found:
        return {}
    numbers = [number for item in found if (number := _number(item)) is not None]
    return {"alpha": float(np.prod(numbers, dtype=np.float32))}


def _number(node: Node) -> np.float32 | None:
    number = node.marks.get("number")
    if number is None or len(node.op.inputs) != 1 or node.op_type not in {"Div", "Mul"}:
        return None
    value = np.float32(float(str(number)))
    return np.float32(1) / value if node.op_type == "Div" else value


def _turned(graph: Graph, node: Node) -> dict[str, float]:
    """Transposes of its factors.

    Seen: one that swaps the last two axes, or that moves the first of three or more behind the
    others; one that others read too stays for them.
    """
    settings: dict[str, float] = {}
    for place, side in ((0, "A"), (1, "B")):
        if node.op.order[place] != "d":
            continue
        index = node.op.order[:place].count("d")
        before = graph.producer.get(node.reads[index])
        turned = None if before is None else _flags(order_of(before))
        if before is not None and turned is not None:
            settings[f"trans{side}"], settings[f"transBatch{side}"] = turned
            _read_past(graph, node, index, before)
    return settings


def _flags(order: Order) -> tuple[int, int] | None:
    """Whether the last two axes are swapped, and whether the first one was moved to them."""
    rank = len(order)
    if rank >= 2 and order == (*range(rank - 2), rank - 1, rank - 2):
        return 1, 0
    moved = rank >= 3 and order[:-2] == tuple(range(1, rank - 1))
    if moved and set(order[-2:]) == {0, rank - 1}:
        return int(order[-1] == 0), 1
    return None


def _with_settings(op: Op, settings: Mapping[str, float]) -> Op:
    return replace(op, attributes=tuple(sorted({**dict(op.attributes), **settings}.items())))


def _read_past(graph: Graph, node: Node, index: int, before: Node) -> None:
    """``node`` reads what the kernel before it reads; that goes if nothing else reads it."""
    reads, sizes = list(node.reads), list(node.op.inputs)
    reads[index], sizes[index] = before.reads[0], before.op.inputs[0]
    node.op = replace(node.op, inputs=tuple(sizes))
    graph.rewire(node, reads=reads, writes=node.writes)
    if not graph.uses(before.out):
        graph.remove(before)
        node.covers[:0] = before.covers
