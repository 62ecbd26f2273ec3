"""ONNX Runtime's search for a better place of Transposes: behind what does not care for the order.

A Transpose goes behind the kernel that reads it where that leaves fewer of them, or leaves them on
smaller tensors. The cost of one is the number of its tensor's axes that are longer than 1; one that
has another Transpose further down costs nothing, since the two may cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Constant, Op, Shape

Order = tuple[int, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Kernels that work on every element by itself.
_UNARY = _words(
    """
    Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Neg Not QuickGelu Reciprocal Relu
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
    """
)
#: Kernels that join elements of several tensors, the smaller ones repeated.
_BROADCAST = _words(
    """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow
    Sub Sum Where Xor
    """
)
_REDUCTIONS = _words(
    """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
    """
)


def order_of(node: Node | None) -> Order:
    """Order of axes of a Transpose that says it; empty for other kernels."""
    if node is None or node.op_type != "Transpose":
        return ()
    order = node.op.attribute("perm")
    return tuple(int(axis) for axis in order) if isinstance(order, tuple) else ()


def push_transposes(graph: Graph) -> bool:
    """Move what is better moved, once through the graph; whether anything was."""
    leading = _leading(graph)
    changed = False
    for node in graph.ordered():
        for name in node.reads if node.op_type in _RULES else ():
            order = order_of(graph.producer.get(name))
            if order and _gains(graph, node, order, leading):
                moved = _RULES[node.op_type](node.op, order)
                if moved is not None:
                    _move(graph, node, order, *moved)
                    changed = True
                    break
    return changed


def _leading(graph: Graph) -> set[str]:
    """Tensors from which kernels that let a Transpose past lead to one."""
    found: set[str] = set()
    for node in reversed(graph.ordered()):
        if node.op_type == "Transpose" or (
            node.op_type in _RULES and any(name in found for name in node.writes)
        ):
            found.update(node.reads)
    return found


def _gains(graph: Graph, node: Node, order: Order, leading: Collection[str]) -> bool:
    """Whether a Transpose in front of ``node`` costs more than what moving it leaves behind."""
    cost = 0
    for name, size in zip(node.reads, node.op.inputs, strict=True):
        found = order_of(graph.producer.get(name))
        if found != order:
            cost += 0 if found else _cost(size)
        else:
            cost -= _cost(size)
    if not any(name in leading for name in node.writes):
        cost += max(map(_cost, node.op.outputs))
    return cost < 0


def _cost(size: Shape) -> int:
    return sum(length != 1 for length in size)


def _move(graph: Graph, node: Node, order: Order, op: Op, after: Order) -> None:
    """``node`` becomes ``op``, which reads what the Transposes read; ``after`` follows it."""
    undone = tuple(order.index(axis) for axis in range(len(order)))
    reads = []
    passed = []
    for name, size in zip(node.reads, node.op.inputs, strict=True):
        before = graph.producer.get(name)
        if before is not None and order_of(before) == order:
            reads.append(before.reads[0])
            passed.append(before)
        else:
            reads.append(_transposed(graph, name, size, undone, node.op.dtype))
    writes = list(node.writes)
    if after == tuple(range(len(after))):
        inner = writes
    else:
        inner = [_fresh(graph, f"{name}/moved") for name in writes]
    sizes = node.op.outputs
    node.op = op
    graph.rewire(node, reads=reads, writes=inner)
    for name, outer, size, last in zip(inner, writes, op.outputs, sizes, strict=True):
        if name != outer:
            turn = Op(kind="transpose", inputs=(size,), outputs=(last,), dtype=op.dtype,
                      attributes=(("perm", after),))  # fmt: skip
            graph.add(
                Node(name=f"{outer}/order", op_type="Transpose", op=turn, reads=[name],
                     writes=[outer])
            )  # fmt: skip
    for before in dict.fromkeys(passed):
        if not graph.uses(before.out):
            graph.remove(before)
            node.covers[:0] = before.covers


def _transposed(graph: Graph, source: str, size: Shape, order: Order, dtype: str) -> str:
    """A Transpose of ``source``, by its result."""
    name = _fresh(graph, f"{source}/turned")
    op = Op(kind="transpose", inputs=(size,), outputs=(tuple(size[axis] for axis in order),),
            dtype=dtype, attributes=(("perm", order),))  # fmt: skip
    graph.add(Node(name=name, op_type="Transpose", op=op, reads=[source], writes=[name]))
    return name


def _fresh(graph: Graph, name: str) -> str:
    title, count = name, 1
    while title in graph.producer or title in graph.nodes:
        count += 1
        title = f"{name}{count}"
    return title


def _back(values: Sequence[int], order: Order) -> tuple[int, ...]:
    """Values per axis of a transposed tensor, per axis of what was transposed."""
    found = [0] * len(order)
    for place, axis in enumerate(order):
        found[axis] = values[place]
    return tuple(found)


# Rules: the kernel on untransposed tensors, and the Transpose behind it; None where there is none.

_Moved = tuple[Op, Order] | None


def _same(op: Op, order: Order) -> Op | None:
    """``op`` on untransposed data of one number of axes, its constants turned as well."""
    rank = len(order)
    if any(len(size) != rank for size in (*op.inputs, *op.outputs)):
        return None
    return replace(
        op,
        inputs=tuple(_back(size, order) for size in op.inputs),
        outputs=tuple(_back(size, order) for size in op.outputs),
        weights=tuple(
            _back((1,) * (rank - len(size)) + size, order) if size else size for size in op.weights
        ),
    )


def _elementwise(op: Op, order: Order) -> _Moved:
    same = _same(op, order)
    return None if same is None else (same, order)


def _along(op: Op, order: Order) -> _Moved:
    """Kernels along one axis: Concat, Split, Softmax."""
    same = _same(op, order)
    axis = op.attribute("axis", -1 if op.kind in {"softmax", "log_softmax"} else 0)
    if same is None or op.attribute("since", 13) < 13:
        return None
    settings = tuple((k, order[axis] if k == "axis" else v) for k, v in same.attributes)
    return replace(same, attributes=settings), order


def _reduced(op: Op, order: Order) -> _Moved:
    rank, keep = len(order), op.attribute("keepdims", 1)
    named = op.attribute("axes")
    given: Constant = named if isinstance(named, tuple) else (op.constants or ((),))[0]
    axes = tuple(int(axis) % rank for axis in given)
    if not axes or len(op.inputs) != 1 or len(op.inputs[0]) != rank:
        return None
    turned = tuple(sorted(order[axis] for axis in axes))
    size = _back(op.inputs[0], order)
    result = tuple(1 if i in turned else s for i, s in enumerate(size) if keep or i not in turned)
    if named is None:
        op = replace(op, constants=(turned, *op.constants[1:]))
    else:
        op = replace(
            op, attributes=tuple((k, turned if k == "axes" else v) for k, v in op.attributes)
        )
    after = order
    if not keep:
        left = [axis for axis in range(rank) if axis not in turned]
        after = tuple(left.index(axis) for axis in order if axis in left)
    return replace(op, inputs=(size,), outputs=(result,)), after


def _padded(op: Op, order: Order) -> _Moved:
    same = _same(op, order)
    if same is None or not op.constants or len(op.constants[0]) != 2 * len(order):
        return None
    pads = [int(value) for value in op.constants[0]]
    rank = len(order)
    both = _back(pads[:rank], order) + _back(pads[rank:], order)
    return replace(same, constants=(both, *op.constants[1:])), order


_RULES: dict[str, Callable[[Op, Order], _Moved]] = {
    **dict.fromkeys(_UNARY | _BROADCAST, _elementwise),
    **dict.fromkeys(("Concat", "LogSoftmax", "Softmax", "Split"), _along),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    "Pad": _padded,
}
