"""Graph rewriting that ONNX Runtime does before it chooses kernels (its levels 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.ort_products import fold_gemm
from costmodel.anticipation.ort_transpose import push_transposes
from costmodel.op import Op, Shape, as_operands

_Rule = Callable[[Graph, Node], bool]
#: 1/6 as the float32 that the runtime's expansion of HardSwish writes.
_SIXTH = 0.1666666716337204
#: A float32 tensor and ONNX's number of that type.
_FLOAT32 = ("float32", 1)
#: Kernels that give the same result for the same input, so that one of two equal ones is enough.
_NOT_SHARED = frozenset({"Dropout", "Identity"})


def fold(graph: Graph, *, gates: bool = True) -> None:
    """Apply every rule until none applies.

    Args:
        graph: changed in place.
        gates: whether gated activations become one kernel, which they do after conversions.
    """
    late = _LATE if gates else {name: _LATE[name] for name in _LATE if name != "Sigmoid"}
    for node in list(graph.nodes.values()):
        _expand(graph, node)
    # Weights that nodes make (the only ones known to be equal) are constants to the runtime from
    # its second round on: sharing comes before folding there, after it everywhere else.
    if any("weights" in node.marks for node in graph.nodes.values()):
        _share_equal(graph)
    changed = True
    while changed:
        changed = (
            _rewrite(graph, _EARLY)
            or _share_equal(graph)
            or _rewrite(graph, late)
            or push_transposes(graph)
        )


def _rewrite(graph: Graph, rules: Mapping[str, _Rule]) -> bool:
    """Offer every node to its rule once."""
    changed = False
    for node in list(graph.nodes.values()):
        rule = rules.get(node.op_type)
        if rule is not None and node.name in graph.nodes:
            changed |= rule(graph, node)
    return changed


def _expand(graph: Graph, node: Node) -> None:
    """Operators that are functions of simpler ones are replaced by these.

    Seen: HardSwish becomes HardSigmoid and Mul, Mish becomes Softplus, Tanh and Mul.
    """
    size = node.op.outputs[0]
    one = Op(kind="", inputs=(size,), outputs=(size,), dtype=node.op.dtype)
    if node.op_type == "HardSwish":
        settings = (("alpha", _SIXTH), ("beta", 0.5))
        steps = [("HardSigmoid", replace(one, kind="hard_sigmoid", attributes=settings))]
    elif node.op_type == "Mish":
        steps = [("Softplus", replace(one, kind="softplus")), ("Tanh", replace(one, kind="tanh"))]
    else:
        return
    source, target = node.reads[0], node.out
    graph.remove(node)
    current = source
    for kind, op in steps:
        inner = f"{target}/{op.kind}"
        graph.add(
            Node(
                name=f"{node.name}/{op.kind}", op_type=kind, op=op, reads=[current], writes=[inner]
            )
        )
        current = inner
    product = replace(one, kind="mul", inputs=(size, size))
    node.op_type, node.op = "Mul", product
    node.reads, node.writes = [source, current], [target]
    graph.add(node)


def _share_equal(graph: Graph) -> bool:
    """Of two equal kernels on the same tensors, with the same weights if any, one is executed.

    Seen: unless the first of them writes an output of the model.
    """
    changed = False
    seen: dict[tuple[object, ...], Node] = {}
    for node in graph.ordered():
        weights = node.marks.get("weights")
        if (node.op.weights and weights is None) or node.op_type in _NOT_SHARED:
            continue
        first = seen.setdefault((node.op_type, node.op, tuple(node.reads), weights), node)
        if first is node or len(node.writes) > 1:
            continue
        if first.out in graph.returned:
            continue
        kept, gone = first.out, node.out
        if node.out in graph.returned:
            kept, gone = gone, kept
        graph.remove(node)
        first.covers += node.covers
        graph.rewire(first, reads=first.reads, writes=[kept])
        for reader in list(dict.fromkeys(graph.readers.get(gone, ()))):
            reads = [kept if name == gone else name for name in reader.reads]
            graph.rewire(reader, reads=reads, writes=reader.writes)
        changed = True
    return changed


def _drop(graph: Graph, node: Node) -> bool:
    """Identity, Dropout and Casts of float32 to itself go.

    Seen: a Dropout that writes an output of the model stays, and one with a ratio that reads an
    input; an Identity that writes an output goes if nothing else reads what it copies.
    """
    if any(graph.uses(name) for name in node.writes[1:]):
        return False
    if node.op_type != "Identity" and node.out in graph.returned:
        return False
    if node.op_type == "Cast" and (node.op.dtype, node.op.attribute("to")) != _FLOAT32:
        return False
    if node.op_type == "Dropout" and node.reads[0] in graph.inputs and node.op.weights:
        return False
    return graph.bypass(node)


def _fold_scale(graph: Graph, node: Node) -> bool:
    """A Conv takes in the BatchNormalization, Mul or Add by channel constants that alone reads it.

    Seen: BatchNormalization for every rank, Mul and Add for every rank too; their constant must be
    the second operand and have the sizes (C, 1, 1) or (1, C, 1, 1), or be a scalar without axes
    (Mul only). Afterwards BatchNormalization and Add leave a bias behind.
    """
    later = graph.sole_reader(node)
    if later is None or not (node.fixed and later.fixed) or not node.op.weights:
        return False
    op = node.op
    channels = op.outputs[0][1]
    if later.op_type == "BatchNormalization":
        if later.op.weights != ((channels,),) * 4 or any(map(graph.uses, later.writes[1:])):
            return False
        biased = True
    elif later.op_type in {"Mul", "Add"}:
        if not _is_channel_constant(later.op, channels, scalar=later.op_type == "Mul"):
            return False
        biased = later.op_type == "Add"
    else:
        return False
    if biased and len(op.weights) == 1:
        node.op = replace(op, weights=(*op.weights, (channels,)))
    graph.absorb(node, later)
    return True


def _is_channel_constant(op: Op, channels: int, *, scalar: bool) -> bool:
    if len(op.inputs) != 1 or len(op.weights) != 1 or op.operands.startswith("w"):
        return False
    if op.weights[0] == ():
        return scalar
    return op.weights[0] in channel_sizes(channels, len(op.inputs[0]))


def channel_sizes(channels: int, rank: int) -> tuple[Shape, Shape]:
    """Sizes of a constant that holds one value per channel of a tensor with ``rank`` axes."""
    plain = (channels, *(1,) * (rank - 2))
    return plain, (1, *plain)


def _fold_pad(graph: Graph, node: Node) -> bool:
    """A Pad with zeros on spatial axes goes into the Conv or AveragePool that alone reads it.

    Seen: not into MaxPool, nor where the reader pads automatically; an AveragePool then counts the
    padding, so that it must not have had padding that it does not count, nor round its size up.
    """
    later = graph.sole_reader(node)
    op = node.op
    if later is None or later.op_type not in {"Conv", "AveragePool"}:
        return False
    named = op.attribute("pads")  # before operator set 11
    given = (*op.constants, *([named] if isinstance(named, tuple) else []))[:1]
    pads = tuple(int(value) for values in given for value in values)
    rank = len(op.inputs[0])
    filled = (
        *(value for values in op.constants[1:2] for value in values),
        op.attribute("value", 0.0),
    )
    zero = not any(filled)
    edge = (*pads[:2], *pads[rank : rank + 2])
    if (
        op.attribute("mode", "constant") != "constant"
        or not zero
        or len(pads) != 2 * rank
        or any(edge)
        or min(pads) < 0
        or "auto_pad" in later.marks
    ):
        return False
    added = (*pads[2:rank], *pads[rank + 2 :])
    total = tuple(a + b for a, b in zip(later.op.pads, added, strict=True))
    settings = dict(later.op.attributes)
    if later.op_type == "AveragePool":
        uncounted = any(later.op.pads) and not settings.get("count_include_pad")
        if uncounted or settings.get("ceil_mode"):
            return False
        settings["count_include_pad"] = 1
    later.op = replace(
        later.op, pads=total, inputs=op.inputs, attributes=tuple(sorted(settings.items()))
    )
    graph.hand_on(node, later)
    return True


def _fold_matmul(graph: Graph, node: Node) -> bool:
    """MatMul and the Add that alone reads it become a Gemm.

    Seen: the second factor has two axes; what is added has one value per column, or two axes where
    the product has two. For a first factor with more axes the runtime puts a Reshape before and
    after.
    """
    later = graph.sole_reader(node)
    op = node.op
    if later is None or later.op_type != "Add" or len(later.op.order) != 2:
        return False
    first, second = (slot.shape for slot in op.slots())
    columns, rank = op.outputs[0][-1], len(first)
    others = [name for name in later.reads if name != node.out]
    if len(others) + len(later.op.weights) != 1 or len(second) != 2 or rank < 2:
        return False
    sizes = dict(zip(later.reads, later.op.inputs, strict=True))
    bias = sizes[others[0]] if others else later.op.weights[0]
    if bias != (columns,) and not (rank == 2 and len(bias) == 2):
        return False
    if rank > 2 and op.order[0] != "d":
        return False
    rows = prod(first[:-1])
    inputs, weights = list(op.inputs), list(op.weights)
    if op.order[0] == "d":
        inputs[0] = (rows, first[-1])
    (inputs if others else weights).append(bias)
    gemm = Op(
        kind="gemm",
        inputs=tuple(inputs),
        outputs=((rows, columns),),
        weights=tuple(weights),
        dtype=op.dtype,
        attributes=(("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0)),
        operands=as_operands(op.order + ("d" if others else "w")),
    )
    before, after = first, later.op.outputs[0]
    graph.absorb(node, later)
    graph.rewire(node, reads=[*node.reads, *others], writes=node.writes)
    node.op_type, node.op = "Gemm", gemm
    if rank > 2:
        _reshape_around(graph, node, before, after)
    return True


def _reshape_around(graph: Graph, node: Node, before: Shape, after: Shape) -> None:
    source, target = node.reads[0], node.out
    flat, raw = f"{target}/flat", f"{target}/raw"
    graph.rewire(node, reads=[flat, *node.reads[1:]], writes=[raw])
    graph.add(
        Node(
            name=f"{node.name}/flat",
            op_type="Reshape",
            op=reshape_op(before, node.op.inputs[0], node.op.inputs[0], node.op.dtype),
            reads=[source],
            writes=[flat],
            marks={"weights": flat},  # its target is stored anew: no other Reshape has the same
        )
    )
    graph.add(
        Node(
            name=f"{node.name}/raw",
            op_type="Reshape",
            op=reshape_op(node.op.outputs[0], after, after, node.op.dtype),
            reads=[raw],
            writes=[target],
        )
    )


def reshape_op(before: Shape, after: Shape, target: Shape, dtype: str) -> Op:
    """A Reshape as the runtime writes it; ``target`` is its shape operand."""
    return Op(
        kind="reshape",
        inputs=(before,),
        outputs=(after,),
        dtype=dtype,
        constants=(target,),
    )


def _fold_reshape(graph: Graph, node: Node) -> bool:
    """Of two Reshapes in a row only the second remains, with its target written out.

    One that changes no size goes after a Transpose.
    """
    later = graph.sole_reader(node)
    if later is None or later.op_type != "Reshape" or len(node.reads) != 1:
        return _fold_transpose(graph, node)
    later.op = replace(later.op, inputs=node.op.inputs, constants=(later.op.outputs[0],))
    graph.hand_on(node, later)
    return True


def _fold_relu(graph: Graph, node: Node) -> bool:
    """A Relu goes into the Clip that alone reads it; its lower bound is then at least zero."""
    later = graph.sole_reader(node)
    if later is None or later.op_type != "Clip" or not later.op.constants:
        return False
    op = later.op
    first = op.operands.replace("d", "")[:1] != "-"
    bounds = list(op.constants) if first else [(0.0,), *op.constants]
    bounds[0] = (max(0.0, bounds[0][0]),)
    types = (op.dtype,) * len(bounds)
    later.op = replace(op, operands="", constants=tuple(bounds), constant_dtypes=types)
    graph.hand_on(node, later)
    return True


def _fold_transpose(graph: Graph, node: Node) -> bool:
    """Of two Transposes in a row the second does the work of both, or goes if that is none.

    Seen: a Reshape that changes no size counts as a Transpose behind one. The first stays for its
    other readers.
    """
    before = graph.producer.get(node.reads[0]) if len(node.reads) == 1 else None
    if before is None or before.op_type != "Transpose":
        return False
    first, second = (_permutation(item) for item in (before, node))
    if not first or len(first) != len(second):
        return False
    order = tuple(first[axis] for axis in second)
    source, size = before.reads[0], before.op.inputs[0]
    op = Op(kind="transpose", inputs=(size,), outputs=node.op.outputs, dtype=node.op.dtype)
    if order != tuple(range(len(order))):
        node.op_type, node.op = "Transpose", replace(op, attributes=(("perm", order),))
        graph.rewire(node, reads=[source], writes=node.writes)
    elif not graph.replace_by_source(node, source):
        node.op_type, node.op = "Identity", replace(op, kind="identity")
        graph.rewire(node, reads=[source], writes=node.writes)
    if not graph.uses(before.out):
        graph.remove(before)
        node.covers[:0] = before.covers
    return True


def _permutation(node: Node) -> tuple[int, ...]:
    """Order of axes of a Transpose, or of a Reshape that keeps all sizes; empty for others."""
    if node.op_type == "Reshape":
        size = node.op.outputs[0]
        return tuple(range(len(size))) if node.op.inputs[0] == size else ()
    order = node.op.attribute("perm")
    return tuple(int(axis) for axis in order) if isinstance(order, tuple) else ()


def _gate(graph: Graph, node: Node) -> bool:
    """``x * Sigmoid(x)`` becomes QuickGelu with factor 1."""
    later = graph.sole_reader(node)
    if later is None or later.op_type != "Mul" or node.reads[0] not in later.reads:
        return False
    if len(later.reads) != 2 or later.op.inputs[0] != later.op.inputs[1]:
        return False
    size = node.op.inputs[0]
    source, target = node.reads[0], later.out
    graph.remove(later)
    node.covers += later.covers
    node.op_type, node.domain = "QuickGelu", "com.microsoft"
    node.op = replace(node.op, kind="quick_gelu", attributes=(("alpha", 1.0),), inputs=(size,))
    graph.rewire(node, reads=[source], writes=[target])
    return True


#: Rules that the runtime applies before it shares equal kernels, and those it applies after.
_EARLY: Mapping[str, _Rule] = {
    "Cast": _drop,
    "Conv": _fold_scale,
    "ConvTranspose": _fold_scale,
    "Dropout": _drop,
    "Identity": _drop,
    "Pad": _fold_pad,
    "Relu": _fold_relu,
}
_LATE: Mapping[str, _Rule] = {
    "Gemm": fold_gemm,
    "MatMul": _fold_matmul,
    "Reshape": _fold_reshape,
    "Sigmoid": _gate,
    "Transpose": _fold_transpose,
}
