"""What OpenVINO's common rewritings and its CPU plug-in fold into fewer kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.openvino_program import (
    OPERATIONS,
    broadcast,
    data_order,
    joined,
    lines_of,
    with_lines,
)
from costmodel.anticipation.openvino_strides import move_strides
from costmodel.op import Op

#: Kinds that only change how a tensor is called.
VIEWS = frozenset({"flatten", "reshape", "squeeze", "unsqueeze"})
_NOTHING = frozenset({"dropout", "identity"})
#: Folded into a product behind its bias and its sum.
_ACTIVATIONS = frozenset(
    {
        "abs",
        "clip",
        "elu",
        "exp",
        "hard_swish",
        "relu",
        "sigmoid",
        "softplus",
        "sqrt",
        "swish",
        "tanh",
    }
)


def fold(graph: Graph) -> None:
    """Rewrite a network as written into kernels, layouts not yet decided."""
    _each(graph, _drop)
    share_equal(graph)
    _each(graph, _shuffle)
    _each(graph, _fold_pad)
    _each(graph, _plain_sum)
    _each(graph, _plain_product)
    _each(graph, _swish)
    _each(graph, _fold_scale)
    move_strides(graph)
    _each(graph, _fold_activation)
    _each(graph, _fold_sum)
    _each(graph, _fold_late_scale)
    _each(graph, _normalisation)
    _each(graph, _wide_constants)
    while _each(graph, _merge_scales) or _each(graph, _merge):
        pass


def _each(graph: Graph, rule: Callable[[Graph, Node], bool]) -> bool:
    """Apply a rule to every node, in running order, for as long as it changes that node."""
    changed = False
    for node in graph.ordered():
        while node.name in graph.nodes and rule(graph, node):
            changed = True
    return changed


def _drop(graph: Graph, node: Node) -> bool:
    later = graph.sole_reader(node)
    if node.op.kind in VIEWS and later is not None and later.op.kind in VIEWS:
        node.op = replace(node.op, kind="reshape", outputs=later.op.outputs)
        graph.absorb(node, later)
        return True
    same = node.op.kind in VIEWS and node.op.inputs[:1] == node.op.outputs
    return (same or node.op.kind in _NOTHING) and graph.bypass(node)


def share_equal(graph: Graph) -> None:
    """Of equal operations with equal weights on one input, the first is executed for all."""
    seen: dict[tuple[object, ...], Node] = {}
    for node in graph.ordered():
        if node.op.weights and "weights" not in node.marks:
            continue  # the reader numbers weights that are used more than once
        key = (node.op, tuple(node.reads), node.marks.get("weights"))
        first = seen.setdefault(key, node)
        if first is node or graph.returned.intersection(node.writes):
            continue
        renamed = dict(zip(node.writes, first.writes, strict=True))
        readers = [r for name in node.writes for r in graph.readers.get(name, ())]
        graph.remove(node)
        first.covers += node.covers
        for reader in dict.fromkeys(readers):
            reads = [renamed.get(name, name) for name in reader.reads]
            graph.rewire(reader, reads=reads, writes=reader.writes)


def _shuffle(graph: Graph, node: Node) -> bool:
    """Channels split, two axes exchanged and joined again are one kernel."""
    perm = node.op.attribute("perm")
    if node.op.kind != "transpose" or perm != (0, 2, 1, *range(3, len(node.op.inputs[0]))):
        return False
    before, after = graph.producer.get(node.reads[0]), graph.sole_reader(node)
    if before is None or after is None or {before.op.kind, after.op.kind} != {"reshape"}:
        return False
    if graph.sole_reader(before) is not node or before.op.inputs != after.op.outputs:
        return False
    groups = before.op.outputs[0][1]
    settings = (("axis", 1), ("group", groups), ("type", "ShuffleChannels"))
    shape = before.op.inputs[0]
    if before.op.outputs[0] != (shape[0], groups, shape[1] // groups, *shape[2:]):
        return False
    before.op = Op(kind="shuffle_channels", inputs=(shape,), outputs=(shape,), attributes=settings)
    graph.absorb(before, node)
    graph.absorb(before, after)
    return True


def _fold_pad(graph: Graph, node: Node) -> bool:
    """Zeros around a map become padding of the convolution that alone reads it."""
    later, op = graph.sole_reader(node), node.op
    if op.kind != "pad" or later is None or later.op.kind != "conv" or not op.constants:
        return False
    ends, value = op.constants[0], (*op.constants[1:2], (0.0,))[0]
    half = len(ends) // 2
    mode = op.attribute("mode", "constant")
    if mode != "constant" or any(value) or later.reads.index(node.out) != 0:
        return False
    if any((*ends[:2], *ends[half : half + 2])) or min(ends) < 0 or half < 3:
        return False
    more = (*ends[2:half], *ends[half + 2 :])
    pads = tuple(int(a + b) for a, b in zip(later.op.pads, more, strict=True))
    node.op = replace(later.op, inputs=(op.inputs[0], *later.op.inputs[1:]), pads=pads)
    reads = [node.reads[0], *later.reads[1:]]
    node.marks = later.marks
    graph.absorb(node, later)
    graph.rewire(node, reads=reads, writes=node.writes)
    return True


def _plain_sum(_graph: Graph, node: Node) -> bool:
    if node.op.kind != "sum" or len(node.op.inputs) + len(node.op.weights) != 2:
        return False
    node.op = replace(node.op, kind="add", attributes=())
    return True


def _plain_product(_graph: Graph, node: Node) -> bool:
    """Products with constant weights keep these as (out, in)."""
    op = node.op
    if op.kind not in {"gemm", "matmul"} or len(op.inputs) != 1 or op.operands.startswith("w"):
        return False
    if not op.weights or len(op.weights[0]) != 2 or op.attributes == (("transB", 1),):
        return False
    if {op.attribute("alpha", 1.0), op.attribute("beta", 1.0)} != {1.0} or op.attribute("transA"):
        return False
    rows, columns = op.weights[0]
    weight = (rows, columns) if op.attribute("transB") else (columns, rows)
    bias = tuple((weight[0],) for _ in op.weights[1:])
    node.op = replace(
        op, kind="gemm", weights=(weight, *bias), attributes=(("transB", 1),), operands=""
    )
    return True


def _swish(graph: Graph, node: Node) -> bool:
    """What is multiplied with its own sigmoid."""
    if node.op.kind != "sigmoid" or (later := graph.sole_reader(node)) is None:
        return False
    if later.op.kind != "mul" or sorted(later.reads) != sorted([node.reads[0], node.out]):
        return False
    graph.remove(node)
    later.covers[:0] = node.covers
    later.op = replace(later.op, kind="swish", inputs=node.op.inputs, attributes=())
    graph.rewire(later, reads=list(node.reads), writes=later.writes)
    return True


def _is_product(op: Op) -> bool:
    return op.kind in {"conv", "conv_transpose", "gemm"} and len(op.inputs) == 1


def _fold_scale(graph: Graph, node: Node) -> bool:
    """A normalisation, or a constant per channel, behind a convolution; a bias behind a product."""
    later = graph.sole_reader(node)
    if later is None or not _is_product(node.op) or not node.op.weights or node.op.epilogue:
        return False
    op, kind = node.op, later.op.kind
    channels = op.outputs[0][-1] if op.kind == "gemm" else op.outputs[0][1]
    if kind == "batch_norm" and op.kind != "gemm":
        biased = True
    elif kind in {"add", "mul"} and _per_channel(later.op, channels, op.kind == "gemm"):
        biased = kind == "add"
        if op.kind == "gemm" and not (biased and len(op.weights) == 1):
            return False
    else:
        return False
    if biased and len(op.weights) == 1:
        node.op = replace(op, weights=(*op.weights, (channels,)))
    graph.absorb(node, later)
    return True


def _per_channel(op: Op, channels: int, last: bool) -> bool:  # noqa: FBT001
    """Whether the one constant of ``op`` has a value per channel, or one for all."""
    if len(op.inputs) != 1 or len(op.weights) != 1:
        return False
    shape = broadcast(op.weights[0], len(op.inputs[0]))
    wanted = [1] * len(op.inputs[0])
    wanted[-1 if last else 1] = channels
    return shape == tuple(wanted) or (prod(shape) == 1 and not last)


def _fold_activation(graph: Graph, node: Node) -> bool:
    later = graph.sole_reader(node)
    if later is None or node.op.kind not in {"conv", "conv_transpose", "gemm"}:
        return False
    if later.op.kind not in _ACTIVATIONS or len(later.op.inputs) != 1:
        return False
    node.op = replace(node.op, epilogue=(*node.op.epilogue, later.op.kind))
    graph.absorb(node, later)
    return True


def _fold_sum(graph: Graph, node: Node) -> bool:
    """An Add of two equal sizes goes into a convolution that it alone reads, with what follows."""
    op = node.op
    if op.kind != "add" or len(op.inputs) != 2 or op.inputs[0] != op.inputs[1]:
        return False
    if node.reads[0] == node.reads[1]:
        return False
    conv = next((c for name in node.reads if (c := _takes_sum(graph, name)) is not None), None)
    if conv is None:
        return False
    other = next(name for name in node.reads if name != conv.out)
    conv.op = replace(
        conv.op,
        inputs=(*conv.op.inputs, op.outputs[0]),
        operands=conv.op.order + "d",
        epilogue=(*conv.op.epilogue, "sum"),
    )
    graph.absorb(conv, node)
    graph.rewire(conv, reads=[*conv.reads, other], writes=conv.writes)
    while _fold_activation(graph, conv):
        pass
    return True


def _takes_sum(graph: Graph, name: str) -> Node | None:
    conv = graph.producer.get(name)
    if conv is None or conv.op.kind != "conv" or "sum" in conv.op.epilogue:
        return None
    return conv if graph.sole_reader(conv) is not None else None


def _fold_late_scale(graph: Graph, node: Node) -> bool:
    """A normalisation behind what is folded into a convolution already, with what follows."""
    later, op = graph.sole_reader(node), node.op
    if op.kind != "conv" or not op.epilogue or later is None or later.op.kind != "batch_norm":
        return False
    if op.epilogue[-2:] != ("mul", "add"):  # two products and sums in a row are one
        constant = (1, op.outputs[0][1], *(1,) * (len(op.outputs[0]) - 2))
        letters = op.operands or "d" + "w" * len(op.weights)
        node.op = replace(
            op,
            weights=(*op.weights, constant, constant),
            operands=f"{letters}ww" if "sum" in op.epilogue else "",
            epilogue=(*op.epilogue, "mul", "add"),
        )
    graph.absorb(node, later)
    while _fold_activation(graph, node):
        pass
    return True


def _normalisation(_graph: Graph, node: Node) -> bool:
    """A normalisation by itself is a product and a sum."""
    op = node.op
    if op.kind != "batch_norm":
        return False
    constant = (1, op.inputs[0][1], *(1,) * (len(op.inputs[0]) - 2))
    text = (("program", "Multiply(d0,w0);Add(v0,w1)"),)
    node.op = Op(
        kind="eltwise",
        inputs=op.inputs,
        outputs=op.outputs[:1],
        weights=(constant, constant),
        dtype=op.dtype,
        attributes=text,
    )
    return True


def is_elementwise(op: Op) -> bool:
    """Whether a kernel is a generated one."""
    return op.kind == "eltwise" or op.kind in OPERATIONS


def _wide_constants(_graph: Graph, node: Node) -> bool:
    """Constants get as many axes as the data; bounds of a Clip and the like are no operands."""
    op = node.op
    if not is_elementwise(op):
        return False
    rank = len(op.outputs[0])
    weights = tuple(broadcast(shape, rank) for shape in op.weights)
    plain = replace(op, weights=weights, constants=(), constant_dtypes=())
    if op.kind in _ACTIVATIONS:
        plain = replace(plain, attributes=(), operands="")
    changed = plain != op
    node.op = plain
    return changed


def _merge_scales(_graph: Graph, node: Node) -> bool:
    """Constants per channel that follow each other become one product and one sum."""
    op = node.op
    if not is_elementwise(op) or len(op.inputs) != 1:
        return False
    lines = lines_of(op)
    kinds = [kind for kind, names in lines if any(n.startswith("w") for n in names)]
    head = 0
    while head < len(lines) and lines[head][0] in {"Multiply", "Add"} and head < len(kinds):
        head += 1
    plain = [kind for kind, _ in lines[:head]]
    if head < 2 or plain in (["Multiply", "Add"],):
        return False
    wanted = [kind for kind in ("Multiply", "Add") if kind in plain]
    drop = head - len(wanted)
    fresh = [(kind, (f"v{i - 1}" if i else "d0", f"w{i}")) for i, kind in enumerate(wanted)]
    rest = [
        (k, tuple(f"v{int(n[1:]) - drop}" if n[0] == "v" else n for n in names))
        for k, names in lines[head:]
    ]
    node.op = with_lines(op, fresh + rest)
    return True


def _merge(graph: Graph, node: Node) -> bool:
    """Elementwise kernels that follow each other become one."""
    later = graph.sole_reader(node)
    if later is None or not (is_elementwise(node.op) and is_elementwise(later.op)):
        return False
    if later.reads.count(node.out) != 1 or node.op.outputs != later.op.outputs:
        return False
    place = later.reads.index(node.out)
    others = [name for i, name in enumerate(later.reads) if i != place]
    op, lines = joined(node.op, later.op, place)
    reads = [*node.reads, *others]
    order = data_order(lines)
    graph.absorb(node, later)
    node.op = with_lines(op, lines)
    graph.rewire(node, reads=[reads[i] for i in order], writes=node.writes)
    return True
