"""Which layout OpenVINO's CPU plug-in keeps each tensor in, and where it reorders."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.openvino_fold import VIEWS
from costmodel.op import Attribute, Op, Shape

PLANAR, LAST = "nchw", "nhwc"
_BLOCKED = "nchw16c"
#: Kinds that need planar memory.
_FLAT = VIEWS | {"gemm", "matmul", "softmax"}
#: From this many elements on, planar and channels-last memory are exchanged by another kernel.
_LARGE = 48 << 10
#: Channels and pixels for which channels-last memory is made planar by a kernel of its own.
_FEW, _MANY, _PIXELS = 16, 64, 128


def physical(shape: Shape, layout: str) -> Shape:
    """Sizes as they lie in memory.

    >>> physical((1, 20, 4, 6), "nhwc"), physical((1, 20, 4, 6), "nchw16c")
    ((1, 4, 6, 20), (1, 32, 4, 6))
    """
    if len(shape) < 3 or layout == PLANAR:
        return shape
    if layout == LAST:
        return (shape[0], *shape[2:], shape[1])
    return (shape[0], -(-shape[1] // 16) * 16, *shape[2:])


def decide_layouts(graph: Graph) -> None:
    """Give every kernel its layout, and put reorderings where two differ."""
    layouts = dict.fromkeys(graph.inputs, PLANAR)
    for node in graph.ordered():
        have = [layouts.get(name, PLANAR) for name in node.reads]
        cancelled = _cancelled(graph, node, have)
        if cancelled:
            node.op = replace(node.op, kind="reshape")  # a view: memory stays as it is
            layouts[node.out] = cancelled
            continue
        want = _wanted(node.op, have)
        reads = [
            _reordered(graph, name, node.op.inputs[i], old, want)
            if _differs(node.op.inputs[i], old, want)
            else name
            for i, (name, old) in enumerate(zip(node.reads, have, strict=True))
        ]
        if reads != node.reads:
            graph.rewire(node, reads=reads, writes=node.writes)
        layouts.update((name, want) for name in node.writes)
        _settle(node, want)
    for name in graph.outputs:
        if layouts.get(name, PLANAR) != PLANAR:
            _return_planar(graph, name, layouts[name])


def _cancelled(graph: Graph, node: Node, have: list[str]) -> str:
    """Layout of a Transpose that only renames axes; empty for any other kernel.

    One to channels first, read by convolutions alone, and one of channels-last memory back.
    """
    perm = node.op.attribute("perm")
    rank = len(node.op.outputs[0])
    if node.op.kind != "transpose" or rank < 4:
        return ""
    readers = graph.readers.get(node.out, ())
    forward = perm == (0, rank - 1, *range(1, rank - 1)) and node.out not in graph.returned
    if forward and have == [PLANAR] and all(r.op.kind == "conv" for r in readers):
        return LAST
    back = perm == (0, *range(2, rank), 1)
    return PLANAR if back and have == [LAST] else ""


def _differs(shape: Shape, have: str, want: str) -> bool:
    return len(shape) >= 3 and have != want


def _wanted(op: Op, have: list[str]) -> str:
    if op.kind in {"conv", "conv_transpose"}:
        return LAST
    if op.kind == "lrn":
        return _BLOCKED
    if op.kind in _FLAT or not have:
        return PLANAR
    return LAST if LAST in have else have[0]


def _settle(node: Node, layout: str) -> None:
    op = node.op
    node.op = replace(
        op,
        layout=layout if len(op.outputs[0]) >= 3 else PLANAR,
        inputs=tuple(physical(shape, layout) for shape in op.inputs),
        outputs=tuple(physical(shape, layout) for shape in op.outputs),
    )


def _reordered(graph: Graph, name: str, shape: Shape, have: str, want: str) -> str:
    """Reorder a tensor, once for all of its readers; return what the reordering writes."""
    fresh = f"{name}/{want}"
    if fresh not in graph.nodes:
        op = reorder_op(shape, have, want)
        graph.add(Node(name=fresh, op_type="Reorder", op=op, reads=[name], writes=[fresh]))
    return fresh


def _return_planar(graph: Graph, name: str, have: str) -> None:
    """Put a reordering between a kernel and the tensor that the network returns."""
    node = graph.producer[name]
    shape = node.op.outputs[node.writes.index(name)]
    plain = (shape[0], shape[-1], *shape[1:-1]) if have == LAST else shape
    inner = f"{name}/{have}"
    for reader in list(dict.fromkeys(graph.readers.get(name, ()))):
        reads = [inner if item == name else item for item in reader.reads]
        graph.rewire(reader, reads=reads, writes=reader.writes)
    graph.rewire(node, reads=node.reads, writes=[inner if w == name else w for w in node.writes])
    op = reorder_op(plain, have, PLANAR)
    graph.add(Node(name=f"{name}/returned", op_type="Reorder", op=op, reads=[inner], writes=[name]))


def reorder_op(shape: Shape, have: str, want: str) -> Op:
    """A reordering of a tensor of logical sizes ``shape``."""
    sizes = physical(shape, want)
    attributes: tuple[tuple[str, Attribute], ...] = (("input_layouts", have),)
    return Op(
        kind="reorder",
        implementation=f"Reorder:{_reorder_kernel(shape, have, want)}",
        inputs=(sizes,),
        outputs=(sizes,),
        layout=want,
        attributes=attributes,
    )


def _reorder_kernel(shape: Shape, have: str, want: str) -> str:
    """Seen with 14 numbers of channels and 15 sizes, batch 1, in both directions."""
    if {have, want} != {PLANAR, LAST}:
        return "jit_uni_f32"
    channels, pixels = shape[1], prod(shape[2:])
    small = have == LAST and _FEW <= channels <= _MANY and pixels >= _PIXELS
    if channels == 1 or pixels == 1 or small:
        return "reorder_f32"
    if prod(shape) > _LARGE:
        return "reorder_brgemm_f32"
    return "jit_f32" if {channels, pixels} & {8, 16} else "jit_uni_f32"
