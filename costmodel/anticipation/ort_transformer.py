"""What ONNX Runtime makes of parts of a transformer: GELU, and a sum before a normalisation."""

from __future__ import annotations

from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Op

_MICROSOFT = "com.microsoft"


def fuse_transformer(graph: Graph) -> None:
    """Replace each such part by its one kernel."""
    for node in list(graph.nodes.values()):
        if node.name in graph.nodes and node.op.dtype == "float32":
            if node.op_type == "Erf":
                _gelu(graph, node)
            elif node.op_type == "LayerNormalization":
                _skip(graph, node)
    for node in list(graph.nodes.values()):
        if node.op_type == "Gelu" and node.domain == _MICROSOFT:
            _bias_gelu(graph, node)


def _gelu(graph: Graph, error: Node) -> None:
    """``x * (1 + erf(x / sqrt(2))) / 2`` however it is bracketed, by its wiring.

    The constants are not looked at: nothing else is written like this.
    """
    root = _behind(graph, error, {"Div", "Mul"})
    plus = _before(graph, error, "Add")
    if root is None or plus is None or not (_by_number(root.op) and _by_number(plus.op)):
        return
    source = root.reads[0]
    product = _before(graph, plus, "Mul")
    if product is None or len(product.reads) != 2:
        return
    other = next(name for name in product.reads if name != plus.out)
    half = graph.producer.get(other)
    gone = [root, error, plus]
    if other == source:  # x times the error, then half of it
        last = _before(graph, product, "Mul")
        if last is None or not _by_number(last.op):
            return
        gone.append(product)
    else:  # half of x times the error
        alone = half is not None and graph.uses(half.out) == 1
        if half is None or not alone or half.op_type != "Mul" or half.reads != [source]:
            return
        last = product
        gone.append(half)
    if root.out in graph.returned:
        return
    size = last.op.outputs
    op = Op(kind="gelu", inputs=size, outputs=size, dtype=last.op.dtype)
    _replace(graph, last, gone, "Gelu", op, [source])


def _bias_gelu(graph: Graph, node: Node) -> None:
    """A GELU takes in the Add of a constant per column that it alone reads."""
    before = graph.producer.get(node.reads[0])
    if before is None or before.op_type != "Add" or graph.sole_reader(before) is not node:
        return
    if before.op.weights != ((node.op.outputs[0][-1],),) or len(before.reads) != 1:
        return
    op = replace(node.op, kind="bias_gelu", weights=before.op.weights)
    _replace(graph, node, [before], "BiasGelu", op, before.reads)


def _skip(graph: Graph, node: Node) -> None:
    """A normalisation over the last of three axes takes in the sum of two tensors before it.

    Seen: the sum may have no other reader; a constant per column that one of the two has added to
    it is taken in as well.
    """
    add = graph.producer.get(node.reads[0])
    op = node.op
    size = op.inputs[0]
    if add is None or add.op_type != "Add" or graph.sole_reader(add) is not node:
        return
    last = op.attribute("axis", -1) in {-1, len(size) - 1}
    scales = bool(op.weights) and op.weights[0] == size[-1:]
    if len(size) != 3 or not last or not scales or add.op.inputs != (size, size):
        return
    if len(node.writes) > 1 or len(op.inputs) > 1:
        return
    reads, gone, weights, letters = list(add.reads), [add], op.weights, ""
    for place, name in enumerate(reads):
        biased = graph.producer.get(name)
        if (
            biased is not None
            and biased.op_type == "Add"
            and biased.op.weights == (size[-1:],)
            and graph.sole_reader(biased) is add
        ):
            reads[place] = biased.reads[0]
            gone.append(biased)
            weights = (*weights, size[-1:])
            letters = "" if len(op.weights) == 2 else "ddw-w"
            break
    settings = tuple(pair for pair in op.attributes if pair[0] == "epsilon")
    made = Op(
        kind="skip_layer_normalization",
        inputs=(size, size),
        outputs=op.outputs[:1],
        weights=weights,
        dtype=op.dtype,
        attributes=settings,
        operands=letters,
    )
    _replace(graph, node, gone, "SkipLayerNormalization", made, reads)


def _behind(graph: Graph, node: Node, kinds: set[str]) -> Node | None:
    """The one kernel that ``node`` reads, if it is of such a kind and nothing else reads it."""
    found = graph.producer.get(node.reads[0])
    if found is None or found.op_type not in kinds or graph.sole_reader(found) is not node:
        return None
    return found


def _before(graph: Graph, node: Node, kind: str) -> Node | None:
    """The one kernel that reads ``node``, if it is of that kind."""
    found = graph.sole_reader(node)
    return found if found is not None and found.op_type == kind else None


def _by_number(op: Op) -> bool:
    """Whether the second operand is one stored number."""
    return len(op.inputs) == 1 and len(op.weights) == 1 and op.weights[0] in {(), (1,)}


def _replace(
    graph: Graph, node: Node, gone: list[Node], kind: str, op: Op, reads: list[str]
) -> None:
    """``node`` becomes another kernel, which does what ``gone`` did as well."""
    for other in gone:
        graph.remove(other)
    node.covers = [name for other in gone for name in other.covers] + node.covers
    node.op_type, node.domain, node.op = kind, _MICROSOFT, op
    graph.rewire(node, reads=list(reads), writes=node.writes[:1])
